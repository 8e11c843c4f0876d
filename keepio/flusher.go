package keepio

import "context"

// writebackStep is how much of a stream is sent to the disk at a time.
const writebackStep = 4 << 20

// A flusher starts writing out what streams append while they go on, so that
// the sync at their end is short. It works in a goroutine of its own because
// the kernel makes the caller wait when the disk's queue is full.
type flusher struct {
	spool *Spool
	work  chan flush
}

type flush struct {
	f      file
	off, n int64
}

func newFlusher(s *Spool) *flusher { return &flusher{spool: s, work: make(chan flush, 64)} }

// wrote notes that a stream appended n bytes to bf at off.
func (fl *flusher) wrote(bf *blockFile, off, n uint32) {
	from, to := off/writebackStep, (off+n)/writebackStep
	if from == to || fl.spool.cfg.NoSync || fl.spool.cfg.Remote {
		return
	}
	bf.mu.Lock()
	f := bf.f
	bf.mu.Unlock()
	select {
	case fl.work <- flush{f, int64(from) * writebackStep, int64(to-from) * writebackStep}:
	default: // the disk is behind anyway
	}
}

func (fl *flusher) run(ctx context.Context) {
	for {
		select {
		case w := <-fl.work:
			w.f.Writeback(w.off, w.n)
		case <-ctx.Done():
			return
		}
	}
}
