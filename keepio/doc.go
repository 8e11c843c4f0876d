// Package keepio holds the bytes: it names blocks, says what a store of blocks
// is, and writes new blocks.
//
// A block is at most 64 MiB, immutable, named by its MD5 and its size: a Locator.
// A Segment is a span of a block that is part of a file. A Store keeps blocks;
// storetest says what that means, memstore is the reference and dirstore the one
// that servers use.
//
// # The spool
//
// Nobody who writes waits for an MD5. Bytes go to the end of a block file, a
// local file whose block has an id but no name yet, and can be read there at
// once. The Spool hashes block files in the background and hands them to the
// store; the Block that segments refer to learns its name then. A block file is
//
//	open → sealed → storing → stored
//	                   ↓↑
//	                 failed
//
// or dropped, when nobody wants its bytes (state.go has the table). A store on
// other machines gets blocks as soon as they are full, each on its own; one on this
// machine gets them in batches, when little else goes on. Each
// collection has a Packer of its own, which puts small files into one shared open
// block, and large uploads (Stream) into others.
//
// # What a commit does
//
// It freezes the blocks it refers to: what they hold is not overwritten from then
// on, and the caller gets the sums that its journal record needs. It syncs them:
// now they survive a loss of power. Or, if there is little to sync, it has the
// record carry the bytes (Carry), and one sync, that of the record, does for
// both; the blocks are synced before the record is dropped. It writes its
// record. None of that waits for hashing. After a crash VerifyExtent tells whether a record's bytes are there,
// and Recover takes up the files that committed records name.
//
// # Sums
//
// A block file has a CRC-32C for each 64 KiB, computed once, as the bytes come.
// All others (of a span, after an overwrite in place, when a write failed half
// way) follow from them by arithmetic: crc.go.
//
// # Trouble
//
// A full disk is ErrFull; what failed leaves nothing behind that counts. A file
// whose fdatasync failed is never synced again, for the kernel may call pages
// clean that it could not write: its bytes are compared with their sums and
// copied to a new file. Bytes that wait to be stored are bounded by a budget;
// above it appends wait, while the largest open blocks are sealed.
//
// # Locks
//
// In this order: group.mu, blockFile.mu, then storer.mu, budget.mu, dirSyncer.mu
// or Spool.mu, of which none is held while another is taken. Only overwrites,
// cutting a file back and failures of writes do file I/O under blockFile.mu.
//
// Start reading at blockfile.go, then packer.go, sync.go and storer.go.
package keepio
