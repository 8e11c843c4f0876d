package keepclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

// probed returns the cluster's stores in the order in which they are asked for
// data.
func probed(k *keeptest.Cluster, data []byte) []*keeptest.Service {
	var list []*server
	for _, s := range k.Stores {
		list = append(list, &server{service: service{uuid: s.UUID}})
	}
	var sorted []*keeptest.Service
	for _, p := range probeOrder(keepio.MakeLocator(md5.Sum(data), 0).HashHex(), list) {
		i := slices.IndexFunc(k.Stores, func(s *keeptest.Service) bool { return s.UUID == p.uuid })
		sorted = append(sorted, k.Stores[i])
	}
	return sorted
}

func TestFetchGoesOnToTheNextServer(t *testing.T) {
	data := storetest.Data(1, 300<<10)
	for _, c := range []struct {
		name     string
		fault    keeptest.Fault
		restarts int
	}{
		{"absent", keeptest.Fault{Status: 404}, 0},
		{"broken", keeptest.Fault{Status: 500}, 0},
		{"overloaded", keeptest.Fault{Status: 503, RetryAfter: "60"}, 0},
		{"bad copy", keeptest.Fault{Status: 502, Vary: "X-Keep-Signature"}, 0},
		{"refused", keeptest.Fault{Status: 403}, 0},
		{"odd", keeptest.Fault{Status: 418}, 0},
		{"redirect", keeptest.Fault{Status: 302}, 0},
		{"reset", keeptest.Fault{Reset: true}, 0},
		{"other length", keeptest.Fault{Length: 17}, 0},
		{"cut off", keeptest.Fault{Truncate: 200 << 10}, 1},
		{"withheld tail", keeptest.Fault{Truncate: 1}, 1},
		{"wrong byte", keeptest.Fault{Corrupt: true}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keeptest.New(t, keeptest.Options{Stores: 2})
			cl := client(t, k, nil)
			taught(k, cl, data, k.Stores...)
			probed(k, data)[0].Inject(c.fault)
			got, restarts, err := fetchBlock(t.Context(), cl, data)
			if err != nil || !bytes.Equal(got, data) || restarts != c.restarts {
				t.Errorf("Fetch = %d bytes after %d restarts, %v; want them after %d", len(got), restarts, err, c.restarts)
			}
		})
	}
}

func TestFetchSaysWhatAllServersComeTo(t *testing.T) {
	data := storetest.Data(2, 200<<10)
	always := func(f keeptest.Fault) keeptest.Fault { f.Times = -1; return f }
	for _, c := range []struct {
		name   string
		faults [2]keeptest.Fault
		want   error
		asked  int // requests, with three rounds
	}{
		{"absent", [2]keeptest.Fault{{Status: 404}, {Status: 404}}, keepio.ErrNotFound, 2},
		{"corrupt", [2]keeptest.Fault{{Corrupt: true}, {Truncate: 10}}, keepio.ErrCorrupt, 4},
		{"corrupt and absent", [2]keeptest.Fault{{Corrupt: true}, {Status: 404}}, keepio.ErrCorrupt, 3},
		{"bad copies", [2]keeptest.Fault{{Status: 502, Vary: "X-Keep-Signature"}, {Status: 404}}, keepio.ErrCorrupt, 3},
		{"bad gateway", [2]keeptest.Fault{{Status: 502}, {Status: 404}}, keepio.ErrUnavailable, 4},
		{"corrupt and broken", [2]keeptest.Fault{{Corrupt: true}, {Status: 500}}, keepio.ErrUnavailable, 5},
		{"cut off", [2]keeptest.Fault{{Truncate: 150 << 10}, {Status: 404}}, keepio.ErrUnavailable, 4},
		{"refused", [2]keeptest.Fault{{Status: 403}, {Status: 404}}, fs.ErrPermission, 2},
		{"odd", [2]keeptest.Fault{{Status: 418}, {Status: 404}}, keepio.ErrUnavailable, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keeptest.New(t, keeptest.Options{Stores: 2, Pipe: true})
				cl := client(t, k, func(cfg *Config) { cfg.Retries = 2 })
				taught(k, cl, data, k.Stores...)
				for i, s := range k.Stores {
					s.Inject(always(c.faults[i]))
				}
				_, _, err := fetchBlock(t.Context(), cl, data)
				asked := len(k.Stores[0].Requests()) + len(k.Stores[1].Requests())
				if !errors.Is(err, c.want) || asked != c.asked {
					t.Errorf("Fetch: %v after %d requests; want %v after %d", err, asked, c.want, c.asked)
				}
			})
		})
	}
}

func TestFetchOfAnUnknownBlockIsNotFound(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 2})
	c := client(t, k, nil)
	data := []byte("nobody told of this")
	k.Stores[0].Put(data)
	if _, _, err := fetchBlock(t.Context(), c, data); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("Fetch of a block without a signature: %v; want ErrNotFound", err)
	}
	k = keeptest.New(t, keeptest.Options{Stores: 2, NoSign: true})
	k.Stores[0].Put(data)
	wantFetch(t, client(t, k, nil), data) // a cluster that does not sign gives it out
	if err := c.Fetch(t.Context(), [16]byte{}, keepio.BlockSize+1, new(buffer)); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("Fetch of more than a block: %v; want ErrNotFound", err)
	}
}

// failingSink fails after some bytes, or when it is to restart.
type failingSink struct {
	room int
	err  error
}

func (s *failingSink) Write(p []byte) (int, error) {
	if s.room -= len(p); s.room < 0 {
		return 0, s.err
	}
	return len(p), nil
}

func (s *failingSink) Restart() error { return s.err }

func TestErrorOfTheSinkEndsTheFetch(t *testing.T) {
	data := storetest.Data(3, 2<<20)
	k := keeptest.New(t, keeptest.Options{Stores: 2})
	c := client(t, k, nil)
	taught(k, c, data, k.Stores...)
	mine := errors.New("disk is full")
	if err := c.Fetch(t.Context(), md5.Sum(data), uint32(len(data)), &failingSink{1 << 20, mine}); err != mine {
		t.Errorf("Fetch with a sink that fails: %v; want its error", err)
	}
	probed(k, data)[0].Inject(keeptest.Fault{Corrupt: true})
	if err := c.Fetch(t.Context(), md5.Sum(data), uint32(len(data)), &failingSink{4 << 20, mine}); err != mine {
		t.Errorf("Fetch with a sink that cannot restart: %v; want its error", err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	data := storetest.Data(4, 1000)
	k := keeptest.New(t, keeptest.Options{})
	c := client(t, k, nil)
	taught(k, c, data, k.Stores...)
	k.Stores[0].Inject(keeptest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := fetchBlock(ctx, c, data); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch from a server that hangs: %v; want DeadlineExceeded", err)
	}
}

func TestHungServerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(5, 1000)
		k := keeptest.New(t, keeptest.Options{Stores: 2, Pipe: true})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		probed(k, data)[0].Inject(keeptest.Fault{Hang: true})
		began := time.Now()
		wantFetch(t, c, data)
		if took := time.Since(began); took != directTimeouts.get {
			t.Errorf("it took %v; want %v", took, directTimeouts.get)
		}
	})
}

func TestOnlyTransfersThatDoNotMoveAreGivenUp(t *testing.T) {
	for _, c := range []struct {
		name string
		rate int
		ok   bool
	}{{"slow but steady", slowest * 3 / 2, true}, {"a trickle", slowest / 4, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := storetest.Data(6, 8<<20)
				k := keeptest.New(t, keeptest.Options{Pipe: true})
				cl := client(t, k, nil)
				taught(k, cl, data, k.Stores...)
				k.Stores[0].Inject(keeptest.Fault{Step: c.rate, Trickle: time.Second})
				_, _, err := fetchBlock(t.Context(), cl, data)
				if (err == nil) != c.ok || !c.ok && !strings.Contains(err.Error(), errStalled.Error()) {
					t.Errorf("Fetch at %d bytes a second: %v", c.rate, err)
				}
			})
		})
	}
}

// slowSink takes its time once.
type slowSink struct {
	buffer
	pause time.Duration
}

func (s *slowSink) Write(p []byte) (int, error) {
	time.Sleep(s.pause)
	s.pause = 0
	return s.buffer.Write(p)
}

func TestSlowSinkIsNotTheServersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(7, 100<<10)
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		sink := &slowSink{pause: time.Hour}
		if err := c.Fetch(t.Context(), md5.Sum(data), uint32(len(data)), sink); err != nil || sink.restarts != 0 {
			t.Errorf("Fetch into a slow sink: %v after %d restarts", err, sink.restarts)
		}
	})
}

// The server's own rate counts, in the time that the sink leaves.
func TestRateIsMeasuredWithoutTheSinksPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(7, 2<<20)
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		k.Stores[0].Inject(keeptest.Fault{Step: slowest * 3 / 2, Trickle: time.Second})
		sink := &slowSink{pause: directTimeouts.get * 3 / 4}
		if err := c.Fetch(t.Context(), md5.Sum(data), uint32(len(data)), sink); err != nil {
			t.Errorf("Fetch: %v", err)
		}
	})
}

func TestServersMessagesAreScrubbed(t *testing.T) {
	secret := strings.Repeat("s", 50)
	for _, c := range []struct{ text, token, want string }{
		{"not found\n", "t0", "not found"},
		{"token " + secret + "!", secret, "token …!"},
		{"token v2/a/" + secret + ", " + secret, "v2/a/" + secret, "token …, …"},
		{"GET abc+3+A0123@5 and +Rzzzzz-01@2+Kx", "t0", "GET abc+3+A… and +R…+Kx"},
		{"GET abc%2B3%2BA0123%405", "t0", "GET abc%2B3%2BA…"},
		{"a\r\nb\x00c\x7fd\xff", "t0", "a  b c d"},
		{strings.Repeat("ä", 200), "t0", strings.Repeat("ä", 150) + "…"},
	} {
		if got := scrub(c.text, c.token); got != c.want {
			t.Errorf("scrub(%q) = %q; want %q", c.text, got, c.want)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("GET abc+3+A0123456789abcdef@5 failed")
	f.Fuzz(func(t *testing.T, text string) {
		const token = "v2/zzzzz-gj3su-000000000000001/ssssssssssssssssssssssssssssssssssssssssssssssssss"
		sig := "+A0123456789abcdef0123456789abcdef01234567@7fffffff"
		got := scrub(text+token+sig+text, token)
		if strings.Contains(got, token[40:]) || strings.Contains(got, sig) || len(got) > maxText+len("…") || strings.ContainsAny(got, "\r\n") {
			t.Errorf("scrub(%q) = %q", text, got)
		}
	})
}

func TestFetchOutlastsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(8, 1000)
		k := keeptest.New(t, keeptest.Options{Stores: 2, Pipe: true})
		c := client(t, k, func(cfg *Config) { cfg.Retries = 0 })
		taught(k, c, data, k.Stores...)
		for _, s := range k.Stores {
			s.Inject(keeptest.Fault{Status: 500, Times: 8})
		}
		wantFetch(t, c, data)
		if n := c.Stats().Retries; n != 8 {
			t.Errorf("Retries = %d; want 8", n)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, c := range []struct {
		header    string
		from, til time.Duration
	}{
		{"30", 30 * time.Second, 31 * time.Second}, {"", 0, time.Second}, {"soon", 0, time.Second}, {"-5", 0, time.Second},
		{"99999999", maxRetryAfter, maxRetryAfter + time.Second}, {"Sat, 01 Jan 2000 00:00:45 GMT", 45 * time.Second, 46 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			data := storetest.Data(9, 1000)
			k := keeptest.New(t, keeptest.Options{Pipe: true})
			cl := client(t, k, func(cfg *Config) { cfg.Retries = 1 })
			taught(k, cl, data, k.Stores...)
			k.Stores[0].Inject(keeptest.Fault{Status: 503, RetryAfter: c.header})
			began := time.Now()
			wantFetch(t, cl, data)
			if took := time.Since(began); took < c.from || took > c.til {
				t.Errorf("Retry-After %q: tried again after %v; want %v to %v", c.header, took, c.from, c.til)
			}
		})
	}
}

func TestErrorsCarryNoSecrets(t *testing.T) {
	data := storetest.Data(10, 1000)
	k := keeptest.New(t, keeptest.Options{Stores: 1, Proxies: 1})
	for _, external := range []bool{false, true} {
		k.SetExternal(external)
		c := client(t, k, nil)
		loc := k.Sign(data, -time.Hour) // a proxy quotes it in its error
		c.Learn("x", []keepio.Locator{loc})
		k.Stores[0].Put(data)
		_, _, err := fetchBlock(t.Context(), c, data)
		if err == nil {
			t.Fatal("Fetch with an expired signature succeeded")
		}
		secret := strings.TrimPrefix(loc.String(), loc.Bare())
		for _, s := range []string{secret, secret[2:42], k.Token, strings.Repeat("s", 50)} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("error quotes a secret: %v", err)
			}
		}
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), loc.Bare()) {
			t.Errorf("Fetch with an expired signature: %v; want ErrPermission about the block", err)
		}
	}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization")+"\r\n\x00"+r.URL.Path+strings.Repeat("x", 5000), 500)
	}))
	defer echo.Close()
	c := clientOf(t, ServersConfig{Services: []string{echo.URL}}, k.Token, nil)
	loc := k.Sign(data, time.Hour)
	c.Learn("x", []keepio.Locator{loc})
	_, _, err := fetchBlock(t.Context(), c, data)
	if err == nil || strings.Contains(err.Error(), strings.Repeat("s", 50)) || strings.Contains(err.Error(), loc.String()) ||
		strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 600 {
		t.Errorf("error after an echo: %q", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	data := storetest.Data(11, 1000)
	away := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s with %q was sent to another host", r.Method, r.Header.Get("Authorization"))
	}))
	defer away.Close()
	srv := httptest.NewServer(http.RedirectHandler(away.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	c := clientOf(t, ServersConfig{Services: []string{srv.URL}}, "token", nil)
	if _, _, err := fetchBlock(t.Context(), c, data); err == nil {
		t.Error("Fetch from a server that redirects succeeded")
	}
	if err := pushBlock(t.Context(), t, c, data); err == nil {
		t.Error("Push to a server that redirects succeeded")
	}
}

func TestHintsComeFirst(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 5})
	c := client(t, k, nil)
	data := storetest.Data(12, 100)
	order := probed(k, data)
	last := order[len(order)-1]
	parse := func(hints string) keepio.Locator {
		loc, err := keepio.ParseLocator(keepio.MakeLocator(md5.Sum(data), 100).String() + hints)
		if err != nil {
			t.Fatal(err)
		}
		return loc
	}
	servers, err := c.servers.services(t.Context(), k.Token)
	if err != nil {
		t.Fatal(err)
	}
	got := (&fetch{op: c.newOp(md5.Sum(data), 100), signed: parse("+K@" + last.UUID + "+K@zzzzz+K@nosuch+Zx+K@xxxxx")}).targets(servers)
	if len(got) != 6 || got[0].base != last.URL || got[1].base != "https://keep.xxxxx.arvadosapi.com" || got[2].base != order[0].URL {
		t.Fatalf("targets = %+v", got)
	}
	if got[0].token != k.Token || got[1].token != "v2/zzzzz-gj3su-000000000000001/03effb252f073a76d3adcde7b9c339b47cb13339" {
		t.Error("another cluster is shown a token that is not salted for it")
	}
	// A token that cannot be salted stays here.
	c = clientOf(t, ServersConfig{API: k.API}, strings.Repeat("s", 50), nil)
	if got := (&fetch{op: c.newOp(md5.Sum(data), 100), signed: parse("+K@xxxxx")}).targets(servers); len(got) != 5 {
		t.Errorf("%d targets for a version 1 token; want the 5 of the cluster", len(got))
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	data := storetest.Data(13, 100<<10)
	k := keeptest.New(t, keeptest.Options{})
	dials := 0
	c := clientOf(t, ServersConfig{Services: []string{k.Stores[0].URL}, Replicas: 1, Dial: countDials(k.Dial, &dials)}, k.Token, nil)
	taught(k, c, data, k.Stores...)
	for range 5 {
		wantFetch(t, c, data)
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Error(err)
		}
		k.Stores[0].Inject(keeptest.Fault{Status: 500, Body: "drain me"})
		if _, _, err := fetchBlock(t.Context(), c, data); err == nil {
			t.Error("Fetch succeeded")
		}
	}
	if dials != 1 {
		t.Errorf("%d connections were made; want 1", dials)
	}
}

func TestHostThatCannotBeReachedIsAskedLastForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(14, 100)
		k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 1, Pipe: true})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		first := probed(k, data)[0]
		first.Inject(keeptest.Fault{Hang: true})
		wantFetch(t, c, data)
		began := time.Now()
		wantFetch(t, c, data)
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Error(err)
		}
		if n := len(first.Requests()); n != 1 || time.Since(began) > time.Second {
			t.Errorf("a host that hung got %d requests; want only the first", n)
		}
		// What only it has still comes from it.
		for _, s := range probed(k, data)[1:] {
			s.Remove(md5.Sum(data))
		}
		wantFetch(t, c, data)
		if n := len(first.Requests()); n != 1 {
			t.Errorf("a host that hung got %d requests for what only it has; want one", n)
		}
		for _, s := range k.Stores {
			s.Put(data)
		}
		wantFetch(t, c, data)
		if n := len(first.Requests()); n != 1 {
			t.Errorf("a host that is well again got %d requests; want its place back", n)
		}
	})
}

func TestMalformedReplyIsAFailureWithoutSecrets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r, _ := http.ReadRequest(bufio.NewReader(conn))
			_, _ = fmt.Fprintf(conn, "what is %s\r\n\r\n", r.Header.Get("Authorization"))
			_ = conn.Close()
		}
	}()
	token := "v2/zzzzz-gj3su-000000000000001/" + strings.Repeat("s", 50)
	c := clientOf(t, ServersConfig{Services: []string{"http://" + l.Addr().String()}}, token, nil)
	_, _, err = fetchBlock(t.Context(), c, []byte("foo"))
	if !errors.Is(err, keepio.ErrUnavailable) || strings.Contains(err.Error(), "ssssss") {
		t.Errorf("Fetch after a malformed reply: %v; want ErrUnavailable without the token", err)
	}
	_ = l.Close()
	<-done
}

// A sumBuffer notes the sums that it is told.
type sumBuffer struct {
	buffer
	sums []uint32
}

func (b *sumBuffer) Expect(sums []uint32) { b.sums = sums }

func TestSumsOfOurOwnServersReachTheSink(t *testing.T) {
	data := storetest.Data(1, 3*keepio.ChunkSize)
	for _, c := range []struct {
		name, header string
		want         []uint32
	}{
		{"sums", "crc32c AQAAAAIAAAD/////", []uint32{1, 2, 1<<32 - 1}},
		{"none", "", nil},
		{"another kind", "md5 AQAAAAIAAAD/////", nil},
		{"not base64", "crc32c ?", nil},
		{"cut", "crc32c AQAA", nil},
	} {
		asked := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.Header.Get(sumsHeader)
			if c.header != "" {
				w.Header().Set(sumsHeader, c.header)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data)
		}))
		cl := clientOf(t, ServersConfig{Services: []string{s.URL}}, "t", nil)
		var b sumBuffer
		if err := cl.Fetch(t.Context(), md5.Sum(data), uint32(len(data)), &b); err != nil || !slices.Equal(b.sums, c.want) || asked != sumsKind {
			t.Errorf("%s: Fetch = %v with sums %v, asked for %q; want %v", c.name, err, b.sums, asked, c.want)
		}
		if _, _, err := fetchBlock(t.Context(), cl, data); err != nil || asked != "" {
			t.Errorf("%s: a sink without use for sums asked for %q, %v", c.name, asked, err)
		}
		s.Close()
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add("crc32c AQAAAAIAAAD/////")
	f.Fuzz(func(t *testing.T, value string) {
		if sums := parseSums(value); 4*len(sums) > len(value) {
			t.Errorf("parseSums(%q) has %d sums", value, len(sums))
		}
	})
}
