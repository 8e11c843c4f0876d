package dav

import (
	"errors"
	"strings"
)

// An IfHeader is a parsed If header (RFC 4918 §10.4): lists of conditions of
// which one has to hold.
type IfHeader struct {
	lists  []ifList
	tokens []string
}

// An ifList holds when all its conditions hold for the resource at tag, or for
// the request's own when it is untagged.
type ifList struct {
	tag    string
	tagged bool
	conds  []ifCond
}

// An ifCond asks for a state token or, with token empty, an entity tag.
type ifCond struct {
	not   bool
	token string
	etag  string
}

// IfState is what conditions are checked against.
type IfState interface {
	// CurrentETag is the entity tag of the resource at path, "" when it has none.
	CurrentETag(path string) string
	// TokenCovers reports whether token names a lock that covers path.
	TokenCovers(token, path string) bool
}

var errBadIf = errors.New("the If header is malformed")

// An If header of this many bytes or conditions is nobody's honest request.
const (
	maxIfBytes = 64 << 10
	maxIfConds = 1000
)

// ParseIf parses an If header. An empty one gives nil, which always holds.
func ParseIf(s string) (*IfHeader, error) {
	p := ifParser{s: s}
	p.space()
	if p.s == "" {
		return nil, nil
	}
	if len(s) > maxIfBytes {
		return nil, errBadIf
	}
	h := new(IfHeader)
	tag, tagged, lists := "", false, 0
	for n := 0; p.s != ""; p.space() {
		switch p.s[0] {
		case '<':
			if tagged && lists == 0 {
				return nil, errBadIf // a tag without a list
			}
			var ok bool
			if tag, ok = p.delimited('<', '>'); !ok {
				return nil, errBadIf
			}
			tagged, lists = true, 0
		case '(':
			conds, ok := p.list(maxIfConds - n)
			if !ok {
				return nil, errBadIf
			}
			n += len(conds)
			lists++
			h.lists = append(h.lists, ifList{tag: tag, tagged: tagged, conds: conds})
			for _, c := range conds {
				if c.token != "" {
					h.tokens = append(h.tokens, c.token)
				}
			}
		default:
			return nil, errBadIf
		}
	}
	if lists == 0 {
		return nil, errBadIf
	}
	return h, nil
}

// Tokens are the state tokens that the header names: by naming them the client
// submits them.
func (h *IfHeader) Tokens() []string {
	if h == nil {
		return nil
	}
	return h.tokens
}

// Eval reports whether the header holds for a request to path. resolve turns a
// resource tag into a path; a tag outside the served tree fails its list.
func (h *IfHeader) Eval(path string, resolve func(tag string) (string, bool), st IfState) bool {
	if h == nil {
		return true
	}
lists:
	for _, l := range h.lists {
		p := path
		if l.tagged {
			var ok bool
			if p, ok = resolve(l.tag); !ok {
				continue
			}
		}
		for _, c := range l.conds {
			var holds bool
			if c.token != "" {
				holds = st.TokenCovers(c.token, p)
			} else {
				// Weak comparison: a proxy that compresses marks tags as weak.
				cur := st.CurrentETag(p)
				holds = cur != "" && opaque(cur) == opaque(c.etag)
			}
			if holds == c.not {
				continue lists
			}
		}
		return true
	}
	return false
}

// opaque is an entity tag without its weakness mark.
func opaque(etag string) string { return strings.TrimPrefix(etag, "W/") }

// An ifParser consumes s from the left.
type ifParser struct{ s string }

func (p *ifParser) space() { p.s = strings.TrimLeft(p.s, " \t\r\n") }

func (p *ifParser) delimited(open, end byte) (string, bool) {
	if p.s == "" || p.s[0] != open {
		return "", false
	}
	i := strings.IndexByte(p.s, end)
	if i < 2 {
		return "", false // unterminated or empty
	}
	v := p.s[1:i]
	if strings.ContainsAny(v, " \t\r\n<(") && end == '>' {
		return "", false
	}
	p.s = p.s[i+1:]
	return v, true
}

// list parses "(" 1*condition ")" with at most limit conditions.
func (p *ifParser) list(limit int) ([]ifCond, bool) {
	p.s = p.s[1:]
	var conds []ifCond
	for {
		p.space()
		var c ifCond
		if len(p.s) >= 3 && strings.EqualFold(p.s[:3], "not") {
			c.not = true
			p.s = p.s[3:]
			p.space()
		}
		if p.s == "" {
			return nil, false
		}
		var ok bool
		switch p.s[0] {
		case '<':
			c.token, ok = p.delimited('<', '>')
		case '[':
			c.etag, ok = p.entityTag()
		case ')':
			p.s = p.s[1:]
			return conds, len(conds) > 0 && !c.not
		}
		if !ok || len(conds) == limit {
			return nil, false
		}
		conds = append(conds, c)
	}
}

// entityTag parses "[" entity-tag "]". The quotes of a tag may hold brackets.
func (p *ifParser) entityTag() (string, bool) {
	rest := strings.TrimLeft(p.s[1:], " \t")
	n := tagLen(rest)
	if n == 0 {
		return "", false
	}
	tag := rest[:n]
	rest = strings.TrimLeft(rest[n:], " \t")
	if rest == "" || rest[0] != ']' {
		return "", false
	}
	p.s = rest[1:]
	return tag, true
}

// tagLen is the length of the entity tag that s begins with, 0 when it begins
// with none.
func tagLen(s string) int {
	i := 0
	if strings.HasPrefix(s, "W/") {
		i = 2
	}
	if i >= len(s) || s[i] != '"' {
		return 0
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 && c != ' ' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// ParseLockToken reads a Lock-Token header, with or without angle brackets.
func ParseLockToken(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "<") {
		if !strings.HasSuffix(s, ">") {
			return "", false
		}
		s = s[1 : len(s)-1]
	}
	if s == "" || len(s) > 1024 || strings.ContainsAny(s, "<> \t\r\n") {
		return "", false
	}
	return s, true
}
