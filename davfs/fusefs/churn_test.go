package fusefs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"keepdav/davfs"
	"keepdav/davfs/fusefs"
)

// churnEnv makes this binary a process that churns the directory that it names.
const churnEnv = "KEEPDAV_FUSEFS_CHURN"

const (
	churnNames   = 12 // for all, so that they meet
	churnThreads = 4
	churnSteps   = 20
)

// gone reports whether err is nothing but that somebody else was faster.
func gone(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ESTALE)
}

// churn makes, writes, renames, lists, looks at and removes files of dir.
func churn(dir string) error {
	var g errgroup.Group
	for range churnThreads {
		g.Go(func() error {
			for range churnSteps {
				name := filepath.Join(dir, fmt.Sprint(rand.IntN(churnNames)))
				var err error
				switch rand.IntN(5) {
				case 0:
					err = os.WriteFile(name, []byte("ours"), 0o644)
				case 1:
					err = os.Rename(name, filepath.Join(dir, fmt.Sprint(rand.IntN(churnNames))))
				case 2:
					err = os.Remove(name)
				case 3: // ls -l
					var es []os.DirEntry
					if es, err = os.ReadDir(dir); err == nil {
						for _, e := range es {
							if _, err := e.Info(); !gone(err) {
								return err
							}
						}
					}
				case 4:
					_, err = os.ReadFile(name)
				}
				if !gone(err) {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// churnAsClient makes, replaces, renames and removes files of a directory until stop.
func churnAsClient(ctx context.Context, user *davfs.FS, dir string, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := fmt.Sprint(dir, "/", rand.IntN(churnNames))
		switch rand.IntN(4) {
		case 0, 1:
			u, err := user.Put(ctx, name, davfs.PutOptions{Size: 6})
			if err != nil {
				return err
			}
			_, err = io.WriteString(u, "theirs")
			if err == nil {
				_, _, err = u.Commit(ctx)
			}
			u.Abort()
			if err != nil {
				return err
			}
		case 2:
			_ = user.Remove(ctx, name, nil) // somebody else may be faster
		case 3:
			_, _ = user.Move(ctx, name, fmt.Sprint(dir, "/", rand.IntN(churnNames)), davfs.CopyOptions{Overwrite: true})
		}
	}
}

// watch has the serving process say what it does, and end, if the test takes longer
// than so long.
func (m *mount) watch(atMost time.Duration) (stop func() bool) {
	return time.AfterFunc(atMost, func() { _ = m.cmd.Process.Signal(syscall.SIGQUIT) }).Stop
}

// Telling the kernel of changes waits for locks of directories that requests hold; no
// request may wait for the teller.
func TestManyWhoChangeOneDirectoryDoNotStopEachOther(t *testing.T) {
	processes, long := 20, os.Getenv("KEEPDAV_LONG") != ""
	if long {
		processes = 200
	}
	for _, how := range []struct {
		name   string
		long   bool
		change func(*testing.T, *fusefs.Options)
	}{
		{"WriteBack", false, func(*testing.T, *fusefs.Options) {}},
		{"WriteThrough", true, func(_ *testing.T, o *fusefs.Options) { o.WriteCache = false }},
		{"OneThread", false, func(t *testing.T, _ *fusefs.Options) { t.Setenv("GOMAXPROCS", "1") }},
		{"LittleMemory", true, func(_ *testing.T, o *fusefs.Options) { o.DirectoryCache = 8 * 400 }},
	} {
		if how.long && !long {
			continue
		}
		t.Run(how.name, func(t *testing.T) {
			m := newMount(t, func(o *fusefs.Options) { how.change(t, o) })
			defer m.watch(60 * time.Second)()
			m.do("churn", "/home/c", "")
			var g errgroup.Group
			for range processes {
				g.Go(func() error {
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), churnEnv+"="+m.dir)
					out, err := cmd.CombinedOutput()
					if err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			m.do("calm", "", "")
			for _, f := range []string{"last", "first"} {
				m.do("put", "/home/c/"+f, "x")
				within(t, "a change at the end", func() bool { return m.has(f, "x") })
			}
			s := m.stats()
			t.Logf("%d notices, %d inodes, %d conflicts", s.Notices, s.Inodes, s.Conflicts)
			eventually(t, "no handle is open", func() bool { return m.stats().Open == 0 })
		})
	}
}
