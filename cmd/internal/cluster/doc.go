// Package cluster puts together what a program needs to work on a cluster: the
// counterpart of package embedded.
//
// A Machine is what one process has of a cluster whoever acts: connections to its
// servers, the directory of cached blocks, budgets. A Session is what acts with one
// token: a spool, a catalog, collections and the site of the token's user. Blocks
// are never packed across sessions, for a permission to read a block is for all of
// it. A Pool keeps the sessions of a server with many users.
//
// # What the cluster does not have yet
//
// A session has a place of its own on the local disk (place.go). What was written
// lies there until a record that refers to it is committed. Session.Close waits for
// that. What cannot be committed then stays in the place, and is taken up by the next
// session of the same user on this machine: merged with what has become of the
// collection since.
//
// Start reading at machine.go, then session.go.
package cluster
