package dav

import (
	"errors"
	"io/fs"
	"net/http"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A guard decides whether a request may change its target: conditional headers,
// the If header and locks. It is asked before the body is read and again, by the
// file system, when the change is made.
type guard struct {
	q       *request
	place   LockPlace
	parent  LockPlace  // of a target that may have to be created
	members *LockPlace // where the members of the target lie, if that is elsewhere
	touch   Touch
	headers bool // If-Match and its like are about this target
	leaves  bool // the target leaves its parent
	noLocks bool
	looked  bool     // what is above the place has been looked up
	extra   []string // tokens besides the submitted ones
	mark    LockMark // when it was asked last
}

// newGuard makes the guard of a target: what it is, or where it would be.
func (q *request) newGuard(name string, touch Touch, info davfs.Info, exists bool) (*guard, error) {
	g := &guard{q: q, touch: touch, headers: true}
	if exists {
		g.place = placeOf(&info, name)
	} else {
		var err error
		if g.place, err = q.place(name); err != nil {
			return nil, err
		}
	}
	if err := g.look(); err != nil {
		return nil, err
	}
	g.parent = g.place.parent()
	if exists && touch == TouchTree && info.Dir && info.Path == "" && g.place.inCollection() {
		// The files of a project lie in a collection, but their places in the project.
		m, err := q.place(joinPath(name, "x"))
		if err != nil {
			return nil, err
		}
		if m.Tree != g.place.Tree {
			g.members = &LockPlace{Tree: m.Tree, Path: "/", Name: parentOf(name)}
		}
	}
	return g, nil
}

// look finds the projects that the place lies in, if one of them may be locked.
func (g *guard) look() error {
	if l := g.q.h.conf.Locks; l == nil || !l.Wide() {
		return nil
	}
	return g.lookAbove()
}

func (g *guard) lookAbove() error {
	if g.looked {
		return nil
	}
	if err := g.q.lookAbove(&g.place); err != nil {
		return err
	}
	g.looked, g.parent = true, g.place.parent()
	return nil
}

// errLookAgain says that a project was locked since a guard was made. Whether it is
// one of those around the place cannot be found out when a change is made.
var errLookAgain = errors.New("a project was locked meanwhile")

// errOther says that a name leads to another collection or project than when the
// request was judged: it may be locked.
var errOther = errors.New("the name stands for something else meanwhile")

// change makes a change, and once more if a project was locked since its guards
// were made.
func (q *request) change(do func() error, guards ...*guard) error {
	err := do()
	if !errors.Is(err, errLookAgain) {
		return err
	}
	for _, g := range guards {
		if err := g.look(); err != nil {
			return err
		}
	}
	return do()
}

// lookAbove finds the projects that the tree of p lies in, for locks on them. The
// way up is that of the records: another user may know p by a name that does not
// lead through its projects.
func (q *request) lookAbove(p *LockPlace) error {
	for p.Above == nil && p.Tree != "" {
		owner, err := q.fs.Owner(q.ctx, collfs.UUID(p.Tree))
		if err != nil {
			return err
		}
		if owner == "" {
			return nil
		}
		name := parentOf(p.rootName())
		above, err := q.place(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || above.Tree != string(owner) || above.Path != "/" {
			above = LockPlace{Tree: string(owner), Path: "/", Name: "/by_id/" + string(owner)}
		}
		p.Above = &above
		p = &above
	}
	return nil
}

// check is a davfs.Check.
func (g *guard) check(target davfs.Info, ok bool) error {
	q := g.q
	if l := q.h.conf.Locks; l != nil {
		g.mark = l.Mark()
	}
	cur := Current{Exists: ok}
	if ok {
		if at := placeOf(&target, g.place.Name); at.Tree != g.place.Tree || at.Path != g.place.Path {
			return fail(http.StatusServiceUnavailable, errOther)
		}
		cur.ETag, cur.ModTime = target.ETag(), target.ModTime
		if target.ReadOnly {
			return collfs.ErrReadOnly
		}
	}
	if g.headers {
		if EvalConditions(q.r.Header, q.r.Method, cur) != Proceed {
			return collfs.ErrCondition
		}
	}
	if !q.ifHolds(g.place.Name, cur.ETag) {
		return collfs.ErrCondition
	}
	return g.checkLocks(ok)
}

func (g *guard) checkLocks(exists bool) error {
	q := g.q
	if g.noLocks || q.h.conf.Locks == nil || q.h.conf.LockMode != LocksEnforced {
		return nil
	}
	if !g.looked && g.place.Tree != "" && q.h.conf.Locks.Wide() {
		return fail(http.StatusServiceUnavailable, errLookAgain)
	}
	tokens := q.ifh.Tokens()
	if len(g.extra) > 0 {
		tokens = append(g.extra, tokens...)
	}
	if err := q.h.conf.Locks.Require(q.user, tokens, g.place, g.touch); err != nil {
		return err
	}
	if g.members != nil {
		if err := q.h.conf.Locks.Require(q.user, tokens, *g.members, TouchMembers); err != nil {
			return err
		}
	}
	if exists && !g.leaves {
		return nil
	}
	return q.h.conf.Locks.Require(q.user, tokens, g.parent, TouchSelf)
}

// gone drops the locks of a target that is not there any more, or, replaced, of
// what was there before.
func (g *guard) gone(replaced bool) {
	l := g.q.h.conf.Locks
	if l == nil {
		return
	}
	if replaced {
		l.Replaced(g.q.ctx, g.place, g.mark)
	} else {
		l.Gone(g.q.ctx, g.place, g.mark)
	}
	if g.members != nil {
		l.MembersGone(g.q.ctx, *g.members, g.mark)
	}
}

// tagState is what the If header's conditions about a path are compared with.
type tagState struct {
	etag  string
	place LockPlace
	known bool // the place is
}

// maxTags bounds how many resources one If header may be about.
const maxTags = 100

// prepareIf looks up the resources that the If header is about, so that later
// evaluations need no file system.
func (q *request) prepareIf(own string) error {
	if q.ifh == nil || q.tags != nil {
		return nil
	}
	q.tags = map[string]tagState{}
	paths := []string{own}
	for _, l := range q.ifh.lists {
		if p, ok := q.resolveTag(l.tag); l.tagged && ok {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		if _, ok := q.tags[p]; ok {
			continue
		}
		if len(q.tags) == maxTags {
			return errBadIf
		}
		var s tagState
		if info, ok, err := q.stat(p); err != nil && !errors.Is(err, collfs.ErrNotDir) {
			return err
		} else if ok {
			s.etag = info.ETag()
		}
		var err error
		s.place, err = q.place(p)
		if l := q.h.conf.Locks; err == nil && l != nil && l.Wide() {
			err = q.lookAbove(&s.place)
		}
		s.known = err == nil
		q.tags[p] = s
	}
	return nil
}

func (q *request) resolveTag(tag string) (string, bool) {
	p, err := ParseDestination(tag, q.h.conf.Prefix)
	if err != nil {
		return "", false
	}
	if q.quirks.Windows {
		p.Name = fromWindowsPath(p.Name)
	}
	return p.Name, true
}

// ifHolds evaluates the If header, now that the entity tag of name, the request's
// own or its destination, is known to be etag. It calls no file system.
func (q *request) ifHolds(name, etag string) bool {
	if s, ok := q.tags[name]; ok {
		s.etag = etag
		q.tags[name] = s
	}
	return q.ifh.Eval(q.path.Name, q.resolveTag, ifState{q})
}

type ifState struct{ q *request }

func (s ifState) CurrentETag(path string) string { return s.q.tags[path].etag }

func (s ifState) TokenCovers(token, path string) bool {
	st := s.q.tags[path]
	return st.known && s.q.h.conf.Locks != nil && s.q.h.conf.Locks.TokenCovers(token, st.place)
}

// preflight asks the guard of the request's own target before anything is done.
func (q *request) preflight(g *guard, info davfs.Info, exists bool) error {
	if err := q.prepareIf(g.place.Name); err != nil {
		return err
	}
	return g.check(info, exists)
}
