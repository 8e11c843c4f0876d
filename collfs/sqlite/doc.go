// Package sqlite keeps the records and contents of collections, and users,
// tokens, shares, locks and side files, in a directory: a journal and an SQLite
// database. One process owns the directory. It is the collfs.Catalog and
// collfs.Folders of a server that runs on one machine.
//
// # How a commit becomes a fact
//
// Commit checks a transaction against heads, the records in memory, appends it
// to the journal and, if asked, waits for one fdatasync that it shares with
// others. Then it is a fact. The applier, one goroutine, brings the facts to
// the database in batches and stores the number of the last one in the same
// transaction. What such a commit says about block files is true before the
// database is told: the applier has their bytes synced first, unless the
// committer did. A durable commit of little data carries the bytes in its record
// instead, so that there is one sync to wait for, not two; the applier syncs the
// block files of many of them at once. A segment of the journal goes when a checkpoint of SQLite's
// log has proved that the database holds it on disk.
//
// Changes of records (names, projects, trash) are tried in a transaction that
// is rolled back, then journaled, and their Commit returns when they have been
// applied, so that queries see them. Changes of contents return at once: a
// Record tells of them from memory, a Load waits for the applier.
//
// # What is stored of a collection
//
// A checkpoint, the encoded tree at some revision, and the change sets since
// then. When those get long they are folded, in the background, into a new
// checkpoint. A version is a mark at a revision: folding keeps, for each mark,
// the latest checkpoint before it and the changes up to it, and drops the rest.
//
// # Recovery
//
// A barrier, a durable commit without changes, makes the block files of all
// commits before it durable, whoever made them.
//
// Open applies what the journal holds beyond the database. First the bytes that
// records carry are put back into block files that have lost them: restore.go.
// A durable commit
// proves the block files of its collections good up to there; after the last
// one the extents of each record are verified, and at the first bad one its
// collections are cut: that record and all later ones that rely on it are
// dropped. That is on disk, as one transaction, before anything else is committed.
// See recover.go.
//
// What bypasses the journal (users, tokens, shares, locks, side files, marks of
// garbage) is on disk when the call returns.
//
// # Locks
//
// Store.recordMu is held by one change of records from its trial until it is
// applied. Store.writeMu guards the one connection that writes; recordMu comes
// before it. Store.mu guards heads and the queue and comes last; under it a
// record is written to the journal's page cache, nothing else is waited for.
//
// Start reading at commit.go, then apply.go.
package sqlite
