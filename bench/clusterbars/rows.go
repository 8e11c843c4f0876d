package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"keepdav/bench/meter"
)

// stream writes and reads a large file.
func (b *bench) stream(t *table) error {
	core := md5Speed()
	t.add("MD5, one core", "MiB/s", core)
	m, err := b.mount("one")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(m.dir, "c"), 0o755); err != nil {
		return err
	}
	meter.ResetPeaks(m.cmd.Process.Pid)
	took, err := writeFile(filepath.Join(m.dir, "c", "big"), b.c.big, true)
	if err != nil {
		return err
	}
	speed := float64(b.c.big) / took.Seconds()
	t.add("streaming write and fsync", "MiB/s", speed)
	t.add("streaming write / MD5", "ratio", speed/core)
	t.add("RSS of the writing mount", "MiB", meter.TreePeakRSS(m.cmd.Process.Pid))
	if err := m.end(); err != nil {
		return err
	}
	if err := dropCaches(); err != nil {
		return err
	}
	core = md5Speed()
	reader, err := b.mount("two")
	if err != nil {
		return err
	}
	name := filepath.Join(reader.dir, "c", "big")
	if took, err = readFile(name, b.c.big); err != nil {
		return err
	}
	speed = float64(b.c.big) / took.Seconds()
	t.add("cold read", "MiB/s", speed)
	t.add("cold read / MD5", "ratio", speed/core)
	t.add("RSS of the reading mount", "MiB", meter.TreePeakRSS(reader.cmd.Process.Pid))
	if took, err = readFile(name, b.c.big); err != nil {
		return err
	}
	warm := float64(b.c.big) / took.Seconds()
	t.add("warm read", "MiB/s", warm)
	plain := filepath.Join(b.dir, "plain")
	if _, err := writeFile(plain, b.c.big, true); err != nil {
		return err
	}
	if took, err = readFile(plain, b.c.big); err != nil {
		return err
	}
	t.add("warm read / ext4", "ratio", warm*took.Seconds()/float64(b.c.big))
	return nil
}

// smallFiles makes files of 4 KiB, each closed before the next.
func (b *bench) smallFiles(t *table) error {
	for _, commit := range []string{"close", "fsync"} {
		m, err := b.mount(commit, "--commit="+commit)
		if err != nil {
			return err
		}
		dir := filepath.Join(m.dir, "small-"+commit)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		buf := make([]byte, 4096)
		began := time.Now()
		for i := range b.c.small {
			meter.Stamp(buf)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), buf, 0o644); err != nil {
				return err
			}
		}
		if commit == "fsync" {
			f, err := os.Open(filepath.Join(dir, "0"))
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				return err
			}
		}
		t.add(fmt.Sprintf("%d files of 4 KiB, --commit=%s", b.c.small, commit), "s", time.Since(began).Seconds())
		if err := m.end(); err != nil {
			return err
		}
	}
	return nil
}

// manyFiles opens a collection of many files and changes a byte in it.
func (b *bench) manyFiles(t *table) error {
	m, err := b.mount("one", "--commit=fsync")
	if err != nil {
		return err
	}
	for d := range 100 {
		dir := filepath.Join(m.dir, "many", fmt.Sprint(d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for i := range b.c.many / 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(fmt.Sprintf("file %d of directory %d\n", i, d)), 0o644); err != nil {
				return err
			}
		}
	}
	if err := m.end(); err != nil {
		return err
	}
	for rep := range b.c.reps {
		began := time.Now()
		m, err := b.mount(fmt.Sprint("reader", rep))
		if err != nil {
			return err
		}
		t.add("start of a mount", "s", time.Since(began).Seconds())
		began = time.Now()
		name := filepath.Join(m.dir, "many", "7", "3")
		data, err := os.ReadFile(name)
		if err != nil || len(data) == 0 {
			return fmt.Errorf("%s: %d bytes, %w", name, len(data), err)
		}
		t.add(fmt.Sprintf("open a collection of %d files, read one", b.c.many), "s", time.Since(began).Seconds())
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for i := range 5 {
			began = time.Now()
			_, err := f.WriteAt([]byte{byte('a' + i)}, 2)
			if err = errors.Join(err, f.Sync()); err != nil {
				return err
			}
			t.add("change one byte there, and fsync", "ms", time.Since(began).Seconds()*1000)
		}
		if err := errors.Join(f.Close(), m.end()); err != nil {
			return err
		}
	}
	return nil
}

// seen measures how long it takes until a mount shows what another one has written.
func (b *bench) seen(t *table) error {
	one, err := b.mount("one")
	if err != nil {
		return err
	}
	two, err := b.mount("two")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(one.dir, "c"), 0o755); err != nil {
		return err
	}
	for i := range 10 * b.c.reps {
		name := fmt.Sprint("file", i)
		if _, err := os.Stat(filepath.Join(two.dir, "c", name)); err == nil { // the kernel knows that it isn't there
			return fmt.Errorf("%s is there already", name)
		}
		if err := os.WriteFile(filepath.Join(one.dir, "c", name), []byte(name), 0o644); err != nil {
			return err
		}
		began := time.Now()
		var wait sync.WaitGroup
		var failed error
		wait.Go(func() {
			for late := began.Add(10 * time.Second); ; {
				data, err := os.ReadFile(filepath.Join(two.dir, "c", name))
				if err == nil && string(data) == name {
					return
				}
				if time.Now().After(late) {
					failed = fmt.Errorf("%s does not show up: %w", name, err)
					return
				}
				time.Sleep(500 * time.Microsecond)
			}
		})
		wait.Wait()
		if failed != nil {
			return failed
		}
		t.add("what one mount closed is read through another after", "ms", time.Since(began).Seconds()*1000)
	}
	return nil
}
