package davfs

import (
	"context"
	"io"
	"io/fs"
	"time"

	"keepdav/collfs"
)

// Info describes one resource of the site at one moment. It is a value, made
// under the lock of its collection, and is not updated.
type Info struct {
	Name    string // the last element; "/" for the root
	Dir     bool
	Size    int64
	ModTime time.Time
	Birth   time.Time // zero when not known
	Attr    collfs.Attr
	Content collfs.ContentID // of a file

	// Where it lies, as Where tells it: Path is the path inside the collection,
	// "" its root. For a project it is the project's UUID and "", for a loose
	// file in a project the project's UUID and the file's name; for the folders
	// above the projects it is "" and the name. Two users who see one collection
	// under different URLs get the same key.
	Collection collfs.UUID
	Path       string

	ReadOnly bool // this user may not change it
	Entries  int  // of a directory, when cheaply known, else -1
}

// A Check decides whether a change may go on. It is called just before the
// change is made, under the lock of the collection, with what the target is at
// that moment (ok is false when there is nothing). It must not block nor call
// the FS. Its error is returned as it is. For a change of records (a collection
// made, moved or trashed) it is called under the lock of the project instead.
type Check func(target Info, ok bool) error

// PutOptions say how a file is written.
type PutOptions struct {
	Size    int64             // the announced length, or -1; another length is collfs.ErrShortBody
	ModTime time.Time         // zero: the time of the commit
	Extra   map[string]string // replaces these keys of Attr.Extra ("" deletes one); others are kept when a file is replaced
	Check   Check
}

// An Upload is a file in the making that nobody sees until Commit links it
// under its name in one step. Not for concurrent use.
type Upload interface {
	io.Writer
	io.ReaderFrom
	// Commit links and makes durable. created is false when a file was replaced.
	Commit(ctx context.Context) (info Info, created bool, err error)
	// Abort frees what was written. It may be called after Commit, then it does nothing.
	Abort()
}

// A File is an open file, for reading. It keeps the content that it was opened
// with. ReadAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.Closer
	Info() Info
	// WriteRange copies n bytes from offset off to w, without passing them
	// through the heap where w and the storage allow it.
	WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error)
}

// A Listing is the snapshot of one directory.
type Listing interface {
	// Next fills infos and reports how many; 0 at the end. Sorted by name bytes.
	Next(infos []Info) (int, error)
	Close()
}

// CopyOptions say how COPY and MOVE go about it.
type CopyOptions struct {
	Overwrite bool  // else an existing target is fs.ErrExist
	Shallow   bool  // COPY of a directory without its members
	Check     Check // on the target
	CheckSrc  Check // on the source, for MOVE

	// POSIX: a MOVE replaces what rename(2) replaces, a file by a file, and an empty
	// directory, collection or project by one of these; else it is collfs.ErrIsDir,
	// ErrNotDir or ErrNotEmpty. A move of a thing to itself does nothing. Names are
	// compared byte by byte unless the client folds case.
	POSIX bool
}

// An AttrChange changes attributes. Nil fields are left alone.
type AttrChange struct {
	Mode    *uint32
	ModTime *time.Time
	Extra   map[string]string // "" deletes the key
	Check   Check
}

// Usage is the space of the store, for quota properties and df.
type Usage struct {
	Used, Available int64 // bytes; Available is -1 when unknown
}

// FileSystem is what a user can do with the site. Names are slash-separated,
// absolute, clean, in the bytes that the client gave. Every change is durable
// when the call returns nil. Errors are *fs.PathError or match the list in
// collfs; a missing file is fs.ErrNotExist itself in an *fs.PathError. Where a
// name is to be made and its parent is missing, the error is ErrNoParent, in an
// *fs.PathError with the parent's name; it matches fs.ErrNotExist too. What the
// user may not read does not exist for him. What he may read but not change is
// collfs.ErrReadOnly. All methods may be called concurrently. *FS implements it.
type FileSystem interface {
	Stat(ctx context.Context, name string) (Info, error)
	// Where tells the collection and path of a name that need not exist; its
	// parent must (else ErrNoParent). It is the key for locks: see Info.
	Where(ctx context.Context, name string) (collection collfs.UUID, path string, err error)
	// Owner tells the project or home that a collection or project lies in, "" if
	// there is none: what Where tells leads upwards the same way for all users.
	Owner(ctx context.Context, id collfs.UUID) (collfs.UUID, error)
	List(ctx context.Context, name string) (Listing, error)
	// Count counts the members of a tree, name itself included, up to limit.
	Count(ctx context.Context, name string, limit int) (int, error)
	Open(ctx context.Context, name string) (File, error)
	Put(ctx context.Context, name string, o PutOptions) (Upload, error)
	// WriteAt changes n bytes of an existing file in place (PATCH, Content-Range), in one commit;
	// off may be beyond the end up to a bound. off -1 appends.
	WriteAt(ctx context.Context, name string, off, n int64, body io.Reader, check Check) (Info, error)
	Mkdir(ctx context.Context, name string, attr AttrChange) (Info, error)
	// Remove takes away a file, or a directory with all below it.
	Remove(ctx context.Context, name string, check Check) error
	Copy(ctx context.Context, src, dst string, o CopyOptions) (created bool, err error)
	Move(ctx context.Context, src, dst string, o CopyOptions) (created bool, err error)
	SetAttr(ctx context.Context, name string, c AttrChange) (Info, error)
	Usage(ctx context.Context, name string) (Usage, error)
	// Sum returns a whole-file checksum in hex ("MD5" or "SHA1"), computed once per content when need be.
	Sum(ctx context.Context, name, algorithm string) (string, error)
}

// Mode returns the file mode of what i describes.
func (i Info) Mode() fs.FileMode {
	m := fs.FileMode(i.Attr.Mode & 0o777)
	if i.Attr.Mode == 0 {
		m = 0o644
		if i.Dir {
			m = 0o755
		}
	}
	if i.Dir {
		m |= fs.ModeDir
	}
	return m
}

// ETag returns the strong entity tag of a file, with its quotes; "" for a directory.
func (i Info) ETag() string {
	if i.Dir {
		return ""
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, 34)
	b = append(b, '"')
	for _, c := range i.Content {
		b = append(b, hex[c>>4], hex[c&15])
	}
	return string(append(b, '"'))
}
