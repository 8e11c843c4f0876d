package dav

import (
	"errors"
	"io/fs"
	"net/http"

	"keepdav/collfs"
	"keepdav/davfs"
)

func (q *request) delete() error {
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	if q.path.Name == "/" {
		return fail(http.StatusForbidden, collfs.ErrReadOnly)
	}
	if q.path.Slash && !info.Dir {
		return fs.ErrNotExist
	}
	g, err := q.newGuard(q.path.Name, TouchTree, info, true)
	if err != nil {
		return err
	}
	g.leaves = true
	if d, err := ParseDepth(q.r.Header.Get("Depth")); err != nil || info.Dir && d != DepthMissing && d != DepthInfinity {
		return errBadHeader
	}
	if err := q.preflight(g, info, true); err != nil {
		return err
	}
	if err := q.change(func() error { return q.fs.Remove(q.ctx, q.path.Name, g.check) }, g); err != nil {
		return err
	}
	g.gone(false)
	q.created(false)
	return nil
}

func (q *request) mkcol() error {
	info, exists, err := q.stat(q.path.Name)
	switch {
	case err != nil:
		return noParent(err)
	case exists && info.Dir:
		return q.notAllowed(allowDir)
	case exists:
		return q.notAllowed(allowFile)
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, exists)
	if err != nil {
		return noParent(err)
	}
	if err := q.preflight(g, info, exists); err != nil {
		return err
	}
	if err := q.noBody(); err != nil {
		return err
	}
	attr := davfs.AttrChange{Check: g.check}
	t, hasMtime, err := ParseOCMtime(q.r.Header.Get("X-OC-Mtime"))
	if err != nil {
		return err
	}
	if hasMtime {
		attr.ModTime = &t
	}
	err = q.change(func() error {
		_, err := q.fs.Mkdir(q.ctx, q.path.Name, attr)
		return err
	}, g)
	switch {
	case errors.Is(err, fs.ErrExist):
		return q.notAllowed(allowAny)
	case err != nil:
		return noParent(err)
	}
	if hasMtime {
		q.w.Header().Set("X-OC-Mtime", "accepted")
	}
	q.created(true)
	return nil
}

func (q *request) copyMove() error {
	move := q.r.Method == "MOVE"
	dest, err := ParseDestination(q.r.Header.Get("Destination"), q.h.conf.Prefix)
	if errors.Is(err, errOutside) {
		return fail(http.StatusForbidden, err)
	} else if err != nil {
		return err
	}
	src, dst := q.path.Name, dest.Name
	if q.quirks.Windows {
		dst = q.windowsPath(dst)
	}
	overwrite, err := ParseOverwrite(q.r.Header.Get("Overwrite"))
	if err != nil {
		return err
	}
	depth, err := ParseDepth(q.r.Header.Get("Depth"))
	if err != nil || depth == Depth1 {
		return errBadHeader
	}

	info, err := q.fs.Stat(q.ctx, src)
	if err != nil {
		return err
	}
	if move && info.Dir && depth == Depth0 {
		return errBadHeader
	}
	shallow := !move && info.Dir && depth == Depth0
	switch {
	case src == "/" && move || dst == "/":
		return fail(http.StatusForbidden, collfs.ErrReadOnly)
	case src == dst, within(src, dst), within(dst, src) && info.Dir && !shallow:
		return fail(http.StatusForbidden, collfs.ErrIntoItself)
	}

	srcGuard, err := q.newGuard(src, TouchTree, info, true)
	if err != nil {
		return err
	}
	srcGuard.leaves, srcGuard.noLocks = move, !move
	target, exists, err := q.stat(dst)
	if err != nil {
		return noParent(err)
	}
	if move && exists && target.Collection == info.Collection && target.Path == info.Path {
		target, exists = davfs.Info{}, false // another spelling of the source's name
	}
	dstGuard, err := q.newGuard(dst, TouchTree, target, exists)
	if err != nil {
		return noParent(err)
	}
	dstGuard.headers = false
	if err := q.preflightSource(srcGuard, info); err != nil {
		return err
	}
	if exists && !overwrite {
		return fail(http.StatusPreconditionFailed, fs.ErrExist)
	}
	if err := dstGuard.check(target, exists); err != nil {
		return err
	}

	o := davfs.CopyOptions{Overwrite: overwrite, Shallow: shallow, Check: dstGuard.check}
	var created bool
	err = q.change(func() (err error) {
		if move {
			o.CheckSrc = srcGuard.check
			created, err = q.fs.Move(q.ctx, src, dst, o)
			return err
		}
		o.CheckSrc = func(info davfs.Info, ok bool) error {
			info.ReadOnly = false // it is only read
			return srcGuard.check(info, ok)
		}
		created, err = q.fs.Copy(q.ctx, src, dst, o)
		return err
	}, srcGuard, dstGuard)
	if err != nil {
		return noParent(err)
	}
	if move {
		srcGuard.gone(false)
	}
	if !created {
		dstGuard.gone(true)
	}
	q.created(created)
	return nil
}

// preflightSource checks the source of a COPY or MOVE. A copy reads it, so it
// may be read-only.
func (q *request) preflightSource(g *guard, info davfs.Info) error {
	if q.r.Method == "COPY" {
		info.ReadOnly = false
	}
	return q.preflight(g, info, true)
}
