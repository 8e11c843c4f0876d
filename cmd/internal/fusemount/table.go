package fusemount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An Entry is a line of the mount table of this process.
type Entry struct {
	Device string // such as 0:53: the same in all name spaces, and no other mount's
	Point  string
	Type   string // such as fuse.keep
	Source string
	User   int // who made a FUSE mount; -1: unknown
}

// IsFUSE reports whether a program serves it.
func (e Entry) IsFUSE() bool {
	return e.Type == "fuse" || e.Type == "fuseblk" || strings.HasPrefix(e.Type, "fuse.")
}

// Subtype is what kind of FUSE mount it is; "" when it does not say.
func (e Entry) Subtype() string {
	_, subtype, _ := strings.Cut(e.Type, ".")
	return subtype
}

// Table returns all mounts, in the order in which they were made.
func Table() ([]Entry, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	return parseTable(string(text)), nil
}

// At returns what is mounted at dir itself, the topmost if there are several.
func At(dir string) (Entry, bool, error) {
	dir, err := Resolve(dir)
	if err != nil {
		return Entry{}, false, err
	}
	all, err := Table()
	if err != nil {
		return Entry{}, false, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Point == dir {
			return all[i], true, nil
		}
	}
	return Entry{}, false, nil
}

// Resolve makes dir absolute, without symbolic links above it. What is mounted
// at dir is not touched, so it may be out of order.
func Resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil || dir == "/" {
		return dir, err
	}
	if to, err := os.Readlink(dir); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(dir), to)
		}
		if whole, err := filepath.EvalSymlinks(filepath.Dir(to)); err == nil {
			return filepath.Join(whole, filepath.Base(to)), nil
		}
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	return filepath.Join(above, filepath.Base(dir)), nil
}

// parseTable reads the form of /proc/self/mountinfo. Lines that are not of it are
// passed over.
func parseTable(text string) (all []Entry) {
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		head, tail := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(head) < 6 || len(tail) < 3 {
			continue
		}
		e := Entry{Device: head[2], Point: unescape(head[4]), Type: tail[0], Source: unescape(tail[1]), User: -1}
		for o := range strings.SplitSeq(tail[2], ",") {
			if id, ok := strings.CutPrefix(o, "user_id="); ok {
				if n, err := strconv.ParseUint(id, 10, 31); err == nil {
					e.User = int(n)
				}
			}
		}
		all = append(all, e)
	}
	return all
}

// unescape undoes the table's \040 for a space and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
