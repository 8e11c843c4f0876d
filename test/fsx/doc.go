// Package fsx tries random operations on a few files of a directory and
// compares what it reads with a model in memory.
//
// A run is a list of operations that a seed gives. Each operation is complete in
// itself: one that does not fit the state (a copy from beyond the end, a read of
// an empty file) does what the kernel does and is compared all the same. So a
// part of a list is a list too: a failing one is replayed on fresh files, cut in
// halves and ever smaller pieces, until every operation left is needed. The
// short list is in the error, one operation a line, and Replay runs it.
//
// Every file is open twice, so that what one descriptor writes is read through
// the other. Mapped memory is touched through system calls only: an in-process
// mount may serve the directory.
//
// Start reading at run.go, then op.go.
package fsx
