package collfs

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// Failures that have no name in io/fs or keepio. Match them with errors.Is.
var (
	ErrStale           = errors.New("collection was changed by somebody else")
	ErrUnknownOutcome  = errors.New("it is not known whether the commit took place")
	ErrPartly          = errors.New("only a part of it took place") // see Catalog.Commit
	ErrReadOnly        = errors.New("collection is read-only")
	ErrIsDir           = errors.New("is a directory")
	ErrNotDir          = errors.New("is not a directory")
	ErrNotEmpty        = errors.New("directory is not empty")
	ErrIntoItself      = errors.New("cannot move or copy a directory into itself")
	ErrNameInvalid     = errors.New("name is not allowed")
	ErrNameTooLong     = errors.New("name is too long")
	ErrCondition       = errors.New("precondition does not hold")
	ErrLocked          = errors.New("is locked")
	ErrNotSupported    = errors.New("is not supported here")
	ErrClosed          = errors.New("is closed")
	ErrShortBody       = errors.New("upload ended before its announced length")
	ErrTooManyEntries  = errors.New("has too many entries for one answer")
	ErrOtherCollection = errors.New("is in another collection")
	ErrTooSparse       = errors.New("holes of the collection would be too large")
)

// A Kind says what an error means to a user. Each kind has one HTTP status and
// one errno, in one table each.
type Kind int

// The kinds.
const (
	Internal Kind = iota
	NotExist
	Exist
	Permission
	ReadOnly
	IsDir
	NotDir
	NotEmpty
	IntoItself
	NameInvalid
	NameTooLong
	Condition
	Locked
	NotSupported
	Invalid
	Closed
	Conflict // commit could not be merged in time
	Corrupt
	Unavailable
	Full
	ShortBody
	TooMany
	Canceled
	lastKind
)

// kinds is the one list of what errors mean, tried in order with errors.Is.
var kinds = []struct {
	is   error
	kind Kind
}{
	{ErrStale, Conflict},
	{ErrReadOnly, ReadOnly},
	{ErrIsDir, IsDir},
	{ErrNotDir, NotDir},
	{ErrNotEmpty, NotEmpty},
	{ErrIntoItself, IntoItself},
	{ErrNameInvalid, NameInvalid},
	{ErrNameTooLong, NameTooLong},
	{ErrCondition, Condition},
	{ErrLocked, Locked},
	{ErrNotSupported, NotSupported},
	{ErrShortBody, ShortBody},
	{ErrTooManyEntries, TooMany},
	{ErrClosed, Closed},
	{keepio.ErrFull, Full},
	{ErrTooSparse, Full},
	{ErrBadEncoding, Corrupt},
	{manifest.ErrMalformed, Corrupt}, // of a collection; an upload of one is checked where it comes in
	{keepio.ErrNotFound, Corrupt},    // a tree names a block that is gone
	{keepio.ErrCorrupt, Corrupt},
	{keepio.ErrUnavailable, Unavailable},
	{ErrUnknownOutcome, Unavailable},
	{fs.ErrNotExist, NotExist},
	{fs.ErrExist, Exist},
	{fs.ErrPermission, Permission},
	{fs.ErrInvalid, Invalid},
	{fs.ErrClosed, Closed},
	{context.Canceled, Canceled},
	{context.DeadlineExceeded, Unavailable},
}

// KindOf says what err means; Internal when it is not one of ours.
func KindOf(err error) Kind {
	i := slices.IndexFunc(kinds, func(k struct {
		is   error
		kind Kind
	}) bool {
		return errors.Is(err, k.is)
	})
	if i < 0 {
		return Internal
	}
	return kinds[i].kind
}

// Kinds lists all kinds, for the tests of the tables that map them.
func Kinds() []Kind {
	all := make([]Kind, lastKind)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
