package collfs

import (
	"maps"
	"slices"
	"time"
)

// A merger replays changes that were made to one tree on another one, theirs,
// which somebody else has changed since. What becomes of a path:
//
//	ours                 theirs                 result
//	unchanged            changed                theirs
//	changed              unchanged              ours
//	changed              changed, same content  one
//	changed              changed                ours; theirs beside it as name~TIME~conflict~
//	deleted              changed                theirs
//	changed              deleted                ours
//	file                 directory              both, the file as a conflict
//	directory            file                   both, the file as a conflict
//	attributes changed   other attributes       both, one by one; of one attribute ours
//	another name         changed                two files
//	exchanged            one is gone            the other is where ours put it
//
// A directory keeps the later times of both sides.
//
// A rename is replayed on what theirs has below the old name by now. "Unchanged"
// is decided by content ids. What changed a file with several names is replayed at
// each of them, so that it does not matter whether they are one file in theirs.
// Nothing is lost: what isn't ours any more nor theirs was deleted by somebody who
// had seen it.
type merger struct {
	t         *Tree
	at        time.Time     // when theirs was committed
	time      int64         // when ours was made that is being replayed
	rest      []change      // those of ours that are still to be replayed
	later     map[putAt]int // how many of them put a content at a path
	out       []change      // what turns theirs into the result
	conflicts []Notice
	err       error // the first operation that did not apply: a bug
}

// A putAt is a content at a path.
type putAt struct {
	path string
	id   ContentID
}

// newMerger returns a merger that is going to replay changes on theirs.
func newMerger(theirs *Tree, at time.Time, changes []change) *merger {
	m := &merger{t: theirs, at: at, rest: changes, later: make(map[putAt]int)}
	for i := range changes {
		m.count(&changes[i], 1)
	}
	return m
}

// count adds what ch puts to later, n times.
func (m *merger) count(ch *change, n int) {
	id := ch.puts()
	if id == (ContentID{}) {
		return
	}
	for _, path := range ch.names() {
		m.later[putAt{path, id}] += n
	}
}

// replayAll replays the changes in order.
func (m *merger) replayAll() {
	for len(m.rest) > 0 {
		ch := m.rest[0]
		m.rest = m.rest[1:]
		m.count(&ch, -1)
		m.time = ch.Time
		m.replay(ch)
	}
}

func (m *merger) replay(ch change) {
	switch ch.Kind {
	case OpPut, OpPatch:
		m.change(ch)
	case OpMkdir:
		m.mkdir(ch)
	case OpDelete:
		m.delete(ch)
	case OpRename:
		m.rename(ch)
	case OpCopy:
		m.copy(ch)
	case OpLink:
		m.link(ch)
	case OpExchange:
		m.exchange(ch)
	case OpAttr:
		for _, path := range ch.names() {
			ch.Path = path
			m.setAttr(ch)
		}
	case OpRepack:
		if n := m.t.lookup(ch.Path); n != nil && !n.isDir() && n.id == ch.Content.ID {
			m.do(ch)
		}
	}
}

// timeOf returns the time for an operation: ours', but not before what theirs has
// changed last in the same places.
func (m *merger) timeOf(op *Op) int64 {
	at := op.Time
	if at == 0 {
		at = m.time
	}
	paths := []string{op.Path}
	if op.Kind == OpRename || op.Kind == OpLink || op.Kind == OpExchange {
		paths = append(paths, op.Src)
	}
	for _, path := range paths {
		dir, _ := splitPath(path)
		for _, p := range []string{dir, path} {
			if n := m.t.lookup(p); n != nil && at != 0 {
				at = max(at, n.attr.Ctime)
			}
		}
	}
	return at
}

// do makes a change of theirs.
func (m *merger) do(ch change) {
	ch.Time = m.timeOf(&ch.Op)
	n, err := m.t.apply(ch.Op)
	if err != nil {
		if m.err == nil {
			m.err = pathError(ch.Kind.String(), ch.Path, err)
		}
		return
	}
	switch ch.Kind {
	case OpDelete, OpRename, OpCopy:
		ch.node = n
	case OpLink:
		ch.node = n.clone()
	case OpPut, OpPatch, OpAttr:
		ch.also = n.pathsBut(ch.Path)
	}
	m.out = append(m.out, ch)
}

// dirs makes the directory at path, with those above. Files in the way are
// moved aside.
func (m *merger) dirs(path string) {
	n := m.t.lookup(path)
	if n != nil && n.isDir() {
		return
	}
	up, _ := splitPath(path)
	m.dirs(up)
	if n = m.t.lookup(path); n != nil {
		m.aside(path)
	}
	m.do(change{Op: Op{Kind: OpMkdir, Path: path}})
}

// conflictPath returns a free path for the loser of a conflict over path.
func (m *merger) conflictPath(path string) string {
	dir, name := splitPath(path)
	up := m.t.lookup(dir)
	return joinPath(dir, conflictName(name, m.at, func(s string) bool { return up.kids.get(s) != nil }))
}

// aside moves the file at path out of the way.
func (m *merger) aside(path string) {
	to := m.conflictPath(path)
	m.do(change{Op: Op{Kind: OpRename, Src: path, Path: to, Content: Content{ID: m.t.lookup(path).id}}})
	m.conflicts = append(m.conflicts, Notice{Path: path, Conflict: to})
}

// puts returns the content that ch, with those made together with it, gives to a
// file; zero if it isn't a put or a patch.
func (ch *change) puts() ContentID {
	switch ch.Kind {
	case OpPut:
		return ch.Content.ID
	case OpPatch:
		return ch.full.ID
	}
	return ContentID{}
}

// names returns the paths that show what ch changes.
func (ch *change) names() []string { return append([]string{ch.Path}, ch.also...) }

// putAgain reports whether a later change of ours puts the content id at path, and
// nothing before it takes elsewhere what is there: then what ours puts there now
// is seen by nobody.
func (m *merger) putAgain(path string, id ContentID) bool {
	at := putAt{path, id}
	if m.later[at] == 0 {
		return false
	}
	for i := range m.rest {
		ch := &m.rest[i]
		if ch.puts() == id && slices.Contains(ch.names(), path) {
			return true
		}
		if (ch.Kind == OpRename || ch.Kind == OpCopy || ch.Kind == OpExchange) && within(path, ch.Src) || ch.Kind == OpExchange && within(path, ch.Path) {
			return false
		}
	}
	return false
}

// change replays a put or a patch at each name that the file had. One that theirs
// has taken away comes back as a name of the file.
func (m *merger) change(ch change) {
	first, names := "", ch.names()
	for i, path := range names {
		ch.Path = path
		if i > 0 && m.linkAgain(first, path, names, &ch) {
			continue
		}
		replay := m.put
		if ch.Kind == OpPatch {
			replay = m.patch
		}
		if at := replay(ch); i == 0 {
			first = at
		}
	}
}

// linkAgain makes path another name of what is at first, where ch put its content,
// if nothing is in the way, or what theirs made of the file, which is kept as a
// conflict already.
func (m *merger) linkAgain(first, path string, names []string, ch *change) bool {
	n, cur := m.t.lookup(first), m.t.lookup(path)
	ours := func(id ContentID) bool { return id == ch.Content.ID || id == ch.full.ID }
	if n == nil || n.isDir() || !ours(n.id) {
		return false
	}
	if cur != nil {
		kept := slices.ContainsFunc(cur.pathsBut(path), func(p string) bool { return !slices.Contains(names, p) })
		if cur.isDir() || cur == n || ours(cur.id) || cur.id == ch.Old || !kept || m.putAgain(path, cur.id) {
			return false
		}
		m.remove(path, cur)
	}
	m.link(change{Op: Op{Kind: OpLink, Path: path, Src: first, Content: Content{ID: n.id}}, node: n})
	return true
}

// patch replays a patch, as a put of all of the file if theirs has another one. It
// returns where our content is now.
func (m *merger) patch(ch change) string {
	if cur := m.t.lookup(ch.Path); cur != nil && !cur.isDir() {
		switch cur.id {
		case ch.Content.ID: // under another name
			m.mergeAttr(ch, cur)
			return ch.Path
		case ch.Old:
			ch.mergePutAttr(cur)
			m.do(ch)
			return ch.Path
		}
	}
	return m.put(change{Op: Op{Kind: OpPut, Path: ch.Path, Old: ch.Old, Content: ch.full, Attr: ch.Attr}, was: ch.was})
}

// mergePutAttr makes the attributes of ch, which replaces the content of cur,
// those of both; the time is that of our content.
func (ch *change) mergePutAttr(cur *node) {
	mtime := ch.Attr.Mtime
	ch.Attr = mergeAttr(ch.was, ch.Attr, cur.attr)
	ch.Attr.Mtime = mtime
	ch.was = cur.attr
}

// put replays a put and returns where our content is now.
func (m *merger) put(ch change) string {
	dir, _ := splitPath(ch.Path)
	m.dirs(dir)
	cur := m.t.lookup(ch.Path)
	switch {
	case cur == nil:
		ch.Old = ContentID{}
	case cur.isDir():
		taken := ch.Path
		ch.Path, ch.Old = m.conflictPath(taken), ContentID{}
		m.conflicts = append(m.conflicts, Notice{Path: taken, Conflict: ch.Path})
	case cur.id == ch.Content.ID:
		m.mergeAttr(ch, cur)
		return ch.Path
	case cur.id == ch.Old:
		ch.mergePutAttr(cur)
	case m.putAgain(ch.Path, cur.id):
		return ch.Path
	default:
		m.aside(ch.Path)
		ch.Old = ContentID{}
	}
	m.do(ch)
	return ch.Path
}

// mergeAttr gives cur, which has the content of ch, the attributes of ch too.
func (m *merger) mergeAttr(ch change, cur *node) {
	a := mergeAttr(ch.was, ch.Attr, cur.attr)
	if !sameAttr(a, cur.attr) {
		m.do(change{Op: Op{Kind: OpAttr, Path: ch.Path, Content: Content{ID: cur.id}, Attr: a}, was: cur.attr})
	}
}

// mergeAttr merges attributes one by one: what ours changed against was wins.
func mergeAttr(was, ours, theirs Attr) Attr {
	a := theirs
	if ours.Mode != was.Mode {
		a.Mode = ours.Mode
	}
	if ours.Mtime != was.Mtime {
		a.Mtime = ours.Mtime
	}
	a.Posix = mergePosix(was.Posix, ours.Posix, theirs.Posix)
	a.Extra = mergeExtra(was.Extra, ours.Extra, theirs.Extra)
	return a
}

func sameAttr(a, b Attr) bool {
	return a.Mode == b.Mode && a.Mtime == b.Mtime && samePosix(a.Posix, b.Posix) && maps.Equal(a.Extra, b.Extra)
}

// mergePosix is mergeAttr for the owner, the kind of file and the time of access.
func mergePosix(was, ours, theirs *Posix) *Posix {
	if samePosix(was, ours) {
		return theirs
	}
	w, o, p := posixOf(was), posixOf(ours), posixOf(theirs)
	if o.HasOwner != w.HasOwner || o.UID != w.UID || o.GID != w.GID {
		p.HasOwner, p.UID, p.GID = o.HasOwner, o.UID, o.GID
	}
	if o.Type != w.Type || o.Rdev != w.Rdev {
		p.Type, p.Rdev = o.Type, o.Rdev
	}
	if o.Atime != w.Atime {
		p.Atime = o.Atime
	}
	if p == (Posix{}) {
		return nil
	}
	return &p
}

func (m *merger) mkdir(ch change) {
	dir, _ := splitPath(ch.Path)
	m.dirs(dir)
	cur := m.t.lookup(ch.Path)
	if cur != nil && cur.isDir() {
		ch.Attr.Mtime = max(ch.Attr.Mtime, cur.attr.Mtime)
		m.mergeAttr(ch, cur)
		return
	}
	if cur != nil {
		m.aside(ch.Path)
	}
	m.do(ch)
}

// delete takes away what ours has seen when it deleted: files that theirs has
// changed or added stay, with their directories.
func (m *merger) delete(ch change) {
	cur := m.t.lookup(ch.Path)
	if cur == nil {
		return
	}
	if unchanged(cur, ch.node) {
		m.remove(ch.Path, cur)
		return
	}
	m.prune(ch.Path, cur, ch.node)
}

func (m *merger) remove(path string, n *node) {
	m.do(change{Op: Op{Kind: OpDelete, Path: path, Old: n.id}})
}

// prune deletes what is unchanged at and below path.
func (m *merger) prune(path string, cur, seen *node) {
	if !cur.isDir() || !seen.isDir() {
		return
	}
	for name, k := range cur.kids.snapshot().all {
		s := seen.kids.get(name)
		switch {
		case s == nil:
		case unchanged(k, s):
			m.remove(joinPath(path, name), k)
		default:
			m.prune(joinPath(path, name), k, s)
		}
	}
}

// unchanged reports whether everything in cur was in seen as it is.
func unchanged(cur, seen *node) bool {
	if cur.isDir() != seen.isDir() || cur.id != seen.id {
		return false
	}
	if !cur.isDir() {
		return true
	}
	for name, k := range cur.kids.view().all {
		s := seen.kids.get(name)
		if s == nil || !unchanged(k, s) {
			return false
		}
	}
	return true
}

func (m *merger) rename(ch change) {
	dir, _ := splitPath(ch.Path)
	if s := m.t.lookup(ch.Src); s != nil && s.isDir() == ch.node.isDir() {
		m.dirs(dir)
	}
	s := m.t.lookup(ch.Src)
	if s == nil || s.isDir() != ch.node.isDir() { // theirs has taken it away: ours changed
		m.graft(ch.Path, ch.Old, ch.node)
		return
	}
	d := m.t.lookup(ch.Path)
	if d != nil && !d.isDir() && !s.isDir() && d.id == ch.Old && s.id != d.id {
		m.do(ch)
		return
	}
	m.move(ch.Src, ch.Path, s)
}

// move moves s, which is at src, to dst, merging it with what is there.
func (m *merger) move(src, dst string, s *node) {
	ch := change{Op: Op{Kind: OpRename, Src: src, Path: dst, Content: Content{ID: s.id}}}
	d := m.t.lookup(dst)
	switch {
	case d == nil:
	case d.isDir() && s.isDir():
		for name, k := range s.kids.snapshot().all {
			m.move(joinPath(src, name), joinPath(dst, name), k)
		}
		m.remove(src, s)
		return
	case d.isDir():
		ch.Path = m.conflictPath(dst)
		m.conflicts = append(m.conflicts, Notice{Path: dst, Conflict: ch.Path})
	case !s.isDir() && d.id == s.id:
		m.remove(src, s)
		return
	default:
		m.aside(dst)
	}
	m.do(ch)
}

// copy makes the copy that ours made: of what ours had, if theirs has something
// else there by now.
func (m *merger) copy(ch change) {
	dir, _ := splitPath(ch.Path)
	m.dirs(dir)
	s, d := m.t.lookup(ch.Src), m.t.lookup(ch.Path)
	if s != nil && unchanged(s, ch.node) && unchanged(ch.node, s) && (d == nil || !d.isDir() && d.id == ch.Old && !s.isDir()) {
		m.do(ch)
		return
	}
	m.graft(ch.Path, ch.Old, ch.node)
}

// graft puts a copy of n, with all below it, at path, where ours had old.
func (m *merger) graft(path string, old ContentID, n *node) {
	m.graftOnce(path, old, n, make(map[*node]string))
}

// graftOnce is graft for what may have been grafted under another name: where, says
// made.
func (m *merger) graftOnce(path string, old ContentID, n *node, made map[*node]string) {
	if !n.isDir() {
		if at, ok := made[n]; ok {
			m.link(change{Op: Op{Kind: OpLink, Path: path, Src: at, Content: Content{ID: n.id}}, node: n})
			return
		}
		made[n] = m.put(change{Op: Op{Kind: OpPut, Path: path, Old: old, Content: n.content(), Attr: n.attr}})
		return
	}
	m.mkdir(change{Op: Op{Kind: OpMkdir, Path: path, Attr: n.attr}})
	for name, k := range n.kids.snapshot().all {
		m.graftOnce(joinPath(path, name), ContentID{}, k, made)
	}
}

// link gives a file the name that ours gave it, if theirs has it as it was; else
// what it was becomes a file of its own.
func (m *merger) link(ch change) {
	dir, _ := splitPath(ch.Path)
	m.dirs(dir)
	s, d := m.t.lookup(ch.Src), m.t.lookup(ch.Path)
	switch {
	case s != nil && s == d: // theirs did it, too
		return
	case s == nil || s.isDir() || s.id != ch.Content.ID || d != nil && d.id == s.id:
		m.put(change{Op: Op{Kind: OpPut, Path: ch.Path, Content: ch.node.content(), Attr: ch.node.attr}})
		return
	case d == nil:
	case d.isDir():
		taken := ch.Path
		ch.Path = m.conflictPath(taken)
		m.conflicts = append(m.conflicts, Notice{Path: taken, Conflict: ch.Path})
	case m.putAgain(ch.Path, d.id):
		return
	default:
		m.aside(ch.Path)
	}
	m.do(ch)
}

func (m *merger) setAttr(ch change) {
	if cur := m.t.lookup(ch.Path); cur != nil && cur.id == ch.Content.ID {
		m.mergeAttr(ch, cur)
	}
}

// resurfaceLocked brings back n, whose name got another content while a handle
// went on writing to it: ours changed against base.
func (c *Collection) resurfaceLocked(n *node, base ContentID, was Attr) {
	m := newMerger(c.tree, c.record.ModifiedAt, nil)
	m.time = n.attr.Ctime
	path := m.put(change{Op: Op{Kind: OpPut, Path: n.open.path, Old: base, Content: n.content(), Attr: n.attr}, was: was})
	for _, ch := range m.out {
		c.addLocked(ch)
	}
	c.conflictsLocked(m)
	if at := c.tree.lookup(path); at != nil && at.open == nil && at.id == n.id {
		c.attachLocked(n, at)
	}
}

// attachLocked puts n, which has handles, in the place of at, which has the
// same content.
func (c *Collection) attachLocked(n, at *node) {
	n.open.state = stateLinked
	n.attr = at.attr
	if n.open.spans == nil {
		n.segs = at.segs
	}
	names := int64(at.links())
	c.tree.segs += names * int64(len(n.segs)-len(at.segs))
	c.tree.holes += names * (holesIn(n.segs) - holesIn(at.segs))
	c.tree.replace(at, n)
}

// conflictsLocked counts, logs and tells what a merge had to keep twice.
func (c *Collection) conflictsLocked(m *merger) {
	for _, n := range m.conflicts {
		c.fs.conflicts.Add(1)
		c.fs.cfg.Log.Warn().Str("collection", string(c.key.id)).Str("path", n.Path).Str("kept_as", n.Conflict).Msg("both sides changed a file: both are kept")
		c.noteLocked(n)
	}
	if m.err != nil {
		c.fs.cfg.Log.Error().Err(m.err).Str("collection", string(c.key.id)).Msg("merge went wrong")
	}
}
