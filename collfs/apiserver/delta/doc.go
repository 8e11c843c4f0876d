// Package delta is the wire format, and the client, of what a keepdav server offers
// beyond the Arvados API: trees with all that a manifest cannot say, the changes of a
// collection since a revision, and commits of operations on a base. Their cost is
// that of the change, and two clients never race.
//
//	GET  /keepdav/v1/collections/UUID/tree
//	GET  /keepdav/v1/collections/UUID/changes?since=REVISION
//	POST /keepdav/v1/collections/UUID/commit
//
// The token is in the Authorization header, as everywhere.
//
// # Messages
//
// The bodies of commits and of good replies are messages of sections:
//
//	"KDdelta1"
//	any number of: kind u8, length uvarint, bytes
//	kind 0: the end
//
//	1  header, JSON: a Record, of a commit a Header; always the first
//	2  locators with their signatures, one a line
//	3  a tree, made by collfs.AppendTree
//	4  a change set, made by collfs.AppendOps
//	5  data: a block that a commit brings along
//
// A reply without its end was cut off. Sections of other kinds are not for us and are
// left out; whoever has to be understood changes the first line.
//
// A tree and change sets name blocks by their hash; all are stored, and there is a
// signed locator for each. Operations of a commit name stored blocks, whose locators
// come with it, and the block that it brings along, by the hash of its bytes. That one
// becomes part of whatever block the server is packing just then: many small commits
// make no small blocks.
//
// # Answers
//
//	200  done, or read
//	400  the message, or an operation, is not what it should be
//	401  the token is not known
//	403  the collection may not be read, or changed, or a locator's signature is not good
//	404  there is no such collection, or it is in the trash, or it may not be seen
//	409  the base of a commit is not the present revision, which the answer says
//	410  the changes since that revision are not kept: ask for the tree
//	413  the message is too large
//	422  an operation does not apply to the base, or names a block that is not there
//	503  try again; a commit may have become a fact, and the same id says so
//	507  no room
//
// The body of a refusal is a Refusal in JSON.
package delta
