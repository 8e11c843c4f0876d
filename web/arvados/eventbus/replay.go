package eventbus

import (
	"time"

	"keepdav/collfs"
)

const replayPage = 500

// subscribeSince adds a subscription that begins in the past. Meanwhile all that
// the session is told comes from the log, until nothing is left there.
func (s *session) subscribeSince(req request) error {
	l := s.lane
	l.mu.Lock()
	l.pauseLocked(s)
	begin := l.seq // the lane has told the other subscriptions up to here
	l.mu.Unlock()
	sub := s.add(req.filter, min(req.since, begin))
	if err := s.pushWait(reply(200)); err != nil {
		return err
	}
	now := time.Now()
	oldest, err := s.bus.conf.Catalog.EventBefore(s.bus.ctx, now.Add(-replayTime))
	if err != nil {
		s.fail(err)
		return err
	}
	r := replay{s: s, sub: sub, begin: begin}
	pos := min(max(req.since, oldest), begin)
	for {
		l.mu.Lock()
		target := l.seq
		l.mu.Unlock()
		events, err := s.bus.conf.Catalog.Events(s.bus.ctx, pos, replayPage)
		if err != nil {
			s.fail(err)
			return err
		}
		for _, e := range events {
			if err := r.tell(e); err != nil {
				return err
			}
			pos = e.Seq
		}
		if len(events) == replayPage {
			continue
		}
		pos = max(pos, target) // there is nothing in between
		if s.goLive(pos) {
			return nil
		}
	}
}

// goLive makes s live if its lane isn't beyond pos.
func (s *session) goLive(pos int64) bool {
	l := s.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seq > pos {
		return false
	}
	s.mu.Lock()
	s.from = pos
	s.mu.Unlock()
	l.joinLocked(s)
	return true
}

// A replay tells one session of what is in the log.
type replay struct {
	s     *session
	sub   int   // the subscription that it is for
	begin int64 // what is later, no subscription was told of
	kin   kin
}

// wanted reports whether the session is to be told of e, and hasn't been yet.
func (r *replay) wanted(e collfs.Event) bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Seq > r.begin {
		return s.matchesLocked(e, -1)
	}
	sub := &s.subs[r.sub]
	return e.Seq > sub.since && sub.matches(e) && !s.matchesLocked(e, r.sub)
}

// tell sends e, waiting for the client.
func (r *replay) tell(e collfs.Event) error {
	s, b := r.s, r.s.bus
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if r.kin.implied(s.lane, e) || !r.wanted(e) {
		return nil
	}
	access := readers{bus: b, e: e}
	ok, moved, err := access.of(s.user)
	if err != nil {
		s.fail(err)
		return err
	}
	var p Properties
	switch {
	case ok:
		entry, err := b.entry(e)
		if err != nil {
			s.fail(err)
			return err
		}
		var is, was collfs.PDH
		if c := entry.Collection; c != nil && s.lane.hash != nil && (e.Revision == c.Revision || e.Kind == collfs.Created && c.Revision <= 1) {
			is = c.PDH // if it is known
			if e.Kind != collfs.ContentChanged {
				was = is
			}
		}
		p = Describe(e, entry, was, is)
	case moved && s.lane.hash == nil:
		e, p = away(e)
	default:
		return nil
	}
	text, err := encode(b.conf.Cluster, e, p)
	if err != nil {
		s.fail(err)
		return err
	}
	return s.pushWait(outgoing{text: text, event: true, content: contentOf(e)})
}
