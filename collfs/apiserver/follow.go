package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

const (
	maxFrame   = 4 << 20         // bytes of one message of the event bus
	maxSilence = 3 * time.Minute // the bus says something each minute
	firstPause = 100 * time.Millisecond
	lastPause  = 15 * time.Second // between attempts to connect
	dialTime   = 30 * time.Second
)

var eventTypes = []string{"create", "update", "delete"}

// follow listens to what others do until close: on the event bus, or by asking for
// the log while there is none.
func (v *events) follow() {
	pause := firstPause
	var polled time.Time
	for v.ctx.Err() == nil {
		if !v.c.conf.NoWebsocket {
			heard, err := v.listen(v.ctx)
			if v.ctx.Err() != nil {
				return
			}
			if heard {
				pause = firstPause
			}
			v.c.conf.Log.Debug().Str("error", v.c.api.Clean(err)).Msg("no event bus: the log is asked instead")
		}
		if time.Since(polled) >= v.c.conf.Poll {
			polled = time.Now()
			if err := v.poll(v.ctx); err != nil && v.ctx.Err() == nil {
				v.c.conf.Log.Warn().Str("error", v.c.api.Clean(err)).Msg("what others change is not known for now")
			}
		}
		wait := min(pause, v.c.conf.Poll)
		if v.c.conf.NoWebsocket {
			wait = v.c.conf.Poll
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-t.C:
		case <-v.ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// subscription is what is asked of the event bus.
type subscription struct {
	Method  string       `json:"method"`
	Filters []api.Filter `json:"filters"`
	LastLog int64        `json:"last_log_id,omitempty"`
	Keepdav bool         `json:"keepdav,omitempty"` // revisions instead of hashes
}

// listen connects to the event bus and takes what comes until that ends. heard says
// whether it was of use.
func (v *events) listen(ctx context.Context) (heard bool, err error) {
	d, err := v.c.api.Discovery(ctx)
	if err != nil {
		return false, err
	}
	x, err := v.c.extension(ctx)
	if err != nil {
		return false, err
	}
	u, err := url.Parse(d.WebsocketURL)
	if err != nil || d.WebsocketURL == "" {
		return false, errors.New("the cluster has no event bus")
	}
	q := u.Query()
	q.Set("api_token", v.c.api.Token())
	u.RawQuery = q.Encode()
	dial, cancel := context.WithTimeout(ctx, dialTime)
	conn, resp, err := websocket.Dial(dial, u.String(), &websocket.DialOptions{HTTPClient: v.c.api.Host().HTTP()})
	cancel()
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxFrame)
	v.mu.Lock()
	sub := subscription{Method: "subscribe", Filters: []api.Filter{{"event_type", "in", eventTypes}}, LastLog: v.lastLog, Keepdav: x != nil}
	v.mu.Unlock()
	text, err := json.Marshal(sub)
	if err != nil {
		return false, err
	}
	if err := conn.Write(ctx, websocket.MessageText, text); err != nil {
		return false, err
	}
	for {
		read, cancel := context.WithTimeout(ctx, maxSilence)
		_, frame, err := conn.Read(read)
		cancel()
		if err != nil {
			return heard, err
		}
		was := heard
		if heard, err = v.frame(ctx, frame, heard); err != nil {
			return heard, err
		}
		if heard && !was { // from now on nothing is missed; what was before is looked at
			if err := v.revalidate(ctx); err != nil {
				return heard, err
			}
		}
	}
}

// frame takes one message. subscribed says whether the subscription was accepted.
func (v *events) frame(ctx context.Context, frame []byte, subscribed bool) (bool, error) {
	var msg struct {
		Status int `json:"status"`
		api.Log
	}
	if err := json.Unmarshal(frame, &msg); err != nil {
		return subscribed, fmt.Errorf("message of the event bus: %w", err)
	}
	switch {
	case msg.Status == 200:
		return true, nil
	case msg.Status != 0:
		return subscribed, fmt.Errorf("the event bus refuses the subscription: %d", msg.Status)
	case msg.ObjectUUID != "":
		v.heard(ctx, &msg.Log)
	}
	return subscribed, nil
}

// poll asks for what has come into the log.
func (v *events) poll(ctx context.Context) error {
	v.mu.Lock()
	last := v.lastLog
	v.mu.Unlock()
	first := last == 0
	for {
		var page struct {
			Items []api.Log `json:"items"`
		}
		p := api.Params{"count": "none", "select": []string{"id", "uuid", "object_uuid", "object_owner_uuid", "event_type", "event_at", "properties"}}
		if first {
			since := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
			p["order"], p["limit"], p["filters"] = "id desc", 1, []api.Filter{{"event_at", ">", since}}
		} else {
			p["order"], p["limit"], p["filters"] = "id asc", 1000, []api.Filter{{"id", ">", last}, {"event_type", "in", eventTypes}}
		}
		if err := v.c.api.Get(ctx, "logs", p, &page); err != nil {
			return err
		}
		if first {
			v.mu.Lock()
			for _, l := range page.Items {
				v.lastLog = max(v.lastLog, l.ID)
			}
			v.mu.Unlock()
			return v.revalidate(ctx)
		}
		before := last
		for i := range page.Items {
			v.heard(ctx, &page.Items[i])
			last = max(last, page.Items[i].ID)
		}
		if last == before {
			return nil
		}
	}
}

// revalidateAtOnce is of how many collections one request asks.
const revalidateAtOnce = 200

// revalidate looks at all collections that are known: while nobody listened, they
// may have changed.
func (v *events) revalidate(ctx context.Context) error {
	var ids []string
	v.c.mu.Lock()
	for id := range v.c.entries {
		ids = append(ids, id)
	}
	v.c.mu.Unlock()
	x, err := v.c.extension(ctx)
	if err != nil {
		return err
	}
	if x != nil {
		return v.revalidateExtended(ctx, x, ids)
	}
	for len(ids) > 0 {
		n := min(len(ids), revalidateAtOnce)
		if err := v.revalidateSome(ctx, ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

func (v *events) revalidateSome(ctx context.Context, ids []string) error {
	missing := make(map[string]bool, len(ids))
	for _, id := range ids {
		if e := v.c.known(id); e != nil && kindOf(id) == kindCollection {
			e.mu.Lock()
			missing[id] = e.seen
			e.mu.Unlock()
		}
	}
	pages := api.Pages(ctx, v.c.api, "collections", api.Params{"select": recordFields}, []api.Filter{{"uuid", "in", ids}},
		func(k *api.Collection) string { return k.UUID })
	for got, err := range pages {
		if err != nil {
			return err
		}
		delete(missing, got.UUID)
		v.c.saw(got)
	}
	for id, seen := range missing {
		if !seen {
			continue
		}
		got, err := v.c.get(ctx, id, recordFields)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e := v.c.known(id)
			if e == nil {
				continue
			}
			e.mu.Lock()
			ev := v.c.event(id, collfs.Deleted, e.revision, &e.record)
			e.mu.Unlock()
			v.c.mu.Lock()
			delete(v.c.entries, id)
			v.c.mu.Unlock()
			v.tell([]collfs.Event{ev})
		case err != nil:
			return err
		default:
			v.c.saw(got)
		}
	}
	return nil
}
