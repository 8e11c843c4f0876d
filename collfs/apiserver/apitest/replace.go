package apitest

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// ReplaceFiles returns what replace_files makes of a tree. given is the manifest of
// the request, nil if there is none; byPDH finds other collections.
func ReplaceFiles(current, given *Node, byPDH func(pdh string) (*Node, error), targets map[string]string) (*Node, error) {
	sources := make(map[string]*Node)
	used := false
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		if !strings.HasPrefix(target, "/") || path.Clean(target) != target {
			return nil, bad("invalid replace_files target: %q", target)
		}
		source := targets[target]
		if source == "" {
			continue
		}
		for other := range targets {
			if other != target && strings.HasPrefix(other, strings.TrimSuffix(target, "/")+"/") {
				return nil, bad("replace_files: cannot operate on target %q inside non-empty target %q", other, target)
			}
		}
		from, rel, _ := strings.Cut(source, "/")
		root := current
		switch {
		case from == "current":
		case from == "manifest_text" && given != nil:
			root, used = given, true
		case strings.Contains(from, "+"):
			var err error
			if root, err = byPDH(from); err != nil {
				return nil, err
			}
		default:
			return nil, bad("invalid source %q for replace_files[%q]", source, target)
		}
		n := root.Get(rel)
		if n == nil {
			return nil, bad("replace_files: nonexistent source %q", source)
		}
		if target == "/" && n.Kids == nil {
			return nil, bad("replace_files: a file cannot replace /")
		}
		sources[target] = n.clone()
	}
	if given != nil && !used {
		return nil, bad("replace_files: manifest_text is not used")
	}
	out := current.clone()
	if _, ok := targets["/"]; ok {
		out = newDir()
	}
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		if targets[target] == "" && target != "/" {
			if up := out.Get(path.Dir(target)); up != nil && up.Kids != nil {
				delete(up.Kids, path.Base(target))
			}
		}
	}
	for _, target := range slices.Sorted(maps.Keys(sources)) {
		if target == "/" {
			out = sources[target]
			continue
		}
		up := out.mkdirs(path.Dir(target))
		if up == nil {
			return nil, bad("replace_files: a file is in the way of %q", target)
		}
		up.Kids[path.Base(target)] = sources[target]
	}
	return out, nil
}

func bad(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// A part of a block, as replace_segments spells it.
type part struct {
	hash     [16]byte
	off, len int64
}

// ReplaceSegments makes of a tree what replace_segments says. check is called with
// each locator that is to be used.
func ReplaceSegments(root *Node, segments map[string]string, check func(keepio.Locator) error) error {
	present := make(map[part]bool)
	root.each(func(s *manifest.Segment) { present[part{s.Locator.Hash(), s.Offset, s.Length}] = true })
	type change struct {
		from part
		loc  keepio.Locator
		off  int64
	}
	var changes []change
	skip := make(map[[16]byte]bool)
	for from, to := range segments {
		was, _, err := parsePart(from)
		if err != nil {
			return err
		}
		is, loc, err := parsePart(to)
		if err != nil {
			return err
		}
		if was.len != is.len || is.off+is.len > loc.Size() {
			return bad("replace_segments: lengths differ, or past the end")
		}
		if err := check(loc); err != nil {
			return err
		}
		if !present[was] {
			skip[is.hash] = true
		}
		changes = append(changes, change{was, loc, is.off})
	}
	byPart := make(map[part]change)
	for _, ch := range changes {
		if !skip[ch.loc.Hash()] {
			byPart[ch.from] = ch
		}
	}
	root.each(func(s *manifest.Segment) {
		if ch, ok := byPart[part{s.Locator.Hash(), s.Offset, s.Length}]; ok {
			s.Locator, s.Offset = bare(ch.loc), ch.off
		}
	})
	return nil
}

func (n *Node) each(fn func(*manifest.Segment)) {
	for i := range n.Segments {
		fn(&n.Segments[i])
	}
	for _, k := range n.Kids {
		k.each(fn)
	}
}

func parsePart(text string) (p part, loc keepio.Locator, err error) {
	f := strings.Fields(text)
	if len(f) != 3 {
		return p, loc, bad("replace_segments: %q", text)
	}
	if loc, err = keepio.ParseLocator(f[0]); err != nil {
		return p, loc, bad("replace_segments: %v", err)
	}
	p.hash = loc.Hash()
	if p.off, err = strconv.ParseInt(f[1], 10, 64); err == nil {
		p.len, err = strconv.ParseInt(f[2], 10, 64)
	}
	if err != nil || p.off < 0 || p.len <= 0 {
		return p, loc, bad("replace_segments: %q", text)
	}
	return p, loc, nil
}
