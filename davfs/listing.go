package davfs

import (
	"slices"
	"strings"
)

// sliceListing lists what is there.
type sliceListing struct{ rest []Info }

// newSliceListing takes infos over and sorts them by name.
func newSliceListing(infos []Info) *sliceListing {
	byName := func(a, b Info) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(infos, byName) {
		slices.SortFunc(infos, byName)
	}
	return &sliceListing{infos}
}

func (l *sliceListing) Next(infos []Info) (int, error) {
	n := copy(infos, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *sliceListing) Close() { l.rest = nil }

// mergeListing lists two listings as one, by name. Where both have a name, a's
// is shown.
type mergeListing struct {
	a, b bufferedListing
}

func newMergeListing(a, b Listing) *mergeListing {
	return &mergeListing{bufferedListing{Listing: a}, bufferedListing{Listing: b}}
}

func (l *mergeListing) Next(infos []Info) (int, error) {
	for n := range infos {
		a, err := l.a.peek()
		if err != nil {
			return n, err
		}
		b, err := l.b.peek()
		if err != nil {
			return n, err
		}
		switch {
		case a == nil && b == nil:
			return n, nil
		case b == nil || a != nil && a.Name <= b.Name:
			infos[n] = *a
			if b != nil && a.Name == b.Name {
				l.b.skip()
			}
			l.a.skip()
		default:
			infos[n] = *b
			l.b.skip()
		}
	}
	return len(infos), nil
}

func (l *mergeListing) Close() {
	l.a.Close()
	l.b.Close()
}

// bufferedListing shows the next entry before it is taken.
type bufferedListing struct {
	Listing
	buf  []Info
	rest []Info
}

// peek returns the next entry, nil at the end.
func (l *bufferedListing) peek() (*Info, error) {
	if len(l.rest) == 0 {
		if l.buf == nil {
			l.buf = make([]Info, 64)
		}
		n, err := l.Next(l.buf)
		if err != nil || n == 0 {
			return nil, err
		}
		l.rest = l.buf[:n]
	}
	return &l.rest[0], nil
}

func (l *bufferedListing) skip() { l.rest = l.rest[1:] }
