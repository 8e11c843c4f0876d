// Package mounting runs FUSE mounts of a store from their beginning to their end.
//
// A Mount has two sides. The kernel's side, the mount point, is made and taken
// away by the process whose command it was, with that one's rights and in its
// mount name space (package fusemount). The other side answers the kernel, in the
// process that has the store open: the same one (Host.Mount), or a server, to
// which the descriptor is passed over its control socket (Attach, and Host.Talks
// there). What both sides say to each other is in message.go.
//
// A mount ends in one way whoever wants it: Finish writes everything down while
// the mount still works, unmounts, writes down what came meanwhile, and says what
// it could not do. A mount that was unmounted by somebody else is only written
// down. When one of the two processes dies the other one cleans up.
//
// Start reading at mount.go, then host.go and attach.go.
package mounting
