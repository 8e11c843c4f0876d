package dav

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"

	"keepdav/collfs"
	"keepdav/davfs"
)

func (q *request) propfind() error {
	if done, err := q.macName(); done || err != nil {
		return err
	}
	// Microsoft's clients may ask for the members only.
	value, noRoot := strings.CutSuffix(q.r.Header.Get("Depth"), ",noroot")
	depth, err := ParseDepth(value)
	if err != nil {
		return err
	}
	plan, err := q.propfindPlan()
	if err != nil {
		return err
	}
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	if q.path.Slash && !info.Dir {
		return fs.ErrNotExist
	}
	if q.ifh != nil {
		if err := q.prepareIf(q.path.Name); err != nil {
			return err
		}
		if !q.ifHolds(q.path.Name, info.ETag()) {
			return collfs.ErrCondition
		}
	}
	if depth == DepthMissing {
		depth = DepthInfinity
	}
	if depth == DepthInfinity && info.Dir {
		limit := q.h.conf.MaxEntries
		n, err := q.fs.Count(q.ctx, q.path.Name, limit+1)
		if err != nil && !errors.Is(err, collfs.ErrTooManyEntries) {
			return err
		}
		if err != nil || n > limit {
			return failCond(http.StatusForbidden, "propfind-finite-depth")
		}
	}
	var first davfs.Listing
	if depth != Depth0 && info.Dir {
		// The first listing is opened before anything is written, so that its
		// failure can still be the answer.
		if first, err = q.fs.List(q.ctx, q.path.Name); err != nil {
			return err
		}
	}

	p := q.newPropWriter(plan)
	p.sums = depth == Depth0
	if info.Dir && !q.path.Slash {
		q.w.Header().Set("Content-Location", Href(q.h.conf.Prefix, q.path.Name, true))
	}
	if q.quirks.Windows {
		q.w.Header().Set("Cache-Control", "no-cache")
	}
	wk := walker{q: q, p: p, m: q.newMultistatus(q.gzipOK()), deep: depth == DepthInfinity}
	if !noRoot || first == nil {
		wk.m.buf = p.append(wk.m.buf, "", "", &info, q.path.Name)
	}
	if first != nil {
		if err := wk.members(first, q.path.Name); err != nil {
			wk.m.release()
			q.cut(err)
		}
	}
	if err := wk.m.finish(); err != nil {
		q.cut(err)
	}
	return nil
}

// wantsMinimal reports whether the client does without the list of properties
// that are missing.
func (q *request) wantsMinimal() bool {
	return strings.EqualFold(q.r.Header.Get("Brief"), "t") || strings.Contains(q.r.Header.Get("Prefer"), "return=minimal")
}

func (q *request) newPropWriter(plan *propPlan) *propWriter {
	return &propWriter{
		ctx: q.ctx, fs: q.fs, plan: plan, quirks: q.quirks,
		locks: q.h.conf.Locks, look: q.lookAbove, prefix: q.h.conf.Prefix, quota: !q.quirks.OmitQuota || q.h.conf.FinderUsed,
	}
}

// gzipOK reports whether a long answer is worth compressing: the client asked,
// and is on another machine.
func (q *request) gzipOK() bool {
	if q.h.conf.NoGzip || !acceptsGzip(q.r.Header.Get("Accept-Encoding")) {
		return false
	}
	host, _, err := net.SplitHostPort(q.r.RemoteAddr)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}

func acceptsGzip(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		name, params, _ := strings.Cut(part, ";")
		if name = strings.TrimSpace(name); strings.EqualFold(name, "gzip") || name == "*" {
			q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			return !found || strings.Trim(q, "0.") != ""
		}
	}
	return false
}

// A walker writes the members of collections.
type walker struct {
	q    *request
	p    *propWriter
	m    *multistatus
	deep bool
	open int // listings
}

const (
	listBatch = 128
	manyOpen  = 16 // levels; deeper ones get smaller batches, which would add up
	deepBatch = 4
	maxLevels = 256 // below these nothing is listed: each level takes memory
)

var infoPool = sync.Pool{New: func() any { s := make([]davfs.Info, listBatch); return &s }}

// members writes the members of dir from its listing, which it closes. Its
// memory is one batch for each level.
func (wk *walker) members(l davfs.Listing, dir string) error {
	defer l.Close()
	wk.open++
	defer func() { wk.open-- }()
	var batch []davfs.Info
	if wk.open > manyOpen {
		batch = make([]davfs.Info, deepBatch)
	} else {
		pooled := infoPool.Get().(*[]davfs.Info)
		batch = *pooled
		defer func() {
			clear(batch)
			infoPool.Put(pooled)
		}()
	}
	href := string(wk.p.appendHref(nil, dir, true))
	for {
		if err := wk.q.ctx.Err(); err != nil {
			return err
		}
		n, err := l.Next(batch)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for i := range batch[:n] {
			info := &batch[i]
			wk.m.buf = wk.p.append(wk.m.buf, href, dir, info, "")
			if err := wk.m.flushIfFull(); err != nil {
				return err
			}
			if wk.deep && info.Dir {
				if err := wk.descend(joinPath(dir, info.Name)); err != nil {
					return err
				}
			}
		}
	}
}

// descend writes what is below a member. A member that went meanwhile has
// nothing below it; one that cannot be listed says so in a response of its own.
func (wk *walker) descend(name string) error {
	if wk.open == maxLevels {
		wk.m.response(string(wk.p.appendHref(nil, name, true)), http.StatusForbidden, "propfind-finite-depth")
		return nil
	}
	l, err := wk.q.fs.List(wk.q.ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, collfs.ErrNotDir):
		return nil
	case err != nil:
		if wk.q.ctx.Err() != nil {
			return err
		}
		wk.q.failed(Status(err), err)
		wk.m.response(string(wk.p.appendHref(nil, name, true)), Status(err), "")
		return nil
	}
	return wk.members(l, name)
}

// propfindVirtual describes an empty file that exists only for Finder.
func (q *request) propfindVirtual() error {
	plan, err := q.propfindPlan()
	if err != nil {
		return err
	}
	m := q.newMultistatus(false)
	info := davfs.Info{Name: baseOf(q.path.Name), Entries: -1}
	m.buf = q.newPropWriter(plan).append(m.buf, "", "", &info, q.path.Name)
	if err := m.finish(); err != nil {
		q.cut(err)
	}
	return nil
}
