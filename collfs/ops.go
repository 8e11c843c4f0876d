package collfs

// An OpKind says what an operation does.
type OpKind uint8

// The operations of a change set. Paths are clean and relative to the
// collection's root, "" being the root, names separated by slashes.
const (
	OpInvalid  OpKind = iota
	OpPut             // Path becomes a file with Content and Attr; Old is the content it had (zero: none)
	OpMkdir           // Path becomes an empty directory with Attr
	OpDelete          // Path goes, with all below it; Old is the content of a deleted file
	OpRename          // Path becomes what Src was; Src goes. Old is the content that Path had, Content.ID what Src has (zero: a directory)
	OpCopy            // Path becomes a copy of what Src is, with all below it; Old is the content that Path had
	OpAttr            // Attr of Path is replaced; Content.ID is the content it belongs to (zero: a directory)
	OpRepack          // Path has the same content in other segments; does nothing when its content is not Content.ID
	OpPatch           // In Path, whose content is Old, the bytes from Off on become those of Content.Segments; then its size becomes Content.Size, its id Content.ID, and its attributes Attr
	OpLink            // Path, where nothing is, becomes another name of the file that Src is; Content.ID is what it has
	OpExchange        // Path and Src, which are both there, change places; Old is the content that Path had, Content.ID what Src had
	OpCommit          // changes nothing; Content.ID is the id of the commit that the change set is of, see ApplyOptions
	lastOp     = OpCommit
)

// An Op is one operation of a change set. A change set is a list of
// operations in the order in which they were made. One that changes a file changes
// it under all its names; one that takes away or moves a name leaves the others.
//
// An operation with a Time sets the Ctime of what it makes, changes or renames,
// and Mtime and Ctime of the directories in which a name came, went or was
// replaced; a directory made without an Mtime gets it too. One without a Time
// leaves all times as they are or as Attr says.
type Op struct {
	Kind    OpKind
	Path    string
	Src     string
	Old     ContentID
	Content Content
	Attr    Attr
	Off     int64 // of OpPatch
	Time    int64 // when it was made, in nanoseconds since 1970; 0: not known, or of no concern
}
