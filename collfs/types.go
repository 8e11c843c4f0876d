package collfs

import (
	"encoding/json"
	"time"

	"keepdav/keepio"
)

// A UUID names a record: a collection (xxxxx-4zz18-…), a project
// (xxxxx-j7d0g-…) or a user (xxxxx-tpzed-…).
type UUID string

// A PDH is a portable data hash: the MD5 of a manifest without signatures, a
// plus sign, and the length of that text.
type PDH string

// A ContentID identifies what a file contains. It changes with every change of
// the content, and neither with sealing nor with repacking. It is the basis of
// ETags, of "same content" in a merge, and of which attributes apply. The zero
// id means that there is no file.
type ContentID [16]byte

// A Record describes a collection.
type Record struct {
	UUID        UUID
	Owner       UUID // a project, or a user for a collection in its home
	Name        string
	Description string
	Properties  json.RawMessage // a JSON object, or nil
	Revision    int64           // counts commits; 0 before the first
	Version     int             // counts versions that are kept, from 1
	PDH         PDH             // "" while nobody has asked for it
	Files       int64           // regular files in the tree
	Bytes       int64           // the sum of their sizes
	CreatedAt   time.Time
	ModifiedAt  time.Time
	TrashAt     time.Time // zero: not in the trash
	DeleteAt    time.Time
}

// A Project is a folder of collections and projects. A user's home is the
// project whose UUID is the user's.
type Project struct {
	UUID       UUID
	Owner      UUID
	Name       string
	CreatedAt  time.Time
	ModifiedAt time.Time
	TrashAt    time.Time
}

// A User is somebody who may log in.
type User struct {
	UUID      UUID
	Name      string // the login name
	FullName  string
	Admin     bool
	Active    bool
	CreatedAt time.Time
}

// A Token describes what stands for a user in requests; its secret is known to its
// holder alone.
type Token struct {
	UUID      UUID
	User      UUID
	Scopes    []string // "METHOD /path"; "all" is everything
	Label     string   // what it is for
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// A Level says what a user may do with a project or a collection.
type Level int

// The levels, each including the ones before it.
const (
	NoAccess Level = iota
	CanRead
	CanWrite
	CanManage
)

// Attr holds what a manifest cannot say about a file or a directory.
type Attr struct {
	Mode  uint32            // the twelve mode bits; 0 means the default (0644, directories 0755), ModeNone none of them
	Mtime int64             // nanoseconds since 1970; 0 means the record's modification time
	Ctime int64             // when anything of it changed last, attributes too, in nanoseconds since 1970; 0 means Mtime. What makes a change sets it
	Posix *Posix            // what only a POSIX mount sets; nil: nothing. What it points to never changes
	Extra map[string]string // symlink target, xattrs, dead properties; never changed in place; keys: see the Extra… constants
}

// ModeNone is the Mode of what has none of the mode bits.
const ModeNone = 1 << 12

// Posix is what only a POSIX file system knows of a file or a directory. A manifest
// says nothing of it: a special file is an empty file there.
type Posix struct {
	HasOwner bool // else UID and GID are 0 and mean nothing
	UID, GID uint32
	Type     uint32 // S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK; 0: a regular file, a directory or a symlink
	Rdev     uint32 // of a device
	Atime    int64  // nanoseconds since 1970; 0 means Mtime
}

// samePosix reports whether two say the same; nil is one that says nothing.
func samePosix(a, b *Posix) bool { return posixOf(a) == posixOf(b) }

func posixOf(p *Posix) Posix {
	if p == nil {
		return Posix{}
	}
	out := *p
	if !out.HasOwner {
		out.UID, out.GID = 0, 0
	}
	return out
}

// Prefixes and names of the keys of Attr.Extra.
const (
	ExtraDAV     = "dav:"    // + the property's namespace and name as {ns}name; the value is its inner XML
	ExtraXattr   = "xattr:"  // + the name
	ExtraSymlink = "symlink" // the target; the node is a symlink
	ExtraWin32   = "win32:"  // + CreationTime, LastAccessTime, FileAttributes
	ExtraBirth   = "birth"   // decimal nanoseconds since 1970
	ExtraSum     = "sum:"    // + MD5, SHA1: whole-file checksums in hex, true for the content they were set with
)

// Content is what a file contains: its id, its size and its segments in order.
// Segments are never changed in place.
type Content struct {
	ID       ContentID
	Size     int64
	Segments []keepio.Segment
}
