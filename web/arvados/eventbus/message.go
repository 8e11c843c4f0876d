package eventbus

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
)

// Attributes are what an event says of an object before or after it; nil and ""
// are not known.
type Attributes struct {
	IsTrashed *bool       `json:"is_trashed,omitempty"`
	Name      *string     `json:"name,omitempty"`
	Owner     collfs.UUID `json:"owner_uuid,omitempty"`
	PDH       collfs.PDH  `json:"portable_data_hash,omitempty"`
}

// Properties say what changed. The maps are nil where the object wasn't there, or isn't any more.
type Properties struct {
	Old     *Attributes `json:"old_attributes,omitempty"`
	New     *Attributes `json:"new_attributes,omitempty"`
	Keepdav *Revision   `json:"keepdav,omitempty"`
}

// A Revision says how often a collection was committed to: a client that has
// committed it itself needs to look no further.
type Revision struct {
	Revision int64 `json:"revision"`
}

// Message is an event as it is sent, and as it stands in the log.
type message struct {
	ID          int64       `json:"id"`
	UUID        string      `json:"uuid"`
	Object      collfs.UUID `json:"object_uuid"`
	ObjectOwner collfs.UUID `json:"object_owner_uuid"`
	ObjectKind  string      `json:"object_kind"`
	EventType   string      `json:"event_type"`
	EventAt     time.Time   `json:"event_at"`
	Properties  Properties  `json:"properties"`
}

// EventType returns what Arvados calls a kind of event.
func EventType(k collfs.EventKind) string {
	switch k {
	case collfs.Created:
		return "create"
	case collfs.Deleted:
		return "delete"
	}
	return "update" // going to the trash is one, too
}

// ObjectKind returns what Arvados calls the kind of an object.
func ObjectKind(id collfs.UUID) string {
	switch _, rest, _ := strings.Cut(string(id), "-"); {
	case strings.HasPrefix(rest, "4zz18-"):
		return "arvados#collection"
	case strings.HasPrefix(rest, "tpzed-"):
		return "arvados#user"
	}
	return "arvados#group"
}

const logInfix = "-57u5n-"

// LogUUID returns the UUID of the event with a number: it can be told from the number, and the
// other way round.
func LogUUID(cluster string, seq int64) string {
	digits := strconv.FormatInt(seq, 36)
	return cluster + logInfix + strings.Repeat("0", max(0, 15-len(digits))) + digits
}

// LogID is the inverse of LogUUID.
func LogID(cluster, uuid string) (int64, bool) {
	digits, ok := strings.CutPrefix(uuid, cluster+logInfix)
	if !ok || len(digits) != 15 || digits[0] == '-' || digits[0] == '+' {
		return 0, false
	}
	seq, err := strconv.ParseInt(digits, 36, 64)
	return seq, err == nil && LogUUID(cluster, seq) == uuid
}

// Describe returns what an event says of its object. entry is the object now, the
// zero Entry if it is gone; the hashes are "" where they aren't known.
func Describe(e collfs.Event, entry collfs.Entry, was, is collfs.PDH) Properties {
	name, owner, trashed, revision := known(e.Name), e.Owner, e.Kind == collfs.Trashed, e.Revision
	switch {
	case entry.Collection != nil:
		if name == nil {
			name = &entry.Collection.Name
		}
		trashed = trashed || !entry.Collection.TrashAt.IsZero() && e.Kind != collfs.Untrashed
	case entry.Project != nil:
		if name == nil {
			name = &entry.Project.Name
		}
		trashed = trashed || !entry.Project.TrashAt.IsZero() && e.Kind != collfs.Untrashed
	}
	now := &Attributes{IsTrashed: &trashed, Name: name, Owner: owner, PDH: is}
	var p Properties
	if e.Kind != collfs.Deleted {
		p.New = now
		if revision > 0 {
			p.Keepdav = &Revision{revision}
		}
	}
	if e.Kind == collfs.Created {
		return p
	}
	old := *now
	old.PDH = was
	switch e.Kind {
	case collfs.Trashed, collfs.Untrashed:
		before := e.Kind == collfs.Untrashed
		old.IsTrashed = &before
	case collfs.Deleted:
		before := true // nothing else is
		old.IsTrashed = &before
	}
	if e.OldName != "" {
		old.Name = &e.OldName
	}
	if e.OldOwner != "" {
		old.Owner = e.OldOwner
	}
	p.Old = &old
	return p
}

func known(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

// encode returns the text of an event without its opening brace and msgID, which
// each session adds.
func encode(cluster string, e collfs.Event, p Properties) ([]byte, error) {
	text, err := json.Marshal(message{
		ID: e.Seq, UUID: LogUUID(cluster, e.Seq), Object: e.UUID, ObjectOwner: e.Owner, ObjectKind: ObjectKind(e.UUID),
		EventType: EventType(e.Kind), EventAt: e.At.UTC(), Properties: p,
	})
	if err != nil {
		return nil, err
	}
	return text[1:], nil
}

// away is an event for somebody who could read where an object was, and may
// not read it where it is now: for them it is gone.
func away(e collfs.Event) (collfs.Event, Properties) {
	gone := collfs.Event{Seq: e.Seq, UUID: e.UUID, Owner: e.OldOwner, Kind: collfs.Deleted, At: e.At}
	name := e.OldName
	if name == "" {
		name = e.Name // it was moved under its name
	}
	return gone, Properties{Old: &Attributes{Name: known(name), Owner: e.OldOwner}}
}
