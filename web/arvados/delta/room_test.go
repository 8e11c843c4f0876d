package delta

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

// countReads counts how often it is read.
type countReads struct {
	io.Reader
	n int
}

func (c *countReads) Read(p []byte) (int, error) {
	c.n++
	return c.Reader.Read(p)
}

func TestLongMessagesWaitForRoom(t *testing.T) {
	e := newEnv(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	c := e.open(e.fs)
	send := func(ctx context.Context, length int64) (reads int, err error) {
		body := &countReads{Reader: strings.NewReader("no message")}
		r := httptest.NewRequest("POST", "/keepdav/v1/collections/"+string(e.id)+"/commit", body).WithContext(ctx)
		r.ContentLength = length
		err = e.handler.commit(httptest.NewRecorder(), call{r, c, writer})
		return body.n, err
	}
	all := 2 * e.handler.conf.MaxMessage
	if !e.handler.room.TryAcquire(all) {
		t.Fatal("there is no room at the start")
	}
	for _, length := range []int64{-1, 100 << 20} {
		if reads, err := send(gone, length); reads != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("without room, a message of %d bytes was read %d times: %v", length, reads, err)
		}
	}
	if reads, err := send(t.Context(), 100); reads == 0 || err == nil {
		t.Errorf("without room, a short message was read %d times: %v", reads, err)
	}
	e.handler.room.Release(all)
	if reads, err := send(t.Context(), -1); reads == 0 || err == nil {
		t.Errorf("a message was read %d times: %v", reads, err)
	}
	if !e.handler.room.TryAcquire(all) {
		t.Error("there is not all of the room at the end")
	}
}
