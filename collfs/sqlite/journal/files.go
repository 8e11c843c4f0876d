package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A file is an open segment.
type file interface {
	WriteAt(p []byte, off int64) (int, error)
	Sync() error // fdatasync
	Close() error
}

// files is what the log asks of the file system where it matters whether it
// fails; tests inject failures.
type files interface {
	open(path string) (file, error)
	syncPath(path string) error
	syncDir(path string) error
}

// osFiles is the real file system.
type osFiles struct{ noSync bool }

type osFile struct {
	*os.File
	noSync bool
}

func (f osFile) Sync() error {
	if f.noSync {
		return nil
	}
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (o osFiles) open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{f, o.noSync}, nil
}

func (o osFiles) syncPath(path string) error {
	if o.noSync {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (o osFiles) syncDir(path string) error {
	if o.noSync {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (l *Log) sparePath() string { return filepath.Join(l.o.Dir, "spare") }

// reusable reports whether the file can serve as a spare.
func (l *Log) reusable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Size() == l.o.SegmentSize
}

var errWaited = errors.New("waited for the spare segment")

// takeSpareLocked makes sure that there is a spare. l.mu must be held; it is
// released while waiting, and then the error is errWaited.
func (l *Log) takeSpareLocked() error {
	if making := l.making; making != nil {
		l.mu.Unlock()
		<-making
		l.mu.Lock()
		return errWaited
	}
	if l.spare {
		return nil
	}
	if err := l.makeSpare(); err != nil {
		return fmt.Errorf("journal: new segment: %w", full(err))
	}
	l.spare = true
	return nil
}

// prepareLocked makes a spare in the background. l.mu must be held. When it
// fails, the one who needs the spare tries again.
func (l *Log) prepareLocked() {
	if l.spare || l.making != nil || l.closed {
		return
	}
	done := make(chan struct{})
	l.making = done
	go func() {
		err := l.makeSpare()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.spare, l.making = err == nil, nil
		close(done)
	}()
}

// makeSpare makes a file for the next segment, of full size and on disk:
// writing records into it needs no space and changes no metadata.
func (l *Log) makeSpare() (err error) {
	tmp := l.sparePath() + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	zeros := make([]byte, min(l.o.SegmentSize, 1<<20))
	for off := int64(0); err == nil && off < l.o.SegmentSize; off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), l.o.SegmentSize-off)], off)
	}
	if err == nil && !l.o.NoSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, l.sparePath())
}
