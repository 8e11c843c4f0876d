package apiserver

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

// offline is a catalog that speaks to nobody.
func offline(t testing.TB) *Catalog {
	t.Helper()
	host, err := api.NewHost(api.Config{Host: "http://127.0.0.1:1", Patience: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{API: host.Client("t"), Blocks: make(handles), Log: zerolog.Nop()})
	t.Cleanup(c.Close)
	return c
}

func frames(t testing.TB) (out []string) {
	t.Helper()
	var all struct {
		Frames []struct{ Received string } `json:"frames"`
	}
	text, err := os.ReadFile("testdata/events.json")
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Frames {
		if f.Received != "" {
			out = append(out, f.Received)
		}
	}
	return out
}

func TestRecordedEventsAreUnderstood(t *testing.T) {
	c := offline(t)
	var got []collfs.Event
	c.events.watchers = []*watcher{{func(e collfs.Event) { got = append(got, e) }}}
	for _, f := range frames(t) {
		_, _ = c.events.frame(t.Context(), []byte(f), true) // 400 is an answer to what was wrong on purpose
	}
	const one, p, q = "zzzzz-4zz18-iqtibgl3l3hz5rc", "zzzzz-j7d0g-mlet407erzgykgz", "zzzzz-j7d0g-luh6icuhio955j1"
	var of []collfs.Event
	for _, e := range got {
		if e.UUID == one {
			of = append(of, e)
		}
	}
	kinds := []collfs.EventKind{collfs.Created}
	for range 7 {
		kinds = append(kinds, collfs.ContentChanged)
	}
	kinds = append(kinds, collfs.RecordChanged, collfs.Trashed, collfs.Untrashed, collfs.Trashed)
	if len(of) != len(kinds) {
		t.Fatalf("%d events of the collection; want %d: %+v", len(of), len(kinds), of)
	}
	for i, e := range of {
		if e.Kind != kinds[i] || e.At.IsZero() {
			t.Errorf("event %d is %+v; want kind %d", i, e, kinds[i])
		}
	}
	if e := of[8]; e.Owner != q || e.OldOwner != p || e.Name != "renamed" || e.OldName != "one" {
		t.Errorf("the move is %+v", e)
	}
	if e := got[len(got)-1]; e.UUID != p || e.Kind != collfs.Trashed {
		t.Errorf("the last event is %+v; want the trash of the project", e)
	}
}

func FuzzEventFrame(f *testing.F) {
	for _, text := range frames(f) {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"object_uuid":"zzzzz-4zz18-iqtibgl3l3hz5rc","event_type":"update","properties":{}}`))
	c := offline(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		_, _ = c.events.frame(t.Context(), frame, true) // only must not panic
	})
}
