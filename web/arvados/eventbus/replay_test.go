package eventbus

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"keepdav/collfs"
)

func since(id int64, more string) string {
	return fmt.Sprintf(`{"method":"subscribe","last_log_id":%d%s}`, id, more)
}

func TestReconnectedClientsHearWhatTheyMissed(t *testing.T) {
	r := newRig(t, Config{})
	old := r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: r.cat.collection(ann, 1), Owner: ann, At: time.Now().Add(-11 * time.Minute)})
	first := r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: r.cat.collection(ann, 2), Owner: ann, At: time.Now().Add(-9 * time.Minute)})
	other := r.cat.content(r.cat.collection(bob, 3))
	third := r.cat.content(r.cat.collection(ann, 4))
	r.bus.Close() // and it starts anew, with all of this in the log
	r2 := newRig(t, Config{})
	r2.cat.log, r2.cat.entries = r.cat.log, r.cat.entries
	r2.bus.fast.seq, r2.bus.plain.seq = third.Seq, third.Seq
	for _, c := range []struct {
		name string
		text string
		want []int64
	}{
		{"All of ten minutes", since(0, ""), []int64{first.Seq, third.Seq}},
		{"After one", since(first.Seq, ""), []int64{third.Seq}},
		{"Before the log", since(-5, ""), []int64{first.Seq, third.Seq}},
		{"Nothing", since(third.Seq, ""), nil},
		{"From the future", since(1<<40, ""), nil},
		{"Of one kind", since(0, `,"filters":[["event_type","in",["create"]]]`), []int64{first.Seq}},
		{"Since a moment", since(0, `,"filters":[["created_at",">=",`+quote(time.Now().Add(-time.Minute))+`]]`), []int64{third.Seq}},
		{"Keepdav", since(0, `,"keepdav":true`), []int64{first.Seq, third.Seq}},
		{"In two subscriptions", since(old.Seq, `,"filters":[["event_type","in",["create"]]]`) + "\n" + since(old.Seq, ""), []int64{first.Seq, third.Seq}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := r2.dial(ann)
			for _, text := range lines(c.text) {
				cl.say(text)
			}
			mark := r2.cat.collection(ann, 99)
			var got []int64
			for replies := len(lines(c.text)); ; {
				text := cl.text()
				if text == `{"status":200}` {
					if replies--; replies == 0 {
						r2.cat.happen(collfs.Event{Kind: collfs.Created, UUID: mark, Owner: ann})
					}
					continue
				}
				f := parse(t, text)
				if f.Object == mark {
					break
				}
				got = append(got, f.ID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("told of %v; want %v (%d is another's)", got, c.want, other.Seq)
			}
		})
		r2.cat.mu.Lock()
		r2.cat.log = slices.DeleteFunc(r2.cat.log, func(e collfs.Event) bool { return e.Seq > third.Seq })
		r2.cat.mu.Unlock()
		for _, l := range []*lane{r2.bus.fast, r2.bus.plain} {
			l.mu.Lock()
			l.seq = third.Seq
			l.mu.Unlock()
		}
	}
}

func TestNothingIsLostOrToldTwiceBetweenLogAndPresent(t *testing.T) {
	r := newRig(t, Config{})
	const n = 1000
	ids := make([]collfs.UUID, n)
	for i := range ids {
		ids[i] = r.cat.collection(ann, i)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, id := range ids {
			r.cat.happen(collfs.Event{Kind: collfs.Created, UUID: id, Owner: ann})
		}
	}()
	last := int64(0)
	for last < n {
		c := r.dial(ann) // again and again: some are too slow, which is no harm
		c.say(since(last, `,"keepdav":true`))
		if c.text() != `{"status":200}` {
			t.Fatal("no reply")
		}
		for stop := last + n/7; last < min(stop, n); {
			f := c.event()
			if f.ID != last+1 || f.Object != ids[last] {
				t.Fatalf("event %d follows %d", f.ID, last)
			}
			last = f.ID
		}
		c.conn.CloseNow()
	}
	<-done
}
