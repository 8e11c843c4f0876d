package apitest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"keepdav/collfs"
)

// A bus is one connection to the event bus.
type bus struct {
	user   *user
	queue  chan []byte
	cancel context.CancelFunc
	on     bool // subscribed
}

// log adds an entry to the log and tells those who listen. s.mu must be held.
func (s *Server) log(kind, uuid, owner string, at time.Time, was, is map[string]any) {
	properties := make(map[string]any)
	if was != nil {
		properties["old_attributes"] = was
	}
	if is != nil {
		properties["new_attributes"] = is
	}
	objectKind := "arvados#collection"
	if strings.Contains(uuid, "-j7d0g-") {
		objectKind = "arvados#group"
	}
	entry := map[string]any{
		"kind": "arvados#log", "id": int64(len(s.logs) + 1), "uuid": newUUID("57u5n"), "object_uuid": uuid, "object_owner_uuid": owner,
		"object_kind": objectKind, "event_type": kind, "event_at": at.UTC().Format(time.RFC3339Nano), "properties": properties, "modified_at": stamp(at),
	}
	s.logs = append(s.logs, entry)
	for b := range s.buses {
		if b.on && (s.level(b.user, uuid) >= collfs.CanRead || s.level(b.user, owner) >= collfs.CanRead) {
			s.send(b, entry)
		}
	}
}

func (s *Server) send(b *bus, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	select {
	case b.queue <- text:
	default: // a slow reader is thrown out
		b.cancel()
	}
}

// DropBuses ends all connections of the event bus.
func (s *Server) DropBuses() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.buses {
		b.cancel()
	}
}

// Buses returns how many subscribed connections the event bus has.
func (s *Server) Buses() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.buses {
		if b.on {
			n++
		}
	}
	return n
}

func (s *Server) serveBus(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	u := s.tokens[r.URL.Query().Get("api_token")]
	s.mu.Unlock()
	if u == nil || s.opt.NoWebsocket {
		answer(w, http.StatusUnauthorized, map[string]any{"errors": []string{"Not logged in"}})
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := &bus{user: u, queue: make(chan []byte, 10_000), cancel: cancel}
	s.mu.Lock()
	s.buses[b] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.buses, b)
	}()
	go func() {
		defer cancel()
		for {
			_, frame, err := conn.Read(ctx)
			if err != nil {
				return
			}
			s.frame(b, frame)
		}
	}()
	for {
		select {
		case text := <-b.queue:
			if conn.Write(ctx, websocket.MessageText, text) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) frame(b *bus, frame []byte) {
	var msg struct {
		Method string `json:"method"`
		Last   int64  `json:"last_log_id"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if json.Unmarshal(frame, &msg) != nil || msg.Method != "subscribe" {
		s.send(b, map[string]any{"status": 400})
		return
	}
	b.on = true
	s.send(b, map[string]any{"status": 200})
	if msg.Last > 0 {
		for _, l := range s.logs[min(int(msg.Last), len(s.logs)):] {
			s.send(b, l)
		}
	}
}
