package keeptest

import (
	"io"
	"net"
	"net/http"
	"time"
)

// A Fault is what a server does wrong with a request. Fields that are zero
// change nothing.
type Fault struct {
	Method string // of the requests it is for; "": any
	Times  int    // how many; 0: one, negative: all

	Status     int // instead of doing what is asked, with Body and RetryAfter
	Body       string
	RetryAfter string
	Vary       string // keepstore's own word has "X-Keep-Signature"

	Hang  bool // no reply until the client has gone
	Reset bool // the connection is reset

	// Of GET:
	Truncate int           // the reply ends so many bytes before its end
	Corrupt  bool          // a byte is wrong
	Length   int64         // Content-Length says so
	Step     int           // bytes are sent in steps of so many,
	Trickle  time.Duration // one for each such time

	// Of PUT:
	Early     bool   // reply before the body has been read, which is dropped
	Locator   string // the reply's body
	Replicas  string // the header of that name
	NoClasses bool   // the header about storage classes is missing
}

// takeFault returns the next fault for a method and uses it up. No fault is nil.
func takeFault(faults *[]Fault, method string) *Fault {
	for i := range *faults {
		f := &(*faults)[i]
		if f.Method != "" && f.Method != method {
			continue
		}
		taken := *f
		switch {
		case f.Times > 1:
			f.Times--
		case f.Times >= 0:
			*faults = append((*faults)[:i:i], (*faults)[i+1:]...)
		}
		return &taken
	}
	return nil
}

// apply does what f says instead of an answer, if it says so.
func (f *Fault) apply(w http.ResponseWriter, r *http.Request) (done bool) {
	switch {
	case f == nil:
		return false
	case f.Hang:
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client goes
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case f.Reset:
		reset(w)
		return true
	case f.Status != 0:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		w.Header().Set("Vary", f.Vary)
		http.Error(w, f.Body, f.Status)
		return true
	}
	return false
}

func reset(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	c, _, err := h.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
