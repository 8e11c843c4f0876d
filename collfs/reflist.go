package collfs

// A RefList is the list of a directory's entries at one moment, each with a Ref.
// Not for concurrent use.
type RefList struct {
	s *DirSnapshot
	v *View
	o *openFile // of the directory
}

// List returns a snapshot of the directory r, in constant time. It must be closed.
func (r Ref) List() (*RefList, error) {
	c := r.o.rlock()
	defer c.mu.RUnlock()
	n := r.o.n
	if !n.isDir() {
		return nil, ErrNotDir
	}
	c.pins.Add(1)
	return &RefList{&DirSnapshot{c: c, self: n.info(), view: n.kids.snapshot()}, r.v, r.o}, nil
}

// Len returns how many entries there are.
func (l *RefList) Len() int { return l.s.view.n }

// A RefEntry is an entry of a directory. It has no Ref if Next was not asked for
// Refs, or if the name has been taken away meanwhile or leads to something else.
type RefEntry struct {
	Name string
	Info NodeInfo
	Ref  Ref
	Held Key // of the Refs that there are on it
}

// Seek makes the entry of index i, from 0, the next one.
func (l *RefList) Seek(i int) {
	l.s.i, l.s.j = 0, i
	for l.s.i < len(l.s.view.chunks) && l.s.j >= len(l.s.view.chunks[l.s.i].items) {
		l.s.j -= len(l.s.view.chunks[l.s.i].items)
		l.s.i++
	}
}

// Next fills entries with the next ones, in byte order, and reports how many; 0
// at the end. With refs, each has a Ref of its own, to be ended by Forget.
func (l *RefList) Next(entries []RefEntry, refs bool) int {
	s := l.s
	if s.c == nil {
		return 0
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	n := 0
	for n < len(entries) && s.i < len(s.view.chunks) {
		items := s.view.chunks[s.i].items
		for n < len(entries) && s.j < len(items) {
			e := &items[s.j]
			entries[n] = RefEntry{Name: e.name, Info: s.c.infoLocked(e.node), Held: Key{e.node.open}}
			if refs && l.leadsLocked(e.name, e.node) {
				entries[n].Ref = l.v.refLocked(s.c, e.node)
				entries[n].Held = entries[n].Ref.Key()
			}
			n++
			s.j++
		}
		if s.j == len(items) {
			s.i, s.j = s.i+1, 0
		}
	}
	return n
}

// leadsLocked reports whether name still leads to n in the directory. The
// collection of the snapshot must be locked.
func (l *RefList) leadsLocked(name string, n *node) bool {
	c := l.s.c
	return l.o.home.Load() == c && l.o.n.isDir() && l.o.n.kids.get(name) == n && c.linkedLocked(n)
}

// Close ends the use of l.
func (l *RefList) Close() { l.s.Close() }
