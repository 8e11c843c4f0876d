// Package fusefs mounts a site: a kernel's file system calls become calls on
// davfs, above collections, and on collfs, inside them.
//
// # Inodes
//
// What the kernel knows is an inode: a folder of the site, by a name that stays
// true when records are renamed; a file or directory of a collection, by a
// collfs.Ref, so that it stays what it is whatever it is called; or a generated
// file. inodes.go has the table; an inode lives while the kernel counts lookups
// of it. go-fuse's own tree of nodes is not used: it would be a second copy of
// the directories, to be kept in step with the first.
//
// # Caching
//
// The kernel keeps names, attributes and pages for an hour, and is told when
// somebody else changes something: collfs.View knows which changes are ours.
// Notices wait in a queue that never refuses any and are sent by one goroutine:
// a handler never waits for a notice, since the kernel may hold up a notice
// until a request that is with us is answered.
//
// With the kernel's write-back cache, the kernel owns size and time of a file
// that it knows. So what another changes gets a new inode: the name leads to it,
// and who has the old one open goes on with that.
//
// # When changes are kept
//
// Closing a file commits; so does, in the background, whatever changes names or
// attributes. Fsync waits until the commit survives a loss of power.
//
// # Locks
//
// table.mu and handles.mu are leaves: neither is held while davfs or collfs is
// called.
//
// Start reading at mount.go, then inodes.go, names.go, files.go, notify.go.
package fusefs
