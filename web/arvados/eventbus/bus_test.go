package eventbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"keepdav/collfs"
)

// What a cluster sent, frame by frame, we send, but for the UUIDs of events.
func TestRecordedConversation(t *testing.T) {
	text, err := os.ReadFile("testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Frames []struct{ Sent, Received string }
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{})
	c := r.dial(root)
	events := 0
	for _, f := range recorded.Frames {
		if f.Sent != "" {
			c.say(f.Sent)
			continue
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(f.Received), &want); err != nil {
			t.Fatal(err)
		}
		if want["id"] != nil {
			events++
			r.replay(f.Received)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(c.text()), &got); err != nil {
			t.Fatal(err)
		}
		if p, ok := got["properties"].(map[string]any); ok {
			delete(p, "keepdav")
			uuid, _ := got["uuid"].(string)
			if id, ok := LogID("zzzzz", uuid); !ok || float64(id) != got["id"] {
				t.Errorf("uuid %q of event %v", uuid, got["id"])
			}
			got["uuid"] = want["uuid"]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	}
	if events != 18 {
		t.Errorf("%d events were compared; want 18", events)
	}
}

// replay makes happen in the catalog what a recorded event tells.
func (r *rig) replay(text string) {
	r.t.Helper()
	var m message
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		r.t.Fatal(err)
	}
	e := collfs.Event{Seq: m.ID, UUID: m.Object, Owner: m.ObjectOwner, At: m.EventAt, Kind: collfs.Created}
	is := m.Properties.New
	if was := m.Properties.Old; was != nil {
		switch {
		case *is.IsTrashed && !*was.IsTrashed:
			e.Kind = collfs.Trashed
		case !*is.IsTrashed && *was.IsTrashed:
			e.Kind = collfs.Untrashed
		case is.PDH != was.PDH:
			e.Kind = collfs.ContentChanged
		default:
			e.Kind, e.Name, e.OldName, e.OldOwner = collfs.RecordChanged, *is.Name, *was.Name, was.Owner
		}
	}
	entry := collfs.Entry{Project: &collfs.Project{UUID: m.Object, Owner: m.ObjectOwner, Name: *is.Name}}
	if is.PDH != "" {
		entry = collfs.Entry{Collection: &collfs.Record{UUID: m.Object, Owner: m.ObjectOwner, Name: *is.Name, PDH: is.PDH}}
		if *is.IsTrashed {
			entry.Collection.TrashAt = m.EventAt
		}
	}
	r.cat.put(entry)
	r.cat.happen(e)
}

func TestWhoIsTold(t *testing.T) {
	r := newRig(t, Config{})
	clients := map[string]*client{"ann": r.subscriber(ann, all), "bob": r.subscriber(bob, all), "admin": r.subscriber(root, all)}
	last := r.cat.collection(ann, 99)
	project := collfs.UUID("zzzzz-j7d0g-000000000000001")
	r.cat.put(collfs.Entry{Project: &collfs.Project{UUID: project, Owner: ann, Name: "p"}})
	r.cat.shares[bob] = map[collfs.UUID]bool{project: true, last: true}
	for _, c := range []struct {
		name string
		do   func() collfs.UUID
		told string
	}{
		{"OfOnesOwn", func() collfs.UUID { return r.cat.content(r.cat.collection(ann, 1)).UUID }, "ann admin"},
		{"OfOthers", func() collfs.UUID { return r.cat.content(r.cat.collection(bob, 2)).UUID }, "bob admin"},
		{"InASharedProject", func() collfs.UUID { return r.cat.content(r.cat.collection(project, 3)).UUID }, "ann bob admin"},
		{"ADeletedOne", func() collfs.UUID {
			return r.cat.happen(collfs.Event{Kind: collfs.Deleted, UUID: r.cat.collection(project, 4), Owner: project}).UUID
		}, "ann bob admin"},
		{"ADeletedOneOfAnother", func() collfs.UUID {
			return r.cat.happen(collfs.Event{Kind: collfs.Deleted, UUID: r.cat.collection(ann, 5), Owner: ann}).UUID
		}, "ann admin"},
		{"MovedAway", func() collfs.UUID {
			return r.cat.happen(collfs.Event{Kind: collfs.RecordChanged, UUID: r.cat.collection(ann, 6), Owner: ann, OldOwner: project}).UUID
		}, "ann admin"},
		{"DeletedWithItsProject", func() collfs.UUID {
			p := collfs.UUID("zzzzz-j7d0g-000000000000002")
			r.cat.put(collfs.Entry{Project: &collfs.Project{UUID: p, Owner: ann}})
			id := r.cat.collection(p, 7)
			r.cat.happen(collfs.Event{Kind: collfs.Deleted, UUID: p, Owner: ann})
			return r.cat.happen(collfs.Event{Kind: collfs.Deleted, UUID: id, Owner: p}).UUID
		}, "ann admin"},
		{"OfWhereNobodyKnows", func() collfs.UUID {
			return r.cat.happen(collfs.Event{Kind: collfs.Deleted, UUID: r.cat.collection(ann, 8), Owner: "zzzzz-j7d0g-00000000nowhere"}).UUID
		}, "admin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := c.do()
			r.cat.content(last)
			var told []string
			for _, name := range []string{"ann", "bob", "admin"} {
				if slices.Contains(clients[name].ids(last), id) {
					told = append(told, name)
				}
			}
			if got := strings.Join(told, " "); got != c.told {
				t.Errorf("%s were told; want %s", got, c.told)
			}
		})
	}
}

func TestAKeepdavClientIsToldOfWhatItLoses(t *testing.T) {
	r := newRig(t, Config{})
	r.cat.shares[bob] = map[collfs.UUID]bool{"zzzzz-j7d0g-000000000000001": true}
	r.cat.put(collfs.Entry{Project: &collfs.Project{UUID: "zzzzz-j7d0g-000000000000001", Owner: ann}})
	c := r.subscriber(bob, `{"method":"subscribe","keepdav":true}`)
	id := r.cat.collection(ann, 1)
	r.cat.happen(collfs.Event{Kind: collfs.RecordChanged, UUID: id, Owner: ann, OldOwner: "zzzzz-j7d0g-000000000000001", Name: "secret", OldName: "n"})
	f := c.event()
	if f.EventType != "delete" || f.Object != id || f.ObjectOwner != "zzzzz-j7d0g-000000000000001" || f.Properties.New != nil || *f.Properties.Old.Name != "n" {
		t.Errorf("bob is told %+v; want that it is gone from the project, and no more", f)
	}
}

func TestFiltersAndSubscriptions(t *testing.T) {
	r := newRig(t, Config{})
	id, last := r.cat.collection(ann, 1), r.cat.collection(ann, 2)
	make := func() { r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: id, Owner: ann}) }
	only := func(types string) string { return `"filters":[["event_type","in",[` + types + `]]]}` }
	for _, c := range []struct {
		name string
		say  []string
		told int // times of one creation
	}{
		{"Everything", []string{all}, 1},
		{"Twice", []string{all, all}, 1},
		{"ItsKind", []string{`{"method":"subscribe",` + only(`"create","update"`)}, 1},
		{"OneOfTwo", []string{`{"method":"subscribe",` + only(`"delete"`), `{"method":"subscribe",` + only(`"create"`)}, 1},
		{"AnotherKind", []string{`{"method":"subscribe",` + only(`"delete"`)}, 0},
		{"UnknownKind", []string{`{"method":"subscribe",` + only(`"dispatch"`)}, 0},
		{"AfterUnsubscribing", []string{`{"method":"subscribe",` + only(`"create"`), `{"method":"unsubscribe", ` + strings.ReplaceAll(only(`"create"`), ",", " , ")}, 0},
		{"OneOfTwoEqualOnesIsLeft", []string{all, all, `{"method":"unsubscribe"}`}, 1},
		{"Unknown filters match", []string{`{"method":"subscribe","filters":[["uuid","=","nothing"],[1],["event_type","=","delete"]]}`}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := r.dial(ann)
			for _, text := range c.say {
				cl.ask(text, 200)
			}
			cl.ask(`{"method":"subscribe","filters":[["event_type","in",["update"]]]}`, 200)
			make()
			r.cat.content(last)
			if got := len(cl.ids(last)) - 1; got != c.told {
				t.Errorf("it was told %d times; want %d", got, c.told)
			}
		})
	}
}

func TestBadMessagesAreRefusedAndTheSessionGoesOn(t *testing.T) {
	r := newRig(t, Config{})
	c := r.dial(ann)
	for _, text := range []string{"", "{", "[]", `"x"`, `{}`, `{"method":"nonsense"}`, `{"method":"unsubscribe"}`, `{"method":"subscribe","filters":"x"}`,
		`{"method":"subscribe","filters":[3]}`, `{"method":"subscribe","last_log_id":"x"}`, `{"method":"subscribe","filters":[["created_at",">","yesterday"]]}`,
		`{"method":"subscribe","filters":[["event_type","in","create"]]}`, strings.Repeat("[", 100_000)} {
		c.ask(text, 400)
	}
	c.ask(all, 200)
	c.ask(`{"method":"subscribe","keepdav":true}`, 400) // a session is of one kind
	id := r.cat.collection(ann, 1)
	r.cat.content(id)
	if f := c.event(); f.Object != id || f.MsgID != 1 {
		t.Errorf("event %+v", f)
	}
}

func TestAClientHasABoundedNumberOfSubscriptions(t *testing.T) {
	c := newRig(t, Config{}).dial(ann)
	for range maxSubs {
		c.ask(all, 200)
	}
	c.ask(all, 400)
}

func TestWithoutAGoodTokenThereIsNoSession(t *testing.T) {
	r := newRig(t, Config{})
	res, err := http.Get(r.http.URL + "/websocket?api_token=wrong")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestASessionEndsWithItsToken(t *testing.T) {
	var good atomic.Bool
	good.Store(true)
	r := newRig(t, Config{Check: time.Millisecond, Auth: func(*http.Request) (collfs.User, error) {
		if !good.Load() {
			return collfs.User{}, errors.New("revoked")
		}
		return collfs.User{UUID: ann}, nil
	}})
	c := r.subscriber(ann, all)
	good.Store(false)
	if code := c.closed(); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v", code)
	}
}

// An administrator may know of what nobody else can be told to have been able to read.
func TestASessionEndsWhenItsUserIsNoAdministratorAnyMore(t *testing.T) {
	var admin atomic.Bool
	admin.Store(true)
	r := newRig(t, Config{Check: time.Millisecond, Auth: func(*http.Request) (collfs.User, error) {
		return collfs.User{UUID: ann, Admin: admin.Load()}, nil
	}})
	c := r.subscriber(ann, all)
	admin.Store(false)
	if code := c.closed(); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v", code)
	}
}

func TestIdleClientsAreKeptAlive(t *testing.T) {
	c := newRig(t, Config{Idle: time.Millisecond}).dial(ann)
	for range 3 {
		if text := c.text(); text != "{}" {
			t.Fatal(text)
		}
	}
}

func TestSlowReadersAreLeft(t *testing.T) {
	r := newRig(t, Config{})
	slow, quick := r.subscriber(ann, all), r.subscriber(ann, all)
	name := strings.Repeat("x", 20_000)
	for i := range 200 { // more than fits into the buffers of a connection
		id := r.cat.collection(ann, i)
		r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: id, Owner: ann, Name: name})
		if f := quick.event(); f.Object != id {
			t.Fatalf("the quick one is told of %s; want %s", f.Object, id)
		}
	}
	slow.closed()
}

func TestTooLargeFramesEndTheSession(t *testing.T) {
	c := newRig(t, Config{}).dial(ann)
	c.ask(`{"method":"subscribe","x":"`+strings.Repeat("x", 200_000)+`"}`, 200)
	_ = c.conn.Write(t.Context(), websocket.MessageText, make([]byte, maxFrame+10)) // it may be refused before all is sent
	c.closed()
}

func TestClosingTheBusSaysGoodbye(t *testing.T) {
	r := newRig(t, Config{})
	c := r.subscriber(ann, all)
	done := make(chan struct{})
	go func() { defer close(done); r.bus.Close() }()
	if code := c.closed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %v", code)
	}
	<-done
	res, err := http.Get(r.http.URL + "/websocket?api_token=" + string(ann))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: status %d", res.StatusCode)
	}
}

func TestAFailureOfTheCatalogEndsSessionsThatMissSomething(t *testing.T) {
	r := newRig(t, Config{})
	c := r.subscriber(ann, all)
	id := r.cat.collection(ann, 1)
	r.cat.mu.Lock()
	r.cat.broken = errors.New("disk on fire")
	r.cat.mu.Unlock()
	r.cat.content(id)
	if code := c.closed(); code != websocket.StatusInternalError {
		t.Errorf("closed with %v", code)
	}
}

func TestManySessionsAreToldQuickly(t *testing.T) {
	r := newRig(t, Config{})
	var clients []*client
	for range 100 {
		clients = append(clients, r.subscriber(ann, `{"method":"subscribe","keepdav":true}`))
	}
	id := r.cat.collection(ann, 1)
	for i := range 3 {
		r.cat.content(id)
		for _, c := range clients {
			if f := c.event(); f.Properties.Keepdav.Revision != int64(i+2) {
				t.Fatal(f)
			}
		}
	}
}

func TestHashesAreComputedForThoseWhoWantThem(t *testing.T) {
	var computed atomic.Int64
	block := make(chan struct{})
	var r *rig
	r = newRig(t, Config{PDH: func(ctx context.Context, id collfs.UUID) (collfs.PDH, error) {
		computed.Add(1)
		select {
		case <-block:
		case <-ctx.Done():
		}
		return r.cat.hash(id), nil
	}})
	id := r.cat.collection(ann, 1)
	fast := r.subscriber(ann, `{"method":"subscribe","keepdav":true}`)
	for range 10 {
		e := r.cat.content(id)
		if f := fast.event(); f.ID != e.Seq || f.Properties.New.PDH != "" || f.Properties.Keepdav.Revision != e.Revision {
			t.Fatalf("event %+v", f)
		}
	}
	stranger := r.subscriber(bob, all)
	r.cat.content(id)
	fast.event()
	if n := computed.Load(); n != 0 {
		t.Errorf("%d hashes were computed for nobody", n)
	}
	plain := r.subscriber(ann, all)
	var last collfs.Event
	for range 100 {
		last = r.cat.content(id)
		if f := fast.event(); f.ID != last.Seq {
			t.Fatal("a client that wants no hash waits for one")
		}
	}
	close(block)
	told := 0
	for {
		told++
		f := plain.event()
		if f.ID == last.Seq {
			if want := collfs.PDH(fmt.Sprintf("%032d+%d", last.Revision, last.Revision)); f.Properties.New.PDH != want {
				t.Errorf("hash %q; want %q", f.Properties.New.PDH, want)
			}
			break
		}
	}
	if n := computed.Load(); told > 2 || n > 2 {
		t.Errorf("100 changes that came while a hash was computed are %d events, with %d hashes; want at most 2", told, n)
	}
	_ = stranger
}

func TestWhatFollowsFromAnEventIsNotTold(t *testing.T) {
	r := newRig(t, Config{})
	c := r.subscriber(ann, all)
	p, sub := collfs.UUID("zzzzz-j7d0g-000000000000009"), collfs.UUID("zzzzz-j7d0g-000000000000001")
	at := time.Now().Round(0)
	last := r.cat.collection(ann, 99)
	r.cat.put(collfs.Entry{Project: &collfs.Project{UUID: p, Owner: ann, TrashAt: at}})
	r.cat.put(collfs.Entry{Project: &collfs.Project{UUID: sub, Owner: p, TrashAt: at}})
	deep := r.cat.collection(sub, 1)
	// As the store does it: the top, then the rest by UUID.
	for _, e := range []collfs.Event{{UUID: p, Owner: ann}, {UUID: deep, Owner: sub}, {UUID: sub, Owner: p}} {
		e.Kind, e.At = collfs.Trashed, at
		r.cat.happen(e)
	}
	made := r.cat.collection(ann, 2)
	r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: made, Owner: ann, At: at})
	r.cat.happen(collfs.Event{Kind: collfs.ContentChanged, UUID: made, Owner: ann, At: at, Revision: 1})
	r.cat.content(last)
	if got, want := c.ids(last), []collfs.UUID{p, made, last}; !slices.Equal(got, want) {
		t.Errorf("told of %v; want %v", got, want)
	}
}
