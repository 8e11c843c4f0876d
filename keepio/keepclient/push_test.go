package keepclient

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

// holders counts the stores that have data.
func holders(k *keeptest.Cluster, data []byte) (n int) {
	for _, s := range k.Stores {
		if bytes.Equal(s.Block(md5.Sum(data)), data) {
			n++
		}
	}
	return n
}

func TestPushUsesTheFirstServersInProbeOrder(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 5, Replicas: 2})
	c := client(t, k, nil)
	for i := range 10 {
		data := storetest.Data(uint64(i), 2000)
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Fatal(err)
		}
		order := probed(k, data)
		if holders(k, data) != 2 || order[0].Block(md5.Sum(data)) == nil || order[1].Block(md5.Sum(data)) == nil {
			t.Errorf("block %d is on %d stores, or on others than the first two", i, holders(k, data))
		}
	}
}

func TestPushGoesOnWhereAServerFails(t *testing.T) {
	data := storetest.Data(1, 300<<10)
	other := keepio.MakeLocator(md5.Sum(nil), 0).String()
	for _, f := range []keeptest.Fault{
		{Status: 500}, {Status: 503}, {Status: 507}, {Status: 413}, {Status: 403}, {Status: 302}, {Reset: true}, {Status: 204}, {Status: 201},
		{Locator: other}, {Locator: "nonsense"}, {Locator: keepio.MakeLocator(md5.Sum(data), 17).String()},
		{Replicas: "0"}, {Replicas: "-1"}, {Replicas: "many"},
	} {
		k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 2})
		c := client(t, k, nil)
		probed(k, data)[0].Inject(f)
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Errorf("Push with %+v: %v", f, err)
		}
		for _, s := range probed(k, data)[1:] {
			if s.Block(md5.Sum(data)) == nil {
				t.Errorf("Push with %+v did not go on to the third server", f)
			}
		}
	}
}

func TestPushSaysWhatAllServersComeTo(t *testing.T) {
	data := storetest.Data(2, 1000)
	for _, c := range []struct {
		name   string
		faults [2]keeptest.Fault
		want   error
	}{
		{"full", [2]keeptest.Fault{{Status: 507}, {Status: 507}}, keepio.ErrFull},
		{"one full", [2]keeptest.Fault{{Status: 507}, {}}, keepio.ErrFull},
		{"full and down", [2]keeptest.Fault{{Status: 507}, {Status: 500}}, keepio.ErrUnavailable},
		{"refused", [2]keeptest.Fault{{Status: 401}, {Status: 403}}, fs.ErrPermission},
		{"too large", [2]keeptest.Fault{{Status: 413}, {Status: 413}}, keepio.ErrTooLarge},
		{"down", [2]keeptest.Fault{{Reset: true}, {Status: 503}}, keepio.ErrUnavailable},
		{"spoilt on the way", [2]keeptest.Fault{{Status: 400}, {Status: 400}}, keepio.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keeptest.New(t, keeptest.Options{Stores: 2, Replicas: 2})
			cl := client(t, k, nil)
			for i, s := range k.Stores {
				if f := c.faults[i]; f != (keeptest.Fault{}) {
					f.Times, f.Body = -1, "message of "+s.UUID
					s.Inject(f)
				}
			}
			err := pushBlock(t.Context(), t, cl, data)
			if !errors.Is(err, c.want) {
				t.Errorf("Push: %v; want %v", err, c.want)
			}
			for i, s := range k.Stores {
				if c.faults[i].Status != 0 && !strings.Contains(err.Error(), "message of "+s.UUID) {
					t.Errorf("Push: %v; want the message of each server", err)
				}
			}
			if _, ok := cl.Locator(md5.Sum(data), 1000); ok {
				t.Error("a block that is not stored has a locator")
			}
		})
	}
}

func TestTooFewServersAreAnError(t *testing.T) {
	data := storetest.Data(3, 1000)
	k := keeptest.New(t, keeptest.Options{Stores: 2, Replicas: 3})
	if err := pushBlock(t.Context(), t, client(t, k, nil), data); !errors.Is(err, keepio.ErrUnavailable) || !strings.Contains(err.Error(), "2 of 3 replicas") {
		t.Errorf("Push of three replicas to two stores: %v", err)
	}
	k = keeptest.New(t, keeptest.Options{Stores: 2, Replicas: 2})
	k.Stores[0].SetReadOnly(true)
	if err := pushBlock(t.Context(), t, client(t, k, nil), data); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("Push of two replicas to one writable store: %v", err)
	}
	if k.Stores[0].Len() != 0 {
		t.Error("a read-only store was written to")
	}
}

func TestReplicasAreCountedFromTheReply(t *testing.T) {
	data := storetest.Data(4, 1000)
	k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 2})
	probed(k, data)[0].Inject(keeptest.Fault{Replicas: "2", NoClasses: true}) // a volume that replicates
	probed(k, data)[1].Inject(keeptest.Fault{Status: 500})
	probed(k, data)[2].Inject(keeptest.Fault{Status: 500})
	if err := pushBlock(t.Context(), t, client(t, k, nil), data); err != nil || holders(k, data) != 1 {
		t.Errorf("Push = %v with copies on %d stores; want one that counts twice", err, holders(k, data))
	}
}

func TestStorageClassesAreCountedFromTheReply(t *testing.T) {
	data := storetest.Data(5, 1000)
	k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 2, Classes: []string{"fast", "safe"}})
	if err := pushBlock(t.Context(), t, client(t, k, nil), data); err != nil || holders(k, data) != 2 {
		t.Errorf("Push to two classes: %v, on %d stores", err, holders(k, data))
	}
	for _, r := range probed(k, data)[0].Requests() {
		if got := r.Header.Get("X-Keep-Storage-Classes"); got != "fast, safe" {
			t.Errorf("X-Keep-Storage-Classes = %q; want those of the cluster", got)
		}
	}
	unknown := clientOf(t, ServersConfig{API: k.API, StorageClasses: []string{"nosuch"}}, k.Token, nil)
	if err := pushBlock(t.Context(), t, unknown, storetest.Data(6, 10)); !errors.Is(err, keepio.ErrFull) {
		t.Errorf("Push to an unknown class: %v; want ErrFull, as keepstore says it", err)
	}
	none := clientOf(t, ServersConfig{API: k.API, StorageClasses: []string{}, Replicas: 1}, k.Token, nil)
	data = storetest.Data(7, 10)
	if err := pushBlock(t.Context(), t, none, data); err != nil || holders(k, data) != 1 {
		t.Errorf("Push of one replica to no class: %v, on %d stores", err, holders(k, data))
	}
}

func TestTallyOfReplicasAndClasses(t *testing.T) {
	type reply struct{ replicas, confirmed string }
	for _, c := range []struct {
		name    string
		classes []string
		replies []reply
		missing []int // after each
	}{
		{"replicas", nil, []reply{{"1", ""}, {"1", ""}}, []int{1, 0}},
		{"no header is one", nil, []reply{{"", ""}, {"", ""}}, []int{1, 0}},
		{"two classes at once", []string{"a", "b"}, []reply{{"1", "a=1, b=1"}, {"1", "a=1, b=1"}}, []int{1, 0}},
		{"one class late", []string{"a", "b"}, []reply{{"2", "a=2"}, {"1", "b=1"}, {"1", "b=1"}}, []int{2, 1, 0}},
		{"more than wanted", []string{"a"}, []reply{{"5", "a=5, c=1"}}, []int{0}},
		{"none confirmed", []string{"a"}, []reply{{"1", "b=1"}, {"1", "b=1"}}, []int{2, 2}},
		{"one does not report", []string{"a"}, []reply{{"1", "a=1"}, {"1", ""}}, []int{1, 0}},
		{"one reports nonsense", []string{"a"}, []reply{{"1", "a"}, {"1", "a=x"}}, []int{1, 0}},
	} {
		tally := newTally(settings{replicas: 2, classes: c.classes})
		loc := keepio.MakeLocator(md5.Sum([]byte("foo")), 3)
		for i, r := range c.replies {
			h := http.Header{}
			if r.replicas != "" {
				h.Set("X-Keep-Replicas-Stored", r.replicas)
			}
			if r.confirmed != "" {
				h.Set("X-Keep-Storage-Classes-Confirmed", r.confirmed)
			}
			got, err := parseStored(loc, []byte(loc.String()+"\n"), h)
			if err != nil {
				t.Fatal(err)
			}
			if tally.count(got); tally.missing() != c.missing[i] {
				t.Errorf("%s: missing after reply %d = %d; want %d", c.name, i, tally.missing(), c.missing[i])
			}
		}
	}
}

func TestProxyIsAskedOnceForAllReplicas(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 3, Proxies: 2, Replicas: 3})
	k.SetExternal(true)
	data := storetest.Data(8, 1000)
	if err := pushBlock(t.Context(), t, client(t, k, nil), data); err != nil {
		t.Fatal(err)
	}
	var puts []*http.Request
	for _, p := range k.Proxies {
		puts = append(puts, p.Requests()...)
	}
	if len(puts) != 1 || puts[0].Header.Get("X-Keep-Desired-Replicas") != "3" || holders(k, data) != 3 {
		t.Errorf("%d requests, copies on %d stores; want one request for three", len(puts), holders(k, data))
	}
}

func TestFileThatIsNotTheBlockIsCorrupt(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 2, Proxies: 1, Replicas: 2})
	for _, external := range []bool{false, true} {
		k.SetExternal(external)
		c := client(t, k, func(cfg *Config) { cfg.Retries = 0 })
		f := blockFile(t, []byte("something else"))
		if err := c.Push(t.Context(), f, md5.Sum([]byte("foo")), 3); !errors.Is(err, keepio.ErrCorrupt) {
			t.Errorf("Push of other bytes: %v; want ErrCorrupt", err)
		}
		if err := c.Push(t.Context(), f, md5.Sum([]byte("foo")), 3000); !errors.Is(err, keepio.ErrCorrupt) {
			t.Errorf("Push of a file that is too short: %v; want ErrCorrupt", err)
		}
		if err := c.Push(t.Context(), f, md5.Sum([]byte("foo")), keepio.BlockSize+1); err == nil {
			t.Error("Push of more than a block succeeded")
		}
	}
	if k.Stores[0].Len()+k.Stores[1].Len() != 0 {
		t.Error("something was stored")
	}
}

// A file that shrinks while it is sent leaves a server without the rest.
func TestShortBodyIsNeverTakenForStored(t *testing.T) {
	data := storetest.Data(9, 4<<20)
	var f *os.File
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		_ = f.Truncate(2 << 20)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, keepio.MakeLocator(md5.Sum(data), int64(len(data))).String())
	}))
	defer srv.Close()
	c := clientOf(t, ServersConfig{Services: []string{srv.URL}, Replicas: 1}, "token", nil)
	f = blockFile(t, data)
	if err := c.Push(t.Context(), f, md5.Sum(data), uint32(len(data))); err == nil {
		t.Error("Push of a file that shrank meanwhile succeeded")
	}
	k := keeptest.New(t, keeptest.Options{})
	k.Stores[0].Inject(keeptest.Fault{Early: true})
	c = client(t, k, nil)
	if err := pushBlock(t.Context(), t, c, storetest.Data(9, 32<<20)); err == nil { // more than the kernel holds of a connection
		t.Error("Push to a server that does not read what it says it stored succeeded")
	}
}

// fromConn notes what a connection is asked to read from.
type fromConn struct {
	*net.TCPConn
	files *atomic.Int64
}

func (c fromConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	if lr, ok := r.(*io.LimitedReader); ok {
		if _, ok := lr.R.(*fileBody); ok {
			c.files.Add(n)
		}
	}
	return n, err
}

func TestKernelSendsTheFile(t *testing.T) {
	data := storetest.Data(10, 3<<20)
	k := keeptest.New(t, keeptest.Options{})
	var files atomic.Int64
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := k.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return fromConn{c.(*net.TCPConn), &files}, nil
	}
	c := clientOf(t, ServersConfig{API: k.API, Dial: dial}, k.Token, nil)
	if err := pushBlock(t.Context(), t, c, data); err != nil {
		t.Fatal(err)
	}
	if n := files.Load(); n < int64(len(data))-8<<10 {
		t.Errorf("%d of %d bytes went from the file to the connection", n, len(data))
	}
	if !bytes.Equal(k.Stores[0].Block(md5.Sum(data)), data) {
		t.Error("other bytes were stored")
	}
}

func TestPushReadsFilesWithoutAName(t *testing.T) {
	data := storetest.Data(11, 100<<10)
	k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 3})
	c := client(t, k, nil)
	f := blockFile(t, data)
	if err := os.Rename(f.Name(), filepath.Join(t.TempDir(), "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Name(), []byte("another file of that name"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Push(t.Context(), f, md5.Sum(data), uint32(len(data))); err != nil || holders(k, data) != 3 {
		t.Errorf("Push of a file that was renamed: %v, on %d stores", err, holders(k, data))
	}
	if pos, err := f.Seek(0, io.SeekCurrent); err != nil || pos == 0 {
		t.Errorf("Push moved the file's position to %d, %v", pos, err)
	}
}

func TestServerThatRefusedIsAskedBeforeTheNextBody(t *testing.T) {
	data := storetest.Data(12, 1<<20)
	k := keeptest.New(t, keeptest.Options{})
	c := client(t, k, nil)
	k.Stores[0].Inject(keeptest.Fault{Status: 507, Times: 2})
	for i, want := range []struct {
		ok     bool
		expect string
	}{{false, ""}, {false, "100-continue"}, {true, "100-continue"}, {true, ""}} {
		err := pushBlock(t.Context(), t, c, data)
		r := k.Stores[0].Requests()
		if (err == nil) != want.ok || len(r) != 1 || r[0].Header.Get("Expect") != want.expect {
			t.Errorf("Push %d: %v, Expect %q; want %q", i, err, r[0].Header.Get("Expect"), want.expect)
		}
	}
}

func TestPushOutlastsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(13, 1000)
		k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 2, Pipe: true})
		c := client(t, k, func(cfg *Config) { cfg.Retries = 5 })
		for _, s := range k.Stores {
			s.Inject(keeptest.Fault{Status: 503, Times: 4})
		}
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Errorf("Push: %v", err)
		}
		k.Stores[0].Inject(keeptest.Fault{Hang: true})
		k.Stores[1].Inject(keeptest.Fault{Hang: true})
		k.Stores[2].Inject(keeptest.Fault{Hang: true})
		began := time.Now()
		if err := pushBlock(t.Context(), t, c, storetest.Data(14, 1000)); err != nil {
			t.Errorf("Push to servers that hang: %v", err)
		}
		if took := time.Since(began); took > 3*directTimeouts.put {
			t.Errorf("Push to servers that hang took %v", took)
		}
	})
}

func TestPushOutlastsAnAPIThatDoesNotTellItsSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 2, Pipe: true})
		c := client(t, k, func(cfg *Config) { cfg.Retries = 5 })
		k.InjectAPI(keeptest.Fault{Status: 503, Times: 4})
		if err := pushBlock(t.Context(), t, c, storetest.Data(15, 1000)); err != nil {
			t.Errorf("Push: %v", err)
		}
	})
}

func TestPushEndsWithItsContext(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{})
	c := client(t, k, nil)
	k.Stores[0].Inject(keeptest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := pushBlock(ctx, t, c, []byte("foo")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Push to a server that hangs: %v; want DeadlineExceeded", err)
	}
	if _, err := c.PushBytes(ctx, []byte("foo")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("PushBytes with an ended context: %v; want DeadlineExceeded", err)
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add("acbd18db4cc2f85cedef654fccc4a4d8+3+A73a1b285d4495d77f819a6840e717db2926c9b01@6b151610\n", "1", "default=1")
	f.Add("acbd18db4cc2f85cedef654fccc4a4d8+3", "", "a=1, b=2")
	f.Fuzz(func(t *testing.T, body, replicas, classes string) {
		h := http.Header{"X-Keep-Replicas-Stored": {replicas}, "X-Keep-Storage-Classes-Confirmed": {classes}}
		got, err := parseStored(keepio.MakeLocator(md5.Sum([]byte("foo")), 3), []byte(body), h)
		if err != nil {
			return
		}
		if got.loc.Bare() != "acbd18db4cc2f85cedef654fccc4a4d8+3" || got.replicas < 1 {
			t.Errorf("parseStored(%q, %q) = %s, %d", body, replicas, got.loc.Bare(), got.replicas)
		}
		tally := newTally(settings{replicas: 2, classes: []string{"default"}})
		tally.count(got)
		if tally.missing() < 0 {
			t.Errorf("missing = %d after %q, %q", tally.missing(), replicas, classes)
		}
	})
}

// brittleConn is gone when it is used for a second PUT, which it swallows.
type brittleConn struct {
	net.Conn
	puts int // by the one goroutine that writes
}

func (c *brittleConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("PUT ")) {
		if c.puts++; c.puts > 1 {
			return len(p), c.Close()
		}
	}
	return c.Conn.Write(p)
}

func TestPushSurvivesAConnectionThatWasClosed(t *testing.T) {
	data := storetest.Data(15, 1<<20)
	k := keeptest.New(t, keeptest.Options{})
	dials := 0
	c := clientOf(t, ServersConfig{Services: []string{k.Stores[0].URL}, Replicas: 1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		conn, err := k.Dial(ctx, network, addr)
		return &brittleConn{Conn: conn}, err
	}}, k.Token, nil)
	for i := range 3 {
		if err := pushBlock(t.Context(), t, c, data); err != nil || dials != i+1 {
			t.Errorf("Push %d: %v after %d dials; want another dial", i, err, dials)
		}
	}
}

func TestPushReadsDeletedFiles(t *testing.T) {
	data := storetest.Data(16, 100<<10)
	k := keeptest.New(t, keeptest.Options{})
	f := blockFile(t, data)
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if err := client(t, k, nil).Push(t.Context(), f, md5.Sum(data), uint32(len(data))); err != nil || holders(k, data) != 1 {
		t.Errorf("Push of a file that was deleted: %v", err)
	}
}
