package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An InUseError says that another process owns the store.
type InUseError struct {
	Dir   string
	Owner string // what the owner says about itself: its process id and, when it serves, its URL
}

func (e *InUseError) Error() string {
	owner := e.Owner
	if owner == "" {
		owner = "another process"
	}
	return fmt.Sprintf("store %s is in use by %s", e.Dir, owner)
}

// A lockFile is held by the process that owns the store.
type lockFile struct{ f *os.File }

// takeLock locks the store in dir; if another process has it, the error is an
// *InUseError.
func takeLock(dir string) (*lockFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		text, _ := os.ReadFile(f.Name())
		return nil, &InUseError{Dir: dir, Owner: strings.TrimSpace(string(text))}
	}
	l := &lockFile{f}
	return l, l.describe("")
}

// describe writes who owns the store, for others to read.
func (l *lockFile) describe(url string) error {
	text := fmt.Sprintf("process %d", os.Getpid())
	if url != "" {
		text += ", which serves it at " + url
	}
	text += "\n"
	// Written over in place, then cut: a reader never finds it empty.
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.f.Truncate(int64(len(text)))
}

func (l *lockFile) release() error { return l.f.Close() }
