package eventbus

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"keepdav/collfs"
)

// A request is a message from a client.
type request struct {
	subscribe bool // else unsubscribe
	filter    filter
	since     int64 // last_log_id
	replay    bool  // it was given
	keepdav   bool
}

// A filter is what a subscription matches: kinds of events, and a span of time. It is of a
// fixed size, however long the client's text is.
type filter struct {
	id       [sha256.Size]byte // of the text
	types    uint8             // bits of typeBits
	from, to int64             // nanoseconds since 1970, both included
}

var typeBits = map[string]uint8{"create": 1, "update": 2, "delete": 4}

const allTypes = 7

var errRequest = errors.New("message is malformed")

// parseRequest reads a message from a client.
func parseRequest(text []byte) (request, error) {
	var m struct {
		Method    string          `json:"method"`
		Filters   json.RawMessage `json:"filters"`
		LastLogID *int64          `json:"last_log_id"`
		Keepdav   bool            `json:"keepdav"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return request{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	r := request{keepdav: m.Keepdav}
	switch m.Method {
	case "subscribe":
		r.subscribe = true
	case "unsubscribe":
	default:
		return r, fmt.Errorf("%w: unknown method", errRequest)
	}
	if m.LastLogID != nil {
		r.since, r.replay = *m.LastLogID, true
	}
	var err error
	r.filter, err = parseFilter(m.Filters)
	return r, err
}

// parseFilter reads the filters of a subscription. Those that aren't known match
// everything.
func parseFilter(text json.RawMessage) (filter, error) {
	f := filter{types: allTypes, from: math.MinInt64, to: math.MaxInt64}
	var all [][]json.RawMessage
	if len(text) > 0 {
		if err := json.Unmarshal(text, &all); err != nil {
			return f, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	if len(all) == 0 {
		text = nil // however that is written
	}
	var compact bytes.Buffer
	if text != nil {
		if err := json.Compact(&compact, text); err != nil {
			return f, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	f.id = sha256.Sum256(compact.Bytes())
	for _, one := range all {
		if err := f.add(one); err != nil {
			return f, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	return f, nil
}

// add narrows f to what another filter matches as well.
func (f *filter) add(one []json.RawMessage) error {
	var attr, op string
	if len(one) != 3 || json.Unmarshal(one[0], &attr) != nil || json.Unmarshal(one[1], &op) != nil {
		return nil
	}
	switch {
	case attr == "event_type" && op == "in":
		var names []string
		if err := json.Unmarshal(one[2], &names); err != nil {
			return err
		}
		bits := uint8(0)
		for _, name := range names {
			bits |= typeBits[name]
		}
		f.types &= bits
	case attr == "created_at":
		var at time.Time
		if err := json.Unmarshal(one[2], &at); err != nil {
			return err
		}
		f.within(op, at)
	}
	return nil
}

// within narrows f to one side of a moment.
func (f *filter) within(op string, at time.Time) {
	t := nanosOf(at)
	switch op {
	case ">=":
		f.from = max(f.from, t)
	case ">":
		f.from = max(f.from, t+1)
	case "<=":
		f.to = min(f.to, t)
	case "<":
		f.to = min(f.to, t-1)
	case "=":
		f.from, f.to = max(f.from, t), min(f.to, t)
	}
}

// nanosOf is at in nanoseconds since 1970; far times are as far as these reach.
func nanosOf(at time.Time) int64 {
	const edge = math.MaxInt64 / int64(time.Second)
	switch s := at.Unix(); {
	case s >= edge:
		return math.MaxInt64 - 1
	case s <= -edge:
		return math.MinInt64 + 1
	}
	return at.UnixNano()
}

func (f *filter) matches(e collfs.Event) bool {
	t := e.At.UnixNano()
	return f.types&typeBits[EventType(e.Kind)] != 0 && f.from <= t && t <= f.to
}
