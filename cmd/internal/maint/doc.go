// Package maint looks after a store: it verifies that everything is there and
// whole (Check), and takes away what nobody needs any more (Collect).
//
// # What keeps a block
//
// A block in the volume is kept by whatever refers to it: the contents of
// collections, in the trash too; their versions; what the journal holds; trees
// that are loaded, handles, readers and uploads under way. Collect asks the
// catalog and the loaded collections for all of these. What nobody named is
// marked with the time when that was first seen, in the catalog. A marked block
// goes when a later look, more than the grace time after the first, does not
// find a reference either, if its file is older than that too. (Writing the same
// bytes again renews the time of the file.)
//
// A reference could hide from a look: it might move from a collection that is
// looked at late to one that was looked at early. It moves by a commit, and
// commits pass the Gate, which notes what they name while somebody looks. Blocks
// are taken away in small batches while the gate is closed, and none that a
// commit has named meanwhile. They go to a folder first, from where Check
// brings them back if it finds that they were needed after all.
//
// # Locks
//
// Gate.pass comes before Gate.mu. While it is held for writing, only names of
// files are changed.
//
// Start reading at collect.go, then check.go.
package maint
