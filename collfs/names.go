package collfs

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// MaxName is the most bytes a name may have.
const MaxName = 255

// MaxPath is the most bytes a new path may have. It bounds how deep a tree gets.
const MaxPath = 32 << 10

// CheckName says what is wrong with a name, if anything: any bytes are allowed
// but NUL and slash, up to MaxName of them; "", "." and ".." aren't.
func CheckName(name string) error {
	if !validName(name) {
		return fmt.Errorf("%w: %q", ErrNameInvalid, name)
	}
	if len(name) > MaxName {
		return fmt.Errorf("%w: %d bytes", ErrNameTooLong, len(name))
	}
	return nil
}

// validName is CheckName but for the length: a manifest made elsewhere may have
// longer names, and they stay as they are.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && strings.IndexByte(name, 0) < 0 && strings.IndexByte(name, '/') < 0
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// splitPath returns the parent and the last name of a clean path.
func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	return dir == "" || strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// A Match says which names a lookup takes for equal when no name has exactly
// the bytes that were asked for.
type Match uint8

// The ways to match. A composed and a decomposed spelling of a name are the
// same to all clients; Windows clients ignore case too, if the match is unique.
const (
	MatchExact Match = iota
	MatchNFC
	MatchFold
)

func foldName(name string) string { return norm.NFC.String(cases.Fold().String(norm.NFC.String(name))) }

var conflictSuffix = regexp.MustCompile(`~\d{8}-\d{6}(~\d+)?~conflict~$`)

// conflictName returns a name for the loser of a conflict over name: the time
// of its commit is part of it, suffixes don't stack, and taken says which names
// are in use.
func conflictName(name string, at time.Time, taken func(string) bool) string {
	name = conflictSuffix.ReplaceAllString(name, "")
	stamp := "~" + at.UTC().Format("20060102-150405")
	for i := 1; ; i++ {
		suffix := stamp + "~conflict~"
		if i > 1 {
			suffix = stamp + "~" + strconv.Itoa(i) + "~conflict~"
		}
		stem := name
		if over := len(stem) + len(suffix) - MaxName; over > 0 {
			stem = cutName(stem, len(stem)-over)
		}
		if s := stem + suffix; !taken(s) {
			return s
		}
	}
}

// cutName returns at most n bytes of s, not cutting a UTF-8 sequence.
func cutName(s string, n int) string {
	for cut := n; cut > max(0, n-utf8.UTFMax); cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:n]
}

// withoutSums returns extra without what is true of one content only.
func withoutSums(extra map[string]string) map[string]string {
	isSum := func(k, _ string) bool { return strings.HasPrefix(k, ExtraSum) }
	for k := range extra {
		if isSum(k, "") {
			extra = maps.Clone(extra)
			maps.DeleteFunc(extra, isSum)
			return extra
		}
	}
	return extra
}

// mergeExtra merges a map key by key: what ours changed against was wins.
func mergeExtra(was, ours, theirs map[string]string) map[string]string {
	if maps.Equal(was, ours) {
		return theirs
	}
	if maps.Equal(was, theirs) {
		return ours
	}
	out := maps.Clone(theirs)
	if out == nil {
		out = make(map[string]string)
	}
	for k, v := range ours {
		if w, ok := was[k]; !ok || w != v {
			out[k] = v
		}
	}
	for k := range was {
		if _, ok := ours[k]; !ok {
			delete(out, k)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
