// Package posix checks that a directory behaves as Linux and POSIX say a
// directory of a local disk does.
//
// Cases is the whole table. A case has a name, "area/claim", says what the file
// system must be able to do for it (Needs), and reports what is wrong as an
// error, so that the table can be tried on file systems that are broken on
// purpose. Run makes a subtest of each.
//
// # Users and processes
//
// A case runs on an operating system thread of its own, which has its own
// working directory, mask and user: all three belong to the thread in Linux, and
// Go ends a thread whose goroutine never unlocked it. The working directory is
// the fresh directory of the case, so all paths are relative, and other users
// need no permission for what is above it. What must be another process (the
// owner of a record lock, the witness of a storm) is the test's own binary
// started again: TestMain calls Child first.
//
// # In-process mounts
//
// The file system may be served by the process that runs the cases: they touch
// mapped memory through system calls only, so that a page fault never stops a
// thread that Go believes to be running, and start other processes outside of
// it. A server of its own is still the better choice: locks and mappings are
// what was tried in one process.
//
// Start reading at run.go, then paths.go for the rules that all calls share.
package posix
