// Package collfs is a writable file system over Keep collections.
//
// A Tree holds the directories and files of one collection in memory: names,
// attributes, and the segments of blocks that files are made of. It does no
// I/O and has no lock. A Collection is a tree with a record in a Catalog:
// changes show in the tree at once and are kept as a list of operations until
// Commit hands them to the catalog as one change set, whose cost grows with
// the change and not with the collection. An FS is the set of collections that
// are loaded in this process; operations between collections are methods of it.
//
// A View sees collections as a kernel does: its Refs hold on to files and
// directories, whatever they are called by now, and it is told of what others
// change.
//
// # Commit and merge
//
// Concurrent commits of a collection join. A Commit that returns nil has made a
// fact of everything that was done before it was called; one that fails leaves
// the tree dirty and usable, and every later Commit tries again and fails as
// long as the changes aren't committed. If somebody else changed the collection
// first, our operations are replayed on theirs; merge.go says what becomes of a
// path that both sides changed. Nothing is ever dropped by a merge.
//
// # Locks
//
// From the outer to the inner: Collection.turn (who commits, refreshes or
// transfers; two collections in the order of their UUIDs), writing.mu (who
// writes to a file), Collection.gate (held for reading by every change, for
// writing by a transfer between collections until its outcome is known: nobody
// may build on what may yet not have happened), Collection.mu (the tree). All
// others are leaves. Collection.mu is not held while waiting for the catalog or
// for a disk to sync; notices are delivered without any of these locks.
//
// Start reading at tree.go, apply.go, collection.go, then commit.go.
package collfs
