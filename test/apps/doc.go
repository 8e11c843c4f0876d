// Package apps runs programs that people use on a directory, and checks that
// what they leave there is right: git, tar, go, rsync, cp and SQLite.
//
// All of them run as other processes, SQLite as the test's own binary started
// again (TestMain calls Child first): it maps memory, and an in-process mount
// would stop the whole process at a page fault.
//
// Start reading at run.go.
package apps
