package query

import (
	"time"

	"keepdav/collfs"
)

// A Collection is the record of a collection, or of an old version of one, with what
// only the API shows.
type Collection struct {
	collfs.Record             // UUID is the version's own; TrashAt may be to come
	Current       collfs.UUID // the collection: Record.UUID, if this is its present state
	ModifiedBy    collfs.UUID // who changed it last by the API; "": nobody has
	Preserve      bool        // the next change keeps what is there as a version
	Replication   int         // that somebody asked for; 0: nobody has
	Classes       []string    // storage classes that somebody asked for; nil: nobody has
}

// Old reports whether c is an old version.
func (c *Collection) Old() bool { return c.Current != c.UUID }

// Trashed reports whether c is in the trash at a moment.
func (c *Collection) Trashed(now time.Time) bool {
	return !c.TrashAt.IsZero() && !c.TrashAt.After(now)
}

// CollectionAttrs are the attributes of collections.
var CollectionAttrs = Attrs{
	"uuid": Text, "current_version_uuid": Text, "owner_uuid": Text, "name": Text, "description": Text, "properties": Object,
	"version": Number, "portable_data_hash": Text, "file_count": Number, "file_size_total": Number,
	"created_at": Time, "modified_at": Time, "trash_at": Time, "delete_at": Time, "is_trashed": Bool,
	"modified_by_user_uuid": Text, "preserve_version": Bool, "replication_desired": Number, "storage_classes_desired": Array,
}

// A Scope says which collections or projects a query is about.
type Scope struct {
	Readers    []collfs.UUID // users: what one of them may read; nil: all there are
	Trash      bool          // also what is in the trash
	Old        bool          // also old versions
	In         collfs.UUID   // only what lies in this project; "": anywhere
	Below      collfs.UUID   // only what lies in this project or in one below it; "": anywhere
	SharedWith collfs.UUID   // only what others own, and no reader can reach through a project above; "": of whomever
}

// A CollectionChange changes what only the API shows of a collection. A nil field
// stays as it is.
type CollectionChange struct {
	ModifiedBy  *collfs.UUID
	Preserve    *bool
	Replication *int       // 0: nobody asks for any
	Classes     *[]string  // nil: nobody asks for any
	TrashAt     *time.Time // to come; zero: never
	DeleteAt    *time.Time // of what has a TrashAt to come; zero: the usual time after it
}
