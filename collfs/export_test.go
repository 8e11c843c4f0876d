package collfs

import "fmt"

// checkSums says which sums of t are not those of what is in it.
func (t *Tree) checkSums() error {
	c := &Tree{root: t.root, dirs: -1} // the root
	c.count("", t.root, 1)
	got, want := [6]int64{t.files, t.dirs, t.bytes, t.segs, t.names, t.holes}, [6]int64{c.files, c.dirs, c.bytes, c.segs, c.names, c.holes}
	if got != want {
		return fmt.Errorf("files, directories, bytes, segments, names and holes are %d; want %d", got, want)
	}
	return nil
}

// CheckSums says which sums of c's tree are wrong. It shows what handles wrote.
func (c *Collection) CheckSums() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.dirty {
		c.showLocked(n)
	}
	return c.tree.checkSums()
}

// Writing reports whether somebody has the lock of who writes to h's file.
func (h *Handle) Writing() bool {
	if h.o.mu.TryLock() {
		h.o.mu.Unlock()
		return false
	}
	return true
}

// Change is what writes to h's file call when they have been let in.
func (h *Handle) Change(do func() error) error { return h.change(do) }

// LeftoverData is what a Leftover of c would have.
func LeftoverData(c *Collection) []byte {
	l, _ := c.leftover()
	return l.Data
}

// DecodeLeftover reads the data of a Leftover.
func DecodeLeftover(data []byte, blocks Blocks) { _, _ = decodeChanges(data, blocks) }
