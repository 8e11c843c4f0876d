package fusefs

import "sync"

// lost is what a file lacks because the kernel could not write it: the pages count as
// written with the kernel, which tells of it once. Closing and syncing the file fail
// until the bytes are written again or cut off, or nobody has the file open.
type lost struct {
	mu       sync.Mutex // guards the fields below
	err      error      // of the first write that failed; nil: nothing is lost
	from, to int64      // all that is lost lies between these
}

// failed notes that the bytes between could not be written.
func (l *lost) failed(from, to int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err, l.from, l.to = err, from, to
		return
	}
	l.from, l.to = min(l.from, from), max(l.to, to)
}

// written notes that the bytes between are written.
func (l *lost) written(from, to int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err == nil:
		return
	case from <= l.from:
		l.from = max(l.from, to)
	case to >= l.to:
		l.to = min(l.to, from)
	}
	l.settleLocked()
}

// cut notes that the file ends at size.
func (l *lost) cut(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = min(l.to, size)
	l.settleLocked()
}

func (l *lost) settleLocked() {
	if l.from >= l.to {
		l.err = nil
	}
}

// forget is for when nobody has the file open any more.
func (l *lost) forget() { l.cut(0) }

// error says why bytes of the file are lost; nil if none are.
func (l *lost) error() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
