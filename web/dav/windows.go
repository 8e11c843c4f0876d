package dav

// windowsPath finds what a Windows client means by a path: the name as it is,
// or, if there is none, with mapped characters mapped back. Names in another
// case are the file system's business.
func (q *request) windowsPath(p string) string {
	if hasPUA(p) {
		if _, ok, _ := q.stat(p); !ok {
			return fromWindowsPath(p)
		}
	}
	return p
}
