package stress

import (
	"os"
	"strings"
	"sync"
)

// The disks here are broken, each in its way.

// staleDisk serves, of a file that was changed, what it held before.
type staleDisk struct {
	osDisk
	mu  *sync.Mutex // guards old
	old map[string][]byte
}

func (d staleDisk) Open(name string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if flag&(os.O_RDWR|os.O_CREATE) == os.O_RDWR {
		if b, err := os.ReadFile(name); err == nil {
			d.old[name] = b
		}
	}
	f, err := d.osDisk.Open(name, flag)
	if err == nil && flag == os.O_RDONLY {
		return staleFile{f, d.old[name]}, nil
	}
	return f, err
}

type staleFile struct {
	file
	old []byte
}

func (f staleFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	if off < int64(len(f.old)) {
		copy(p[:n], f.old[off:])
	}
	return n, err
}

// forgetfulDisk answers renames of files of the variant "moves" and does nothing.
type forgetfulDisk struct{ osDisk }

func (d forgetfulDisk) Rename(from, to string) error {
	if strings.Contains(from, "/mv-") {
		return nil
	}
	return d.osDisk.Rename(from, to)
}

// copyingDisk leaves the old name where it was.
type copyingDisk struct{ osDisk }

func (d copyingDisk) Rename(from, to string) error {
	if strings.Contains(from, "/mv-") {
		return d.Link(from, to)
	}
	return d.osDisk.Rename(from, to)
}

// keepingDisk answers that names of the variant "files" are gone, and keeps them.
type keepingDisk struct{ osDisk }

func (d keepingDisk) Unlink(name string) error {
	if strings.Contains(name, "/f") {
		return nil
	}
	return d.osDisk.Unlink(name)
}

// tearingDisk writes the first half of what changes a file.
type tearingDisk struct{ osDisk }

func (d tearingDisk) Open(name string, flag int) (file, error) {
	f, err := d.osDisk.Open(name, flag)
	if err == nil && flag == os.O_RDWR {
		return tearingFile{f}, nil
	}
	return f, err
}

type tearingFile struct{ file }

func (f tearingFile) WriteAt(p []byte, off int64) (int, error) {
	_, err := f.file.WriteAt(p[:len(p)/2], off)
	return len(p), err
}

// zeroingDisk writes zeros.
type zeroingDisk struct{ osDisk }

func (d zeroingDisk) Open(name string, flag int) (file, error) {
	f, err := d.osDisk.Open(name, flag)
	if err == nil && strings.HasSuffix(name, "/copy") {
		return zeroingFile{f}, nil
	}
	return f, err
}

type zeroingFile struct{ file }

func (f zeroingFile) WriteAt(p []byte, off int64) (int, error) {
	return f.file.WriteAt(make([]byte, len(p)), off)
}

// mixingDisk opens one file for another, which is as long: a shorter one is being
// written just now.
type mixingDisk struct{ osDisk }

func (d mixingDisk) Open(name string, flag int) (file, error) {
	if flag == os.O_RDONLY && strings.Contains(name, "-w0/") && strings.Contains(name, "/n0") {
		if other := strings.Replace(name, "-w0/", "-w1/", 1); size(other) > 0 && size(other) >= size(name) {
			name = other
		}
	}
	return d.osDisk.Open(name, flag)
}

// size returns how long a file is, 0 if there is none.
func size(name string) int64 {
	i, err := os.Lstat(name)
	if err != nil {
		return 0
	}
	return i.Size()
}

// generousDisk lets everybody create what is there.
type generousDisk struct{ osDisk }

func (d generousDisk) Open(name string, flag int) (file, error) {
	return d.osDisk.Open(name, flag&^os.O_EXCL)
}

// losingDisk opens files for appending without doing so.
type losingDisk struct{ osDisk }

func (d losingDisk) Open(name string, flag int) (file, error) {
	return d.osDisk.Open(name, flag&^os.O_APPEND)
}
