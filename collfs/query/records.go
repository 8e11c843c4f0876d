package query

import (
	"encoding/json"
	"time"

	"keepdav/collfs"
)

// A Project is the record of a project with what only the API shows.
type Project struct {
	collfs.Project // TrashAt may be to come
	Description    string
	Properties     json.RawMessage // a JSON object, or nil
	DeleteAt       time.Time
	ModifiedBy     collfs.UUID // who changed it last by the API; "": nobody has
}

// Trashed reports whether p is in the trash at a moment.
func (p *Project) Trashed(now time.Time) bool { return !p.TrashAt.IsZero() && !p.TrashAt.After(now) }

// ProjectAttrs are the attributes of projects, which the API calls groups.
var ProjectAttrs = Attrs{
	"uuid": Text, "owner_uuid": Text, "name": Text, "description": Text, "properties": Object, "group_class": Text, "frozen_by_uuid": Text,
	"created_at": Time, "modified_at": Time, "trash_at": Time, "delete_at": Time, "is_trashed": Bool, "modified_by_user_uuid": Text,
}

// Classes of links.
const (
	PermissionLink = "permission" // Tail, a user, may do with Head what Name says
	TagLink        = "tag"        // Head is called Name
)

// A Link says something of a record.
type Link struct {
	UUID       collfs.UUID
	Class      string
	Name       string
	Head, Tail collfs.UUID
	Owner      collfs.UUID
	Properties json.RawMessage // a JSON object, or nil
	CreatedAt  time.Time
	ModifiedAt time.Time
}

// LinkAttrs are the attributes of links.
var LinkAttrs = Attrs{
	"uuid": Text, "owner_uuid": Text, "link_class": Text, "name": Text, "head_uuid": Text, "tail_uuid": Text, "properties": Object,
	"created_at": Time, "modified_at": Time, "modified_by_user_uuid": Text, "head_kind": Text, "tail_kind": Text,
}

// permissions are the names of permission links.
var permissions = map[collfs.Level]string{collfs.CanRead: "can_read", collfs.CanWrite: "can_write", collfs.CanManage: "can_manage"}

// PermissionName returns the name of the links that say level, and PermissionLevel the
// level that a name says, NoAccess if there is none.
func PermissionName(level collfs.Level) string { return permissions[level] }

// PermissionLevel is the inverse of PermissionName.
func PermissionLevel(name string) collfs.Level {
	for level, n := range permissions {
		if n == name {
			return level
		}
	}
	return collfs.NoAccess
}

// A Log is an entry of the log: an event, or a note of a client.
type Log struct {
	collfs.Event       // with Kind 0 for a note; then only Seq, UUID, Owner and At are set
	Note         *Note // nil for an event
}

// A Note is what a client has put into the log.
type Note struct {
	Type       string // such as file_download
	User       collfs.UUID
	Object     collfs.UUID // "": none
	Owner      collfs.UUID // of the object
	Summary    string
	Properties json.RawMessage // a JSON object, or nil
}

// LogAttrs are the attributes of entries of the log.
var LogAttrs = Attrs{
	"id": Number, "uuid": Text, "event_type": Text, "object_uuid": Text, "object_owner_uuid": Text, "owner_uuid": Text, "summary": Text,
	"event_at": Time, "created_at": Time, "modified_at": Time,
}
