package faulty

import (
	"context"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// A busLink passes the frames of one connection to the event bus on.
type busLink struct {
	stop context.CancelFunc
}

func (b *busLink) cut() { b.stop() }

// serveBus passes the event bus on: of the frames with events, some are told twice, and
// now and then the connection ends.
func (p *Proxy) serveBus(w http.ResponseWriter, r *http.Request) {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	link := &busLink{stop}
	p.mu.Lock()
	p.bus[link] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.bus, link)
		p.mu.Unlock()
	}()
	to := *r.URL
	to.Scheme, to.Host = "ws", p.target.Host
	up, reply, err := websocket.Dial(ctx, to.String(), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": r.Header["Authorization"]}})
	if err != nil {
		status := http.StatusBadGateway
		if reply != nil && reply.StatusCode >= 400 {
			status = reply.StatusCode
		}
		http.Error(w, "a fault", status)
		return
	}
	defer up.CloseNow()
	up.SetReadLimit(-1)
	down, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer down.CloseNow()
	down.SetReadLimit(-1)
	var both sync.WaitGroup
	both.Go(func() {
		defer stop()
		for {
			kind, data, err := down.Read(ctx)
			if err != nil || up.Write(ctx, kind, data) != nil {
				return
			}
		}
	})
	both.Go(func() {
		defer stop()
		for {
			kind, data, err := up.Read(ctx)
			if err != nil {
				return
			}
			times := 1
			switch f, _ := p.roll(r); f {
			case Slow, Busy:
				times = 2
				p.seen[f].Add(1)
			case LostReply, Hang:
				p.seen[f].Add(1)
				return // with the frame, which comes again by its id
			}
			for range times {
				if down.Write(ctx, kind, data) != nil {
					return
				}
			}
		}
	})
	both.Wait()
}
