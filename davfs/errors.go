package davfs

import (
	"io/fs"

	"keepdav/collfs"
)

// ErrNoParent says that a name cannot be made because the directory that it
// would lie in does not exist. It matches fs.ErrNotExist as well; WebDAV answers
// it with 409 where a missing file is 404.
var ErrNoParent error = noParent{}

type noParent struct{}

func (noParent) Error() string        { return "parent directory does not exist" }
func (noParent) Is(target error) bool { return target == fs.ErrNotExist }

// An atName is an error with the name in the site that it is about, where that
// is not the name which the method was called with.
type atName struct {
	name string
	err  error
}

func (e *atName) Error() string { return e.name + ": " + e.err.Error() }
func (e *atName) Unwrap() error { return e.err }

// pathError gives an error of a method its operation and its name in the site;
// what collfs said about paths inside the collection is left out. A missing file
// is fs.ErrNotExist bare, since os.IsNotExist does not unwrap.
func pathError(op, name string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *atName:
		name, err = e.name, e.err
	case checkError:
		return e.error
	}
	if pe, ok := err.(*fs.PathError); ok {
		err = pe.Err
	}
	if err != ErrNoParent && collfs.KindOf(err) == collfs.NotExist {
		err = fs.ErrNotExist
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// A checkError is what a Check returned; it goes to the caller as it is.
type checkError struct{ error }
