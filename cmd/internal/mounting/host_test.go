package mounting

import (
	"context"
	"os"
	"testing"

	"github.com/rs/zerolog"

	"keepdav/davfs"
	"keepdav/davfs/fusefs"
)

// endingMount ends when over is closed.
type endingMount struct {
	over   chan struct{}
	closed chan struct{}
}

func (m *endingMount) Wait()                             { <-m.over }
func (m *endingMount) Close()                            { close(m.closed) }
func (m *endingMount) Flush(context.Context, bool) error { return nil }
func (m *endingMount) Stats() (s fusefs.Stats)           { return s }

// A server goes on after the mounts of its guests: what they held would be held for
// ever.
func TestMountThatHasEndedHoldsNothing(t *testing.T) {
	m := &endingMount{make(chan struct{}), make(chan struct{})}
	h := NewHost(nil, func(_ string, _ *davfs.FS, o fusefs.Options) (Mounted, error) {
		return m, os.NewFile(uintptr(o.Device), "device").Close()
	}, true, zerolog.Nop())
	dev, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	side, err := h.start("/nowhere", "0:0", nil, dev, &Request{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	close(m.over)
	<-side.ended()
	select {
	case <-m.closed:
	default:
		t.Error("the mount has ended and was not closed")
	}
}
