package collfs

import (
	"context"
	"time"

	"keepdav/keepio"
)

// A Catalog keeps the records and contents of collections. All methods may be
// called concurrently. A method that stops because ctx ended returns an error
// that matches ctx.Err().
type Catalog interface {
	// Record returns the record of a collection, also of one in the trash.
	// An unknown UUID is fs.ErrNotExist.
	Record(ctx context.Context, id UUID) (Record, error)

	// Load returns the record of a collection and what its tree is made from.
	// version 0 is the present state, another one that version.
	Load(ctx context.Context, id UUID, version int) (Record, Saved, error)

	// Commit makes all of tx a fact, or nothing of it. When it returns nil, tx
	// survives the end of this process and, if tx.Durable, a loss of power:
	// whoever calls it has made durable what tx newly relies on in blocks, but for
	// extents that carry their bytes, which the catalog makes durable with tx.
	// It keeps no reference to these bytes. A change whose
	// base is not the record's revision is ErrStale, a name that is taken
	// fs.ErrExist, a change of a collection in the trash fs.ErrNotExist: who moves
	// or removes a collection must not lose what is put into it just then. The
	// result has the new record of each of tx.Changes. An error that matches
	// ErrUnknownOutcome leaves open whether tx became a fact. A durable tx makes
	// durable all that became facts before it too; it may be empty otherwise.
	//
	// A catalog that makes several requests of a tx cannot keep the first promise. When
	// everything before one of the changes is a fact, and that one is stale, it returns
	// ErrPartly and the records of the changes before. When it fails otherwise a move may
	// have become a copy, and after ErrUnknownOutcome each change has to be looked for.
	Commit(ctx context.Context, tx Tx) ([]Record, error)

	// Watch calls notify for each event after it was called, in order, until
	// stop is called; stop waits for a notify under way. notify must not block.
	Watch(notify func(Event)) (stop func())
}

// Saved is the stored form of a tree: a checkpoint, and the changes since.
type Saved struct {
	Manifest   []byte   // if not nil the tree starts from this manifest text (a catalog that keeps manifests)
	Checkpoint []byte   // else from this checkpoint, made by AppendTree; nil: the empty tree
	Changes    [][]byte // then each of these is applied, made by AppendOps
}

// Deltas tells what has changed since a revision. A Catalog that keeps change sets,
// at least those of late, implements it.
type Deltas interface {
	// Since returns the record of a collection, and the change sets that lead from a
	// revision to that of the record, in order, made by AppendOps. kept is false if
	// they are not all there any more, or never were: then only Load tells.
	Since(ctx context.Context, id UUID, revision int64) (rec Record, changes [][]byte, kept bool, err error)
}

// A Tx is what one commit changes: any number of records and contents.
type Tx struct {
	Durable bool // the commit must survive a loss of power
	Records []RecordOp
	Changes []Change
}

// A Change is a change set of one collection.
type Change struct {
	Collection UUID
	Base       int64 // the revision it is made against; 0 for a collection created in the same Tx
	Ops        []Op
	Extents    []keepio.Extent // what the change newly relies on in block files
	Files      int64           // of the tree after the change
	Bytes      int64
	Keep       bool // what it changes is kept as a version, however long it was left alone; nothing is before the first change
}

// A RecordOp creates or changes the record of a collection or a project.
type RecordOp struct {
	Kind       RecordOpKind
	UUID       UUID
	Owner      UUID   // create, move
	Name       string // create, move
	Unique     bool   // create, move, untrash: a taken name gets " (2)", " (3)", … instead of fs.ErrExist
	Properties []byte // update: a JSON object
	Desc       string // update
	// Trash only what is as it was seen: a collection at revision Base, else the
	// error is ErrStale, or a project in which nothing is left when the operations
	// before this one are done, else ErrNotEmpty.
	Still bool
	Base  int64
}

// A RecordOpKind says what a RecordOp does.
type RecordOpKind uint8

// The kinds of RecordOp. Names are unique among what is not in the trash in a
// project: collections and projects together.
const (
	CreateCollection RecordOpKind = iota + 1
	CreateProject
	Move      // to Owner and Name
	Update    // Properties and Desc are replaced
	Trash     // with all below it
	Untrash   // Owner and Name may be given, else those it had
	DeleteNow // a record in the trash goes for good
)

// An Event says that a record changed.
type Event struct {
	Seq      int64
	UUID     UUID
	Owner    UUID
	OldOwner UUID   // when it moved
	Name     string // of the record then; it may be "": of contents, and of what was kept for later, it is not known
	OldName  string // when it got another, if known
	Kind     EventKind
	Revision int64 // of a collection
	At       time.Time
}

// An EventKind says what happened to a record.
type EventKind uint8

// The kinds of Event.
const (
	Created EventKind = iota + 1
	ContentChanged
	RecordChanged // name, owner, properties
	Trashed
	Untrashed
	Deleted
)

// Folders is the tree of projects: what lies in which, and who may see it. A
// Catalog that has projects implements it. All methods may be called
// concurrently.
type Folders interface {
	// Lookup finds what is called name in a project. Missing: fs.ErrNotExist.
	Lookup(ctx context.Context, project UUID, name string) (Entry, error)

	// List returns what lies in a project, sorted by name.
	List(ctx context.Context, project UUID) ([]Entry, error)

	// Shared returns the top-level projects and collections of others that user may read.
	Shared(ctx context.Context, user UUID) ([]Entry, error)

	// Entry returns a project, a user's home or a collection by its UUID.
	Entry(ctx context.Context, id UUID) (Entry, error)

	// Access says what user may do with a project or collection.
	Access(ctx context.Context, user, id UUID) (Level, error)

	// UserByName and Users find users: by login name, and those that user may see.
	UserByName(ctx context.Context, name string) (User, error)
	Users(ctx context.Context, user UUID) ([]User, error)

	// FindPDH returns a collection (and version) with that content that user may
	// read; pending PDHs are computed first.
	FindPDH(ctx context.Context, user UUID, pdh PDH) (UUID, int, error)
}

// An Entry is a project or a collection in a project.
type Entry struct {
	Name       string
	Collection *Record  // either this
	Project    *Project // or this
}
