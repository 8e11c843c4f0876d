package dav

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

// Bounds on what PROPPATCH may store beside one resource.
const (
	maxDeadProp  = 64 << 10
	maxDeadProps = 256 << 10
)

func (q *request) proppatch() error {
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, true)
	if err != nil {
		return err
	}
	body := q.body()
	patches, err := ParseProppatch(body)
	body.done()
	if err != nil {
		if body.err != nil {
			return body.failure()
		}
		return err
	}
	if onlyWin32(patches) {
		g.extra = q.ownTokens(g.place)
	}
	if err := q.preflight(g, info, true); err != nil {
		return err
	}
	change := patchChange(patches, info)
	if !change.failed {
		change.attr.Check = g.check
		err := q.change(func() error {
			_, err := q.fs.SetAttr(q.ctx, q.path.Name, change.attr)
			return err
		}, g)
		if err != nil {
			return err
		}
	}
	q.answerPatch(patches, change, info.Dir)
	return nil
}

// onlyWin32 reports whether the patches only set what Windows keeps beside each
// file: Office sends them without the token of its own lock.
func onlyWin32(patches []Patch) bool {
	return !slices.ContainsFunc(patches, func(pt Patch) bool { return pt.Name.Space != nsWin32 })
}

// ownTokens are the tokens of the user's locks that cover p.
func (q *request) ownTokens(p LockPlace) (tokens []string) {
	if q.h.conf.Locks == nil {
		return nil
	}
	for _, l := range q.h.conf.Locks.Covers(p) {
		if l.User == q.user {
			tokens = append(tokens, l.Token)
		}
	}
	return tokens
}

// A patchPlan is what a PROPPATCH comes to: one change, or failures. All
// instructions are carried out or none.
type patchPlan struct {
	attr   davfs.AttrChange
	status []int // by instruction
	failed bool
	cond   bool // a protected property is among the failures
}

func patchChange(patches []Patch, info davfs.Info) patchPlan {
	c := patchPlan{status: make([]int, len(patches)), attr: davfs.AttrChange{Extra: map[string]string{}}}
	for i, pt := range patches {
		c.status[i] = c.apply(pt, info)
		if c.status[i] != http.StatusOK {
			c.failed = true
		}
	}
	if !c.failed && deadSize(info.Attr.Extra, c.attr.Extra) > maxDeadProps {
		c.failed = true
		for i := range c.status {
			c.status[i] = http.StatusInsufficientStorage
		}
	}
	if c.failed {
		for i, s := range c.status {
			if s == http.StatusOK {
				c.status[i] = http.StatusFailedDependency
			}
		}
	}
	return c
}

// apply adds one instruction to the change and returns its status.
func (c *patchPlan) apply(pt Patch, info davfs.Info) int {
	text := strings.TrimSpace(string(pt.Inner))
	switch live := liveNames[pt.Name]; live {
	case notLive:
	case propLastModified, propRCloneModified, propWin32Modified:
		if pt.Remove {
			break // the time stays: there is always one
		}
		t, ok := parseAnyTime(text)
		if !ok {
			return http.StatusConflict
		}
		t = storable(t)
		c.attr.ModTime = &t
		return http.StatusOK
	case propWin32Created, propWin32Accessed, propWin32Attributes:
		key := collfs.ExtraWin32 + strings.TrimPrefix(pt.Name.Local, "Win32")
		if pt.Remove {
			c.attr.Extra[key] = ""
			return http.StatusOK
		}
		if len(text) > 100 || strings.ContainsAny(text, "<&") {
			return http.StatusConflict
		}
		c.attr.Extra[key] = text
		return http.StatusOK
	case propExecutable:
		if info.Dir || !pt.Remove && text != "T" && text != "F" {
			return http.StatusConflict
		}
		mode := uint32(info.Mode().Perm()) &^ 0o111
		if !pt.Remove && text == "T" {
			mode |= 0o111
		}
		c.attr.Mode = &mode
		return http.StatusOK
	default:
		c.cond = true
		return http.StatusForbidden
	}
	if liveNames[pt.Name] != notLive {
		return http.StatusOK
	}
	key := propKey(pt.Name)
	if pt.Remove {
		c.attr.Extra[collfs.ExtraDAV+key] = ""
		c.attr.Extra[extraLang+key] = ""
		return http.StatusOK
	}
	if len(pt.Inner)+len(key) > maxDeadProp {
		return http.StatusInsufficientStorage
	}
	v := string(pt.Inner)
	if v == "" {
		v = emptyProp
	}
	c.attr.Extra[collfs.ExtraDAV+key] = v
	c.attr.Extra[extraLang+key] = pt.Lang
	return http.StatusOK
}

// deadSize is how much the attributes of a resource take after the change.
func deadSize(old, change map[string]string) int {
	n := 0
	for k, v := range old {
		if _, ok := change[k]; !ok {
			n += len(k) + len(v)
		}
	}
	for k, v := range change {
		if v != "" {
			n += len(k) + len(v)
		}
	}
	return n
}

// parseAnyTime reads the forms in which clients write times: HTTP dates, RFC
// 3339 and seconds since 1970.
func parseAnyTime(s string) (time.Time, bool) {
	if t, err := http.ParseTime(s); err == nil {
		return t, true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= minUnix && n <= maxUnix {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}

func (q *request) answerPatch(patches []Patch, c patchPlan, dir bool) {
	m := q.newMultistatus(false)
	b := append(m.buf, "<D:response><D:href>"...)
	b = appendClientHref(b, q.h.conf.Prefix, q.path.Name, dir, q.quirks)
	b = append(b, "</D:href>"...)
	done := map[int]bool{}
	for _, status := range c.status {
		if done[status] {
			continue
		}
		done[status] = true
		b = append(b, "<D:propstat><D:prop>"...)
		seen := map[Name]bool{}
		for i, pt := range patches {
			if c.status[i] == status && !seen[pt.Name] {
				seen[pt.Name] = true
				b = append(openTag(b, pt.Name), "/>"...)
			}
		}
		b = append(b, "</D:prop>"...)
		b = appendStatusLine(b, status)
		if status == http.StatusForbidden && c.cond {
			b = appendCondition(b, "cannot-modify-protected-property", nil)
		}
		b = append(b, "</D:propstat>"...)
	}
	m.buf = append(b, "</D:response>"...)
	if err := m.finish(); err != nil {
		q.cut(err)
	}
}
