package dav

import (
	"slices"
	"strings"

	"keepdav/collfs"
)

// A propStep is one property that an answer is asked for.
type propStep struct {
	live  liveProp
	name  Name
	key   string // of a dead property in Attr.Extra
	lang  string // the key of its language
	empty string // the element without content, for a propstat of missing ones
}

// A propPlan is what one PROPFIND wants of each resource, worked out once.
type propPlan struct {
	steps     []propStep
	dead      bool // all dead properties too
	namesOnly bool
	minimal   bool // don't list what is missing
}

func newPropPlan(pf Propfind, q Quirks, minimal bool) *propPlan {
	p := &propPlan{minimal: minimal || q.Windows}
	add := func(names []Name) {
		for _, n := range names {
			if !slices.ContainsFunc(p.steps, func(s propStep) bool { return s.name == n }) {
				key := propKey(n)
				p.steps = append(p.steps, propStep{live: liveNames[n], name: n, key: collfs.ExtraDAV + key, lang: extraLang + key, empty: emptyElement(n)})
			}
		}
	}
	switch pf.Kind {
	case PropNamed:
		add(pf.Names)
		return p
	case PropName:
		p.namesOnly = true
	}
	p.dead = true
	p.minimal = true // allprop asks for what there is
	if q.Windows {
		add(allPropsWindows)
	} else {
		add(allProps)
	}
	if len(pf.Names) > 0 {
		p.minimal = false
		add(pf.Names)
	}
	return p
}

// propKey is a name as part of a key of Attr.Extra.
func propKey(n Name) string { return "{" + n.Space + "}" + n.Local }

// parsePropKey undoes propKey.
func parsePropKey(s string) (Name, bool) {
	i := strings.LastIndexByte(s, '}')
	if i < 1 || s[0] != '{' || i == len(s)-1 {
		return Name{}, false
	}
	return Name{s[1:i], s[i+1:]}, true
}

// openTag appends the start tag of a property, without ">", with its namespace;
// closeTag is its counterpart.
func openTag(b []byte, n Name) []byte {
	switch n.Space {
	case nsDAV:
		return append(append(b, "<D:"...), n.Local...)
	case "":
		return append(append(b, '<'), n.Local...)
	}
	b = append(append(b, "<n:"...), n.Local...)
	return append(appendXMLAttr(append(b, ` xmlns:n="`...), n.Space), '"')
}

func closeTag(b []byte, n Name) []byte {
	b = append(b, "</"...)
	switch n.Space {
	case nsDAV:
		b = append(b, "D:"...)
	case "":
	default:
		b = append(b, "n:"...)
	}
	return append(append(b, n.Local...), '>')
}

func emptyElement(n Name) string { return string(append(openTag(nil, n), "/>"...)) }
