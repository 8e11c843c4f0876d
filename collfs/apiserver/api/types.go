package api

import (
	"encoding/json"
	"time"
)

// A Collection is a record of a collection. Of a reply with a selection, what was
// not selected is zero.
type Collection struct {
	UUID               string          `json:"uuid"`
	CurrentVersionUUID string          `json:"current_version_uuid"`
	OwnerUUID          string          `json:"owner_uuid"`
	Name               string          `json:"name"`
	Description        string          `json:"description"` // null is ""
	Properties         json.RawMessage `json:"properties"`
	PDH                string          `json:"portable_data_hash"`
	ManifestText       string          `json:"manifest_text"`
	Version            int             `json:"version"`
	PreserveVersion    bool            `json:"preserve_version"`
	FileCount          int64           `json:"file_count"`
	FileSizeTotal      int64           `json:"file_size_total"`
	CreatedAt          time.Time       `json:"created_at"`
	ModifiedAt         time.Time       `json:"modified_at"`
	TrashAt            time.Time       `json:"trash_at"`
	DeleteAt           time.Time       `json:"delete_at"`
	IsTrashed          bool            `json:"is_trashed"`
}

// A Group is a project, a filter group or a role.
type Group struct {
	UUID         string          `json:"uuid"`
	OwnerUUID    string          `json:"owner_uuid"`
	Name         string          `json:"name"`
	Class        string          `json:"group_class"`
	Properties   json.RawMessage `json:"properties"`
	CanWrite     bool            `json:"can_write"`
	CanManage    bool            `json:"can_manage"`
	FrozenByUUID string          `json:"frozen_by_uuid"`
	CreatedAt    time.Time       `json:"created_at"`
	ModifiedAt   time.Time       `json:"modified_at"`
	TrashAt      time.Time       `json:"trash_at"`
	DeleteAt     time.Time       `json:"delete_at"`
	IsTrashed    bool            `json:"is_trashed"`
}

// A User is somebody's account.
type User struct {
	UUID      string    `json:"uuid"`
	Username  string    `json:"username"`
	FullName  string    `json:"full_name"`
	Email     string    `json:"email"`
	IsAdmin   bool      `json:"is_admin"`
	IsActive  bool      `json:"is_active"`
	CanWrite  bool      `json:"can_write"`
	CanManage bool      `json:"can_manage"`
	CreatedAt time.Time `json:"created_at"`
}

// An Item is what lies in a project: a collection or a group.
type Item struct {
	Collection *Collection // either this
	Group      *Group      // or this; both nil: of another kind
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *Item) UnmarshalJSON(data []byte) error {
	var is struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(data, &is); err != nil {
		return err
	}
	*i = Item{}
	switch is.Kind {
	case "arvados#collection":
		i.Collection = new(Collection)
		return json.Unmarshal(data, i.Collection)
	case "arvados#group":
		i.Group = new(Group)
		return json.Unmarshal(data, i.Group)
	}
	return nil
}

// UUID returns the UUID of what i is.
func (i Item) UUID() string {
	switch {
	case i.Collection != nil:
		return i.Collection.UUID
	case i.Group != nil:
		return i.Group.UUID
	}
	return ""
}

// A Log is an entry of the log, which is an event.
type Log struct {
	ID              int64         `json:"id"`
	UUID            string        `json:"uuid"`
	ObjectUUID      string        `json:"object_uuid"`
	ObjectOwnerUUID string        `json:"object_owner_uuid"`
	ObjectKind      string        `json:"object_kind"` // only events have it
	EventType       string        `json:"event_type"`
	EventAt         time.Time     `json:"event_at"`
	Properties      LogProperties `json:"properties"`
}

// LogProperties say how the object of an event was and is; nil: not known, or it
// was not there.
type LogProperties struct {
	Old     *LogAttributes `json:"old_attributes"`
	New     *LogAttributes `json:"new_attributes"`
	Keepdav struct {
		Revision int64 `json:"revision"`
	} `json:"keepdav"`
}

// LogAttributes are what an event tells of its object.
type LogAttributes struct {
	Name      string `json:"name"`
	OwnerUUID string `json:"owner_uuid"`
	PDH       string `json:"portable_data_hash"`
	IsTrashed bool   `json:"is_trashed"`
}

// A Discovery is what a server says of itself.
type Discovery struct {
	UUIDPrefix         string          `json:"uuidPrefix"`
	DefaultReplication int             `json:"defaultCollectionReplication"`
	BlobSignatureTTL   int64           `json:"blobSignatureTtl"` // seconds
	MaxRequestSize     int64           `json:"maxRequestSize"`
	MaxItems           int             `json:"maxItemsPerResponse"`
	WebsocketURL       string          `json:"websocketUrl"`
	Keepdav            json.RawMessage `json:"keepdav"` // what a keepdav server announces
	Resources          json.RawMessage `json:"resources"`
}

// HasMethod reports whether the server announces a method of a resource.
func (d *Discovery) HasMethod(resource, method string) bool {
	// A full document has the methods of a resource as an object, below "methods".
	var full map[string]struct {
		Methods map[string]json.RawMessage `json:"methods"`
	}
	if json.Unmarshal(d.Resources, &full) == nil {
		_, ok := full[resource].Methods[method]
		return ok
	}
	var brief map[string][]string
	if json.Unmarshal(d.Resources, &brief) != nil {
		return false
	}
	for _, m := range brief[resource] {
		if m == method {
			return true
		}
	}
	return false
}

// A PublicConfig is the part of the cluster's configuration that all may see.
type PublicConfig struct {
	ClusterID   string `json:"ClusterID"`
	Collections struct {
		BlobSigning                  bool   `json:"BlobSigning"`
		CollectionVersioning         bool   `json:"CollectionVersioning"`
		ForwardSlashNameSubstitution string `json:"ForwardSlashNameSubstitution"`
	} `json:"Collections"`
	Users struct {
		AnonymousUserToken string `json:"AnonymousUserToken"`
	} `json:"Users"`
}
