package dav

import (
	"strings"

	"keepdav/davfs"
)

// maxFoldEntries is the largest directory that is searched for a name in
// another case.
const maxFoldEntries = 20_000

// windowsPath finds what a Windows client means by a path: the name as it is,
// or with mapped characters mapped back, or the only one that differs in case.
// If there is none, it is the name to create.
func (q *request) windowsPath(p string) string {
	if p == "/" || q.exists(p) {
		return p
	}
	if m := fromWindowsPath(p); m != p {
		if p = m; q.exists(p) {
			return p
		}
	}
	dir := "/"
	segs := strings.Split(p[1:], "/")
	if parent := parentOf(p); len(segs) > 1 && q.exists(parent) {
		dir, segs = parent, segs[len(segs)-1:]
	}
	for i, seg := range segs {
		name := joinPath(dir, seg)
		if !q.exists(name) {
			found, ok := q.fold(dir, seg)
			if !ok {
				return joinPath(dir, strings.Join(segs[i:], "/"))
			}
			name = joinPath(dir, found)
		}
		dir = name
	}
	return dir
}

func (q *request) exists(p string) bool {
	_, ok, _ := q.stat(p)
	return ok
}

// fold finds the only member of dir that is name but for case.
func (q *request) fold(dir, name string) (string, bool) {
	info, err := q.fs.Stat(q.ctx, dir)
	if err != nil || !info.Dir || info.Entries > maxFoldEntries {
		return "", false
	}
	l, err := q.fs.List(q.ctx, dir)
	if err != nil {
		return "", false
	}
	defer l.Close()
	found, count := "", 0
	infos := make([]davfs.Info, listBatch)
	for seen := 0; seen < maxFoldEntries; {
		n, err := l.Next(infos)
		if err != nil || n == 0 {
			break
		}
		seen += n
		for i := range infos[:n] {
			if strings.EqualFold(infos[i].Name, name) {
				found = infos[i].Name
				count++
			}
		}
	}
	return found, count == 1
}
