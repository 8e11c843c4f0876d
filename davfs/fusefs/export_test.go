package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// NoPruneNotify makes m one on a kernel that can't be asked to forget inodes. Nothing
// may have been looked up yet.
func (m *Mounted) NoPruneNotify() {
	m.prune = func([]uint64) fuse.Status { return fuse.ENOSYS }
}

// Errnos is the table of what errors are to a program.
var Errnos = errnos

// QueuedOf returns how many of notices wait while the kernel holds one up.
func QueuedOf(notices ...collfs.Notice) int {
	m := new(Mounted)
	m.notes = newNotifier(m)
	for _, n := range notices {
		m.notice(n)
	}
	return len(m.notes.queue)
}

// StatusOf is what the kernel is told of an error.
var StatusOf = status
