package dav

import (
	"errors"
	"net/http"
	"strconv"

	"keepdav/collfs"
	"keepdav/davfs"
)

func (q *request) lock() error {
	locks := q.h.conf.Locks
	timeout := ParseTimeout(q.r.Header.Get("Timeout"), locks.conf.MaxTimeout)
	body := q.body()
	li, err := ParseLockInfo(body)
	body.done()
	if err != nil {
		if body.err != nil {
			return body.failure()
		}
		return err
	}
	info, exists, err := q.stat(q.path.Name)
	if err != nil {
		return noParent(err)
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, exists)
	if err != nil {
		return noParent(err)
	}
	if li == nil {
		return q.refreshLock(g, info, exists)
	}
	depth, err := ParseDepth(q.r.Header.Get("Depth"))
	if err != nil || depth == Depth1 {
		return errBadHeader
	}
	if !exists {
		if q.path.Slash {
			return errFileSlash
		}
		// Who may make nothing here must not keep others from it, even for the
		// moment until that turns out.
		if info, err := q.fs.Stat(q.ctx, parentOf(q.path.Name)); err != nil {
			return noParent(err)
		} else if info.ReadOnly {
			return collfs.ErrReadOnly
		}
	} else if info.ReadOnly {
		return collfs.ErrReadOnly
	}
	// A lock needs no token of the locks that are there: either they are
	// compatible or it is refused. Only the new member of a locked collection
	// needs that one's token.
	g.noLocks = exists
	if err := q.preflight(g, info, exists); err != nil {
		return err
	}
	if err := g.lookAbove(); err != nil {
		return err
	}
	l, err := locks.Acquire(q.ctx, Lock{
		Place: g.place, User: q.user, Owner: string(li.Owner), Infinite: depth != Depth0, Dir: info.Dir,
		Shared: li.Shared, Timeout: timeout,
	})
	if le, ok := errors.AsType[*LockedError](err); ok && le.Members {
		q.failed(http.StatusMultiStatus, err)
		return q.answerLockedMembers(le, info.Dir)
	}
	if err != nil {
		return err
	}
	if !exists {
		// RFC 4918 §7.3: the name is reserved by an empty file.
		g.extra = []string{l.Token}
		if exists, err = q.createEmpty(g); err != nil {
			_ = locks.Release(q.ctx, q.user, l.Token, g.place)
			return noParent(err)
		}
	}
	q.w.Header().Set("Lock-Token", "<"+l.Token+">")
	status := http.StatusOK
	if !exists {
		status = http.StatusCreated
	}
	q.answerLock(status, l, g.place)
	return nil
}

// createEmpty makes the empty file that a lock on a free name stands for. It
// reports whether somebody else made one meanwhile, which then stays as it is.
func (q *request) createEmpty(g *guard) (exists bool, err error) {
	var errTaken = errors.New("taken")
	up, err := q.fs.Put(q.ctx, g.place.Name, davfs.PutOptions{Check: func(cur davfs.Info, ok bool) error {
		if err := g.check(cur, ok); err != nil || !ok {
			return err
		}
		return errTaken
	}})
	if err == nil {
		defer up.Abort()
		_, _, err = up.Commit(q.ctx)
	}
	if errors.Is(err, errTaken) {
		return true, nil
	}
	return false, err
}

// refreshLock is a LOCK without a body: the lock named by If, or by Lock-Token
// as some clients have it, lives on.
func (q *request) refreshLock(g *guard, info davfs.Info, exists bool) error {
	tokens := q.ifh.Tokens()
	if t, ok := ParseLockToken(q.r.Header.Get("Lock-Token")); ok {
		tokens = append(tokens[:len(tokens):len(tokens)], t)
	}
	if len(tokens) == 0 {
		return fail(http.StatusBadRequest, errors.New("a LOCK without a body refreshes a lock and has to name it"))
	}
	g.noLocks = true
	if err := q.preflight(g, info, exists); err != nil {
		return err
	}
	timeout := ParseTimeout(q.r.Header.Get("Timeout"), q.h.conf.Locks.conf.MaxTimeout)
	l, err := q.h.conf.Locks.Refresh(q.ctx, q.user, tokens, g.place, timeout)
	if errors.Is(err, ErrNoSuchLock) {
		return &statusError{status: http.StatusPreconditionFailed, cond: "lock-token-matches-request-uri", err: err}
	}
	if err != nil {
		return err
	}
	q.answerLock(http.StatusOK, l, g.place)
	return nil
}

func (q *request) answerLock(status int, l Lock, p LockPlace) {
	b := append([]byte(nil), xmlHead+`<D:prop xmlns:D="DAV:"><D:lockdiscovery>`...)
	b = appendActiveLock(b, l, q.h.conf.Locks.LockRoot(l, p), q.h.conf.Prefix, q.quirks)
	b = append(b, "</D:lockdiscovery></D:prop>"...)
	hd := q.w.Header()
	hd.Set("Content-Type", xmlType)
	hd.Set("Content-Length", strconv.Itoa(len(b)))
	q.w.WriteHeader(status)
	_, _ = q.w.Write(b)
}

// answerLockedMembers says which members keep a directory from being locked with
// all below it, in the form that RFC 4918 §9.10.3 has for that.
func (q *request) answerLockedMembers(le *LockedError, dir bool) error {
	m := q.newMultistatus(false)
	for _, p := range le.Places {
		m.response(string(appendClientHref(nil, q.h.conf.Prefix, p.Name, false, q.quirks)), http.StatusLocked, "no-conflicting-lock")
	}
	m.response(string(appendClientHref(nil, q.h.conf.Prefix, q.path.Name, dir, q.quirks)), http.StatusFailedDependency, "")
	if err := m.finish(); err != nil {
		q.cut(err)
	}
	return nil
}

func (q *request) unlock() error {
	token, ok := ParseLockToken(q.r.Header.Get("Lock-Token"))
	if !ok {
		return errBadHeader
	}
	p, err := q.place(q.path.Name)
	if err != nil {
		return err
	}
	if err := q.lookAbove(&p); err != nil {
		return err
	}
	if err := q.prepareIf(q.path.Name); err != nil {
		return err
	}
	if !q.ifHolds(q.path.Name, q.tags[q.path.Name].etag) {
		return collfs.ErrCondition
	}
	if err := q.h.conf.Locks.Release(q.ctx, q.user, token, p); err != nil {
		return err
	}
	q.created(false)
	return nil
}
