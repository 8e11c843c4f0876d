// Package fusemount asks the kernel for FUSE mounts and takes them away again.
//
// A mount is a descriptor of /dev/fuse: whoever holds it serves the mount, in
// this process or in another one that it was passed to. Mounting itself is done
// where the command runs, with its rights and in its mount name space: by the
// system call for those who may, through fusermount3 for others.
//
// Between Mount and the moment when somebody serves the descriptor, every access
// to the mount point waits. Errors say what to do about them.
package fusemount
