package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"keepdav/bench/meter"
)

const (
	closeOnly = false
	fsyncToo  = true
)

// noise is a supply of incompressible bytes; the pages that are written are stamped.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 16*mib)
	meter.FillRandom(b)
	return b
})

var buffers = sync.Pool{New: func() any { b := make([]byte, mib); copy(b, noise()); return &b }}

// writeFile makes a file of n fresh bytes, in calls of up to call bytes, call
// being 1 MiB at most.
func writeFile(path string, n int64, call int, fsync bool) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, 0o644)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for off := int64(0); off < n && err == nil; {
		p := (*b)[:min(int64(call), n-off)]
		meter.Stamp(p)
		var k int
		if k, err = syscall.Write(fd, p); err == nil && k != len(p) {
			err = fmt.Errorf("wrote %d of %d bytes", k, len(p))
		}
		off += int64(len(p))
	}
	if err == nil && fsync {
		err = syscall.Fsync(fd)
	}
	if err = errors.Join(err, syscall.Close(fd)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readFile reads to the end and counts.
func readFile(path string, n int64, call int) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	var got int64
	for {
		k, err := syscall.Read(fd, (*b)[:call])
		if err != nil {
			return &os.PathError{Op: "read", Path: path, Err: err}
		}
		if k == 0 {
			break
		}
		got += int64(k)
	}
	if got != n {
		return fmt.Errorf("%s: %d bytes, want %d", path, got, n)
	}
	return nil
}

// forEach runs f on n paths in dir, at of them at a time.
func forEach(n, at int, dir string, f func(path string) error) error {
	return meter.Spread(n, at, func(i int) error { return f(filepath.Join(dir, fmt.Sprintf("file-%06d", i))) })
}

// listDir reads the directory with 64 KiB a call and counts, as ls does, and
// with stat also asks for each entry, as ls -l does.
func listDir(dir string, want int, stat bool) error {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer syscall.Close(fd)
	b := make([]byte, 64*kib)
	count := 0
	for {
		n, err := syscall.ReadDirent(fd, b)
		if err != nil {
			return &os.PathError{Op: "readdir", Path: dir, Err: err}
		}
		if n <= 0 {
			break
		}
		_, _, names := syscall.ParseDirent(b[:n], -1, nil)
		count += len(names)
		for _, name := range names {
			var st syscall.Stat_t
			if stat {
				if err := syscall.Lstat(filepath.Join(dir, name), &st); err != nil {
					return &os.PathError{Op: "lstat", Path: name, Err: err}
				}
			}
		}
	}
	if count != want {
		return fmt.Errorf("%s: %d entries, want %d", dir, count, want)
	}
	return nil
}
