package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// NoPruneNotify makes m one on a kernel that can't be asked to forget inodes. Nothing
// may have been looked up yet.
func (m *Mounted) NoPruneNotify() {
	m.prune = func([]uint64) fuse.Status { return fuse.ENOSYS }
}

// Errnos is the table of what errors are to a program.
var Errnos = errnos
