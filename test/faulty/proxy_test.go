package faulty

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// behind starts a proxy with one fault in front of a server that counts what reaches it
// whole, and returns its URL.
func behind(t *testing.T, f Fault, body []byte) (proxy string, whole *atomic.Int64) {
	t.Helper()
	whole = new(atomic.Int64)
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}))
	t.Cleanup(good.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(l, Config{Target: good.URL, Rate: 100, Of: []Fault{f}, HangFor: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return "http://" + l.Addr().String(), whole
}

func TestFaultsAreWhatTheyAreCalled(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	block := fmt.Sprintf("/%x+%d", md5.Sum(data), len(data))
	for f, want := range map[Fault]struct {
		reached bool // the server did its work
		reply   func(status int, body []byte, err error) bool
	}{
		Sound:       {true, func(s int, b []byte, err error) bool { return s == 200 && bytes.Equal(b, data) && err == nil }},
		Refused:     {false, func(s int, b []byte, err error) bool { return s >= 500 }},
		Busy:        {false, func(s int, b []byte, err error) bool { return s == 503 }},
		CutRequest:  {false, func(s int, b []byte, err error) bool { return err != nil }},
		LostReply:   {true, func(s int, b []byte, err error) bool { return s == 0 && err != nil }},
		LateError:   {true, func(s int, b []byte, err error) bool { return s == 502 }},
		ShortReply:  {true, func(s int, b []byte, err error) bool { return len(b) < len(data) && err != nil }},
		Hang:        {false, func(s int, b []byte, err error) bool { return s == 0 && err != nil }},
		Slow:        {true, func(s int, b []byte, err error) bool { return s == 200 && bytes.Equal(b, data) && err == nil }},
		FlippedBit:  {true, func(s int, b []byte, err error) bool { return s == 200 && len(b) == len(data) && !bytes.Equal(b, data) }},
		Conflict409: {false, func(s int, b []byte, err error) bool { return s == 409 }},
	} {
		t.Run(f.String(), func(t *testing.T) {
			url, whole := behind(t, f, data)
			method, path, body := http.MethodPut, "/x", io.Reader(strings.NewReader("some body"))
			switch f {
			case FlippedBit:
				method, path, body = http.MethodGet, block, nil
			case Conflict409:
				method, path = http.MethodPost, "/collections/x/commit"
			}
			r, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			reply, err := http.DefaultClient.Do(r)
			var status int
			var got []byte
			if err == nil {
				status = reply.StatusCode
				got, err = io.ReadAll(reply.Body)
				reply.Body.Close()
			}
			if !want.reply(status, got, err) {
				t.Errorf("the client sees %d, %d bytes, %v", status, len(got), err)
			}
			if reached := whole.Load() > 0; reached != want.reached {
				t.Errorf("the server has done its work: %v; want %v", reached, want.reached)
			}
		})
	}
}

func TestServerThatIsDownAnswersNobody(t *testing.T) {
	url, _ := behind(t, Sound, []byte("x"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(l, Config{Target: url})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	get := func() error {
		reply, err := http.Get("http://" + l.Addr().String())
		if err == nil {
			reply.Body.Close()
		}
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	p.Down(true)
	if err := get(); err == nil {
		t.Error("it answers though it is down")
	}
	p.Down(false)
	if err := get(); err != nil {
		t.Errorf("it is up again: %v", err)
	}
}
