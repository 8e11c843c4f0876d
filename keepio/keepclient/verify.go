package keepclient

import (
	"crypto/md5"
	"hash"
	"io"
	"sync"
)

const (
	// copyStep is the most that is read, hashed and passed on at a time.
	copyStep = 128 << 10

	// besideFrom is the size from which on it is worth hashing beside the
	// transfer instead of in turn with it.
	besideFrom = 1 << 20

	stepsBeside = 4 // that wait to be hashed
)

var steps = sync.Pool{New: func() any { return new([copyStep]byte) }}

// A verifier hashes a block while it passes. For a large block that happens in a
// goroutine of its own, so that hashing, receiving and what the sink does take
// place at once: hashing alone takes as long as both others.
type verifier struct {
	hash hash.Hash
	size uint32

	work chan step // nil: hash at once
	free chan *[copyStep]byte
	done chan struct{}
}

type step struct {
	buf *[copyStep]byte
	n   int
}

func newVerifier(size uint32) *verifier {
	v := &verifier{hash: md5.New(), size: size}
	if size < besideFrom {
		return v
	}
	v.work = make(chan step, stepsBeside)
	v.free = make(chan *[copyStep]byte, stepsBeside)
	v.done = make(chan struct{})
	for range stepsBeside {
		v.free <- steps.Get().(*[copyStep]byte)
	}
	go v.run()
	return v
}

// run hashes what comes. It ends when sum closes the channel, and sum waits for
// it.
func (v *verifier) run() {
	defer close(v.done)
	for s := range v.work {
		_, _ = v.hash.Write(s.buf[:s.n]) // never fails
		v.free <- s.buf
	}
}

// copy passes x's body on to sink until it ends and reports how many bytes came
// and what went wrong on either side.
func (v *verifier) copy(sink io.Writer, x *transfer) (n int64, readErr, sinkErr error) {
	var own *[copyStep]byte
	if v.work == nil {
		own = steps.Get().(*[copyStep]byte)
		defer steps.Put(own)
	}
	for {
		buf := own
		if v.work != nil {
			buf = <-v.free
		}
		got, err := x.resp.Body.Read(buf[:])
		n += int64(got)
		if v.work != nil {
			v.work <- step{buf, got}
		} else {
			_, _ = v.hash.Write(buf[:got]) // never fails
		}
		if got > 0 {
			x.hold()
			_, sinkErr = sink.Write(buf[:got])
			x.goOn()
		}
		switch {
		case sinkErr != nil:
			return n, nil, sinkErr
		case err == io.EOF:
			return n, nil, nil
		case err != nil:
			return n, err, nil
		}
	}
}

// sum returns the MD5 of all that passed and ends v.
func (v *verifier) sum() (sum [16]byte) {
	if v.work != nil {
		close(v.work)
		<-v.done
		for range stepsBeside {
			steps.Put(<-v.free)
		}
	}
	v.hash.Sum(sum[:0])
	return sum
}
