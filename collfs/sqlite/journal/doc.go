// Package journal is an append-only log of records in a directory: the log of
// record of a store.
//
// Append gives a record the next sequence number and hands it to the kernel:
// it survives the end of the process. Sync makes durable all records up to a
// number; callers that wait at the same time share one fdatasync. Replay reads
// what a log holds when it is opened, and Drop deletes what nobody needs.
//
// # Segments
//
// The log is cut in segments, files named after the first sequence number
// they hold. A segment is filled with zeros and synced before it is used, and
// the next one is made ready in the background, so that neither a full disk
// nor file system metadata stands between a record and its fdatasync. (Where a
// flush is cheap, files that grow, that were only allocated and that were filled
// are equally fast to sync; filling pays off where metadata costs a seek.)
// Dropped segments are used again. Each use of a segment has a random salt that goes
// into the checksum of each record, so that bytes of an earlier use never pass
// for records.
//
// # Torn tails and damage
//
// A record carries the number up to which the log was known durable when it
// was written. When a record is bad, the log ends before it, unless a later
// record proves that the bad one had been synced: that is a DamageError, for
// then an acknowledged commit is lost, and nothing is cut. What lies behind the
// end is wiped out before the log goes on, with the same numbers.
//
// After a failed fdatasync the kernel may drop what it could not write and
// report success the next time. So the file is never synced again: records
// that are not known to be durable are written to a new segment that starts
// with the first of them; a reader takes a record from whichever segment has it.
//
// # Locks
//
// Log.mu guards positions and is held while a record is written to the page
// cache, not while anything is synced, except when a segment is full.
//
// Start reading at log.go, then reader.go.
package journal
