package eventbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"keepdav/collfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ann  = collfs.UUID("zzzzz-tpzed-00000000000ann0")
	bob  = collfs.UUID("zzzzz-tpzed-00000000000bob0")
	root = collfs.UUID("zzzzz-tpzed-0000000000admin")
)

// fakeCatalog is a catalog whose events and records tests make up.
type fakeCatalog struct {
	mu      sync.Mutex // guards the fields below
	log     []collfs.Event
	watch   map[int]func(collfs.Event)
	next    int
	entries map[collfs.UUID]collfs.Entry
	shares  map[collfs.UUID]map[collfs.UUID]bool // by user and what they may read
	broken  error
}

func newCatalog() *fakeCatalog {
	c := &fakeCatalog{watch: map[int]func(collfs.Event){}, entries: map[collfs.UUID]collfs.Entry{}, shares: map[collfs.UUID]map[collfs.UUID]bool{}}
	for _, u := range []collfs.UUID{ann, bob, root} {
		c.entries[u] = collfs.Entry{Name: string(u), Project: &collfs.Project{UUID: u, Name: string(u)}}
	}
	return c
}

func (c *fakeCatalog) Watch(notify func(collfs.Event)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.next
	c.next++
	c.watch[n] = notify
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watch, n)
	}
}

func (c *fakeCatalog) LastEvent() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastLocked()
}

func (c *fakeCatalog) lastLocked() int64 {
	if len(c.log) == 0 {
		return 0
	}
	return c.log[len(c.log)-1].Seq
}

func (c *fakeCatalog) Events(_ context.Context, after int64, limit int) ([]collfs.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []collfs.Event
	for _, e := range c.log {
		if e.Seq > after && len(all) < limit {
			if e.Kind == collfs.ContentChanged {
				e.Name = ""
			}
			all = append(all, e)
		}
	}
	return all, c.broken
}

func (c *fakeCatalog) EventBefore(_ context.Context, at time.Time) (seq int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.log {
		if e.At.Before(at) {
			seq = e.Seq
		}
	}
	return seq, nil
}

func (c *fakeCatalog) Entry(_ context.Context, id collfs.UUID) (collfs.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[id]
	if !ok {
		return e, fmt.Errorf("record %s: %w", id, fs.ErrNotExist)
	}
	if e.Collection != nil {
		r := *e.Collection
		e.Collection = &r
	}
	return e, nil
}

func (c *fakeCatalog) Access(_ context.Context, user, id collfs.UUID) (collfs.Level, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	if _, ok := c.entries[id]; !ok {
		return 0, fs.ErrNotExist
	}
	if user == root {
		return collfs.CanManage, nil
	}
	for id != "" {
		if id == user || c.shares[user][id] {
			return collfs.CanRead, nil
		}
		e, ok := c.entries[id]
		switch {
		case !ok:
			id = ""
		case e.Collection != nil:
			id = e.Collection.Owner
		default:
			id = e.Project.Owner
		}
	}
	return collfs.NoAccess, nil
}

// put sets a record.
func (c *fakeCatalog) put(e collfs.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Collection != nil {
		c.entries[e.Collection.UUID] = e
	} else {
		c.entries[e.Project.UUID] = e
	}
}

// happen logs an event and tells of it. Without a number it gets the next one,
// without a time the present one.
func (c *fakeCatalog) happen(e collfs.Event) collfs.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Seq == 0 {
		e.Seq = c.lastLocked() + 1
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	c.log = append(c.log, e)
	if e.Kind == collfs.Deleted {
		delete(c.entries, e.UUID)
	}
	for _, notify := range c.watch {
		notify(e)
	}
	return e
}

// collection makes a collection of an owner without an event.
func (c *fakeCatalog) collection(owner collfs.UUID, n int) collfs.UUID {
	id := collfs.UUID(fmt.Sprintf("zzzzz-4zz18-%015d", n))
	c.put(collfs.Entry{Collection: &collfs.Record{UUID: id, Owner: owner, Name: fmt.Sprint("c", n), Revision: 1}})
	return id
}

// content changes the content of a collection.
func (c *fakeCatalog) content(id collfs.UUID) collfs.Event {
	c.mu.Lock()
	r := c.entries[id].Collection
	r.Revision++
	r.PDH = ""
	e := collfs.Event{UUID: id, Owner: r.Owner, Kind: collfs.ContentChanged, Revision: r.Revision}
	c.mu.Unlock()
	return c.happen(e)
}

// hash computes hashes as a store does: what it computed, the record says.
func (c *fakeCatalog) hash(id collfs.UUID) collfs.PDH {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.entries[id].Collection
	if r == nil {
		return ""
	}
	r.PDH = collfs.PDH(fmt.Sprintf("%032d+%d", r.Revision, r.Revision))
	return r.PDH
}

type rig struct {
	t    testing.TB
	cat  *fakeCatalog
	bus  *Bus
	http *httptest.Server
}

// newRig serves a bus. The token of a user is the user's UUID.
func newRig(t testing.TB, conf Config) *rig {
	t.Helper()
	r := &rig{t: t, cat: newCatalog()}
	conf.Catalog, conf.Cluster, conf.Log = r.cat, "zzzzz", zerolog.Nop()
	if conf.Auth == nil {
		conf.Auth = func(r *http.Request) (collfs.User, error) {
			u := collfs.UUID(r.URL.Query().Get("api_token"))
			if u != ann && u != bob && u != root {
				return collfs.User{}, errors.New("who?")
			}
			return collfs.User{UUID: u, Name: string(u), Admin: u == root}, nil
		}
	}
	if conf.PDH == nil {
		conf.PDH = func(_ context.Context, id collfs.UUID) (collfs.PDH, error) { return r.cat.hash(id), nil }
	}
	r.bus = New(conf)
	r.http = httptest.NewUnstartedServer(r.bus)
	r.http.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		c.(*net.TCPConn).SetWriteBuffer(4 << 10) // so that who doesn't read is soon seen
		return ctx
	}
	r.http.Start()
	t.Cleanup(func() {
		r.bus.Close()
		r.http.Close()
	})
	return r
}

type client struct {
	t    testing.TB
	conn *websocket.Conn
}

func (r *rig) dial(u collfs.UUID) *client {
	r.t.Helper()
	conn, _, err := websocket.Dial(r.t.Context(), strings.Replace(r.http.URL, "http", "ws", 1)+"/websocket?api_token="+string(u), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetReadLimit(16 << 20)
	r.t.Cleanup(func() { conn.CloseNow() })
	return &client{r.t, conn}
}

// subscriber is a client that has sent one subscription.
func (r *rig) subscriber(u collfs.UUID, text string) *client {
	r.t.Helper()
	c := r.dial(u)
	c.ask(text, 200)
	return c
}

const all = `{"method":"subscribe"}`

func (c *client) say(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// ask sends a message and expects a status.
func (c *client) ask(text string, status int) {
	c.t.Helper()
	c.say(text)
	if got := c.text(); got != fmt.Sprintf(`{"status":%d}`, status) {
		c.t.Fatalf("the reply to %s is %s; want status %d", text, got, status)
	}
}

func (c *client) text() string {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer stop()
	_, text, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// frame is an event as a client sees it.
type frame struct {
	MsgID int64 `json:"msgID"`
	message
}

func (c *client) event() frame {
	c.t.Helper()
	text := c.text()
	var f frame
	if err := json.Unmarshal([]byte(text), &f); err != nil || f.MsgID == 0 {
		c.t.Fatalf("%s is no event: %v", text, err)
	}
	return f
}

// ids reads events until one about the last id, and returns what they are about.
func (c *client) ids(last collfs.UUID) (ids []collfs.UUID) {
	c.t.Helper()
	for {
		f := c.event()
		ids = append(ids, f.Object)
		if f.Object == last {
			return ids
		}
	}
}

// closed waits until the server has ended the session, and returns the status.
func (c *client) closed() websocket.StatusCode {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer stop()
	for {
		if _, _, err := c.conn.Read(ctx); err != nil {
			if ctx.Err() != nil {
				c.t.Fatal("the session goes on")
			}
			return websocket.CloseStatus(err)
		}
	}
}
