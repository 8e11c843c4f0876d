package eventbus

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"keepdav/collfs"
)

// A session is one client. Its reader, the goroutine of the request, does what
// the client asks for; its writer sends what is in the queue.
type session struct {
	bus    *Bus
	user   collfs.User
	ctx    context.Context // ends when the session is to be left
	cancel context.CancelFunc
	cut    context.Context // ends when what is being sent is not to be waited for
	cutNow context.CancelFunc
	wake   chan struct{} // tells the writer that there is something in the queue
	room   chan struct{} // tells the reader that there is less
	lane   *lane         // of the reader; nil before the first subscription

	mu     sync.Mutex // guards the fields below
	queue  []outgoing
	subs   []subscription
	from   int64 // the log was read up to here
	code   websocket.StatusCode
	reason string
	ended  bool
}

type subscription struct {
	filter
	since int64 // matches later events
}

// An outgoing message is an event that lacks its beginning, or a whole text.
type outgoing struct {
	text    []byte
	event   bool
	content collfs.UUID // of an event: the collection whose content changed
}

// leave ends the session for a reason; the first one counts.
func (s *session) leave(code websocket.StatusCode, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.code, s.reason = true, code, reason
		s.cancel()
		if code == tooSlow {
			s.cutNow()
		}
	}
}

// fail ends the session because something is wrong here: the client comes again and
// hears of what it missed.
func (s *session) fail(err error) {
	if s.bus.ctx.Err() == nil {
		s.bus.conf.Log.Error().Err(err).Str("user", s.user.Name).Msg("an event cannot be told")
	}
	s.leave(websocket.StatusInternalError, "the server has a problem")
}

// wants reports whether a live session is to be told of e.
func (s *session) wants(e collfs.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && e.Seq > s.from && s.matchesLocked(e, -1)
}

// matchesLocked reports whether a subscription, but for number except, matches e.
// s.mu must be held.
func (s *session) matchesLocked(e collfs.Event, except int) bool {
	for i := range s.subs {
		if sub := &s.subs[i]; i != except && e.Seq > sub.since && sub.matches(e) {
			return true
		}
	}
	return false
}

// push puts a message in the queue. It reports false if there is no room.
func (s *session) push(m outgoing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.content != "" {
		s.queue = slices.DeleteFunc(s.queue, func(o outgoing) bool { return o.content == m.content })
	}
	if len(s.queue) >= maxQueue {
		return false
	}
	s.queue = append(s.queue, m)
	signal(s.wake)
	return true
}

// pushWait is push that waits for room. Only the reader calls it.
func (s *session) pushWait(m outgoing) error {
	for !s.push(m) {
		if err := s.waitRoom(); err != nil {
			return err
		}
	}
	return s.ctx.Err()
}

func (s *session) waitRoom() error {
	select {
	case <-s.room:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *session) pop() (m outgoing, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return m, false
	}
	m = s.queue[0]
	if s.queue = slices.Delete(s.queue, 0, 1); len(s.queue) == 0 {
		s.queue = nil // most sessions are idle most of the time
	}
	signal(s.room)
	return m, true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serve runs the session on a connection until it ends. good says whether the
// user may still be served.
func (s *session) serve(conn *websocket.Conn, good func() bool) {
	conn.SetReadLimit(maxFrame)
	var writer sync.WaitGroup
	writer.Go(func() {
		s.write(conn, good)
		s.mu.Lock()
		code, reason := s.code, s.reason
		s.mu.Unlock()
		// Either fails only when the connection is gone, which is what it is for.
		if code == tooSlow {
			_ = conn.CloseNow()
		} else {
			_ = conn.Close(code, reason)
		}
	})
	s.read(conn)
	s.leave(websocket.StatusNormalClosure, "")
	writer.Wait()
}

// write sends what comes into the queue, and {} when nothing does.
func (s *session) write(conn *websocket.Conn, good func() bool) {
	idle, check := time.NewTimer(s.bus.conf.Idle), time.NewTicker(s.bus.conf.Check)
	defer idle.Stop()
	defer check.Stop()
	var buf []byte
	for number := int64(1); ; {
		select {
		case <-s.ctx.Done():
			return
		case <-check.C:
			if !good() {
				s.leave(websocket.StatusPolicyViolation, "the token is not good any more")
				return
			}
		default:
		}
		m, ok := s.pop()
		switch {
		case !ok:
			select {
			case <-s.wake:
				continue
			case <-check.C:
				if !good() {
					s.leave(websocket.StatusPolicyViolation, "the token is not good any more")
					return
				}
				continue
			case <-s.ctx.Done():
				return
			case <-idle.C:
				buf = append(buf[:0], "{}"...)
			}
		case m.event:
			buf = append(buf[:0], `{"msgID":`...)
			buf = append(strconv.AppendInt(buf, number, 10), ',')
			buf = append(buf, m.text...)
			number++
		default:
			buf = append(buf[:0], m.text...)
		}
		if err := send(s.cut, conn, buf); err != nil {
			s.leave(tooSlow, "")
			return
		}
		idle.Reset(s.bus.conf.Idle)
	}
}

func send(ctx context.Context, conn *websocket.Conn, text []byte) error {
	ctx, stop := context.WithTimeout(ctx, sendTimeout)
	defer stop()
	return conn.Write(ctx, websocket.MessageText, text)
}

// read does what the client asks for until its connection ends.
func (s *session) read(conn *websocket.Conn) {
	// Not s.ctx: its end would cut the connection before the client is told why.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		text, done, err := s.frame(ctx, cancel, conn)
		if err == nil {
			err = s.handle(text)
		}
		done()
		if err != nil {
			return
		}
	}
}

// smallFrame is what a message may have without asking for a place in memory.
const smallFrame = 4 << 10

// frame reads a message. done has to be called when its text isn't needed any more.
func (s *session) frame(ctx context.Context, cancel func(), conn *websocket.Conn) (text []byte, done func(), err error) {
	done = func() {}
	_, r, err := conn.Reader(ctx)
	if err != nil {
		return nil, done, err
	}
	// One that has begun must come to its end: it may hold a place.
	late := time.AfterFunc(sendTimeout, cancel)
	defer late.Stop()
	text = make([]byte, smallFrame)
	n, err := io.ReadFull(r, text)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return text[:n], done, nil
	}
	if err != nil {
		return nil, done, err
	}
	select {
	case s.bus.frames <- struct{}{}:
		done = func() { <-s.bus.frames }
	case <-ctx.Done():
		return nil, done, ctx.Err()
	}
	rest, err := io.ReadAll(r)
	return append(text, rest...), done, err
}

func reply(status int) outgoing {
	text, _ := json.Marshal(map[string]int{"status": status}) // which cannot fail
	return outgoing{text: text}
}

// handle does what a message asks for. An error ends the session.
func (s *session) handle(text []byte) error {
	req, err := parseRequest(text)
	switch {
	case err != nil:
		return s.pushWait(reply(400))
	case req.subscribe:
		return s.subscribe(req)
	case s.unsubscribe(req.filter):
		return s.pushWait(reply(200))
	}
	return s.pushWait(reply(400))
}

// unsubscribe ends a subscription with the same filters, if there is one.
func (s *session) unsubscribe(f filter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.subs, func(sub subscription) bool { return sub.id == f.id })
	if i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	}
	return i >= 0
}

func (s *session) subscribe(req request) error {
	l := s.bus.plain
	if req.keepdav {
		l = s.bus.fast
	}
	s.mu.Lock()
	full := len(s.subs) >= maxSubs
	s.mu.Unlock()
	if full || s.lane != nil && s.lane != l {
		return s.pushWait(reply(400))
	}
	if s.lane == nil {
		s.lane = l
		l.mu.Lock()
		l.members++
		l.mu.Unlock()
	}
	if req.replay {
		return s.subscribeSince(req)
	}
	for {
		// Both at once: no event comes before the reply, none after it is left out.
		l.mu.Lock()
		told := s.push(reply(200))
		if told {
			s.add(req.filter, l.seq)
			l.joinLocked(s)
		}
		l.mu.Unlock()
		if told {
			return s.ctx.Err()
		}
		if err := s.waitRoom(); err != nil {
			return err
		}
	}
}

func (s *session) add(f filter, since int64) (number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs = append(s.subs, subscription{f, since})
	return len(s.subs) - 1
}

func (s *session) leaveLane() {
	l := s.lane
	if l == nil {
		return
	}
	l.mu.Lock()
	l.pauseLocked(s)
	l.members--
	none := l.members == 0
	if none {
		l.queue.Init() // nobody is told, and what comes is not queued
		clear(l.content)
	}
	l.mu.Unlock()
	if none && l.hash != nil {
		l.hash.forgetAll()
	}
}
