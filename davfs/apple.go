package davfs

import (
	"context"
	"path"
	"strings"
	"time"

	"keepdav/collfs"
)

// An ApplePolicy says what becomes of the files that Apple clients write beside
// those of their users: resource forks (._name), .DS_Store and their like.
type ApplePolicy int

// The policies.
const (
	AppleHide    ApplePolicy = iota // kept in the side store, never in a collection
	AppleStore                      // files like others
	AppleDiscard                    // accepted, and gone
)

// maxSideFile bounds a side file. A larger one is somebody's data (old resource
// forks hold any amount) and is stored in the collection like other files.
const maxSideFile = 16 << 20

// isAppleLitter reports whether a file of this name is for its writer's eyes only.
func isAppleLitter(name string) bool {
	if strings.HasPrefix(name, "._") {
		return len(name) > 2
	}
	switch name {
	case ".DS_Store", ".localized", ".apdisk", ".VolumeIcon.icns", "Icon\r":
		return true
	}
	return false
}

// appleTwin is the name of the resource fork that belongs to a file or directory.
func appleTwin(p string) string {
	dir, base := path.Split(p)
	return dir + "._" + base
}

// A SideFile is a small file that is kept beside a collection, not in it.
type SideFile struct {
	Path    string // inside the collection or project
	Size    int64
	ModTime time.Time
	Content collfs.ContentID // identifies the data
	Data    []byte           // filled by GetSide only
}

// A SideStore keeps side files by the UUID of a collection or project and the
// path in it. All methods may be called concurrently and return when the change
// is durable. Paths are clean, without a leading slash.
type SideStore interface {
	PutSide(ctx context.Context, key collfs.UUID, f SideFile) error
	// GetSide returns one; a missing one is fs.ErrNotExist.
	GetSide(ctx context.Context, key collfs.UUID, p string) (SideFile, error)
	// StatSide is GetSide without the data.
	StatSide(ctx context.Context, key collfs.UUID, p string) (SideFile, error)
	// ListSide returns those directly in dir ("" is the root), sorted by path.
	ListSide(ctx context.Context, key collfs.UUID, dir string) ([]SideFile, error)
	// HasSide reports whether there are any under a key.
	HasSide(ctx context.Context, key collfs.UUID) (bool, error)
	// RemoveSide takes away p and all below it. Removing nothing is no error.
	RemoveSide(ctx context.Context, key collfs.UUID, p string) error
	// RenameSide moves p and all below it to another place, replacing what is
	// there; "" is the root, with all of the key. Moving nothing is no error.
	RenameSide(ctx context.Context, key collfs.UUID, p string, toKey collfs.UUID, to string) error
}
