package keepclient

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

func TestFirstListIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		failures int
		ok       bool
	}{{5, true}, {-1, false}} {
		synctest.Test(t, func(t *testing.T) {
			data := storetest.Data(1, 100)
			k := keeptest.New(t, keeptest.Options{Pipe: true})
			cl := client(t, k, nil)
			taught(k, cl, data, k.Stores...)
			k.InjectAPI(keeptest.Fault{Status: 503, Times: c.failures, Body: "try later"})
			began := time.Now()
			_, _, err := fetchBlock(t.Context(), cl, data)
			took := time.Since(began)
			if (err == nil) != c.ok || !c.ok && !errors.Is(err, keepio.ErrUnavailable) {
				t.Errorf("Fetch while the API fails %d times: %v", c.failures, err)
			}
			if want := min(listPatience, 5*listRetry); took < want || took > listPatience+apiTimeout {
				t.Errorf("it took %v", took)
			}
			if !c.ok && !strings.Contains(err.Error(), "try later") {
				t.Errorf("Fetch: %v; want the API's message", err)
			}
		})
	}
}

func TestBadTokenFailsAtOnceAndAlone(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{})
	servers, err := OpenServers(ServersConfig{API: k.API})
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	data := storetest.Data(2, 100)
	bad, err := New(Config{Servers: servers, Token: "v2/zzzzz-gj3su-000000000000000/bogus"})
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if _, _, err := fetchBlock(t.Context(), bad, data); !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "bogus") {
		t.Errorf("Fetch with a bad token: %v; want ErrPermission", err)
	}
	good, err := New(Config{Servers: servers, Token: k.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	taught(k, good, data, k.Stores...)
	wantFetch(t, good, data)
}

func TestAPIThatHasNoServicesIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		for _, f := range []keeptest.Fault{{Status: 404}, {Status: 200, Body: "{}"}, {Status: 200, Body: "not JSON"}, {Hang: true}, {Reset: true}} {
			c := client(t, k, nil)
			f.Times = -1
			k.HealAPI()
			k.InjectAPI(f)
			_, _, err := fetchBlock(t.Context(), c, []byte("foo"))
			if !errors.Is(err, keepio.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("Fetch where the API has the fault %+v: %v; want ErrUnavailable", f, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, _, err := fetchBlock(ctx, c, []byte("foo")); f.Status == 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Fetch that ends while the API has the fault %+v: %v; want DeadlineExceeded", f, err)
			}
			cancel()
		}
	})
}

func TestOldListIsReloadedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(3, 100)
		k := keeptest.New(t, keeptest.Options{Pipe: true, Stores: 2})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		k.List(k.Stores[0])
		wantFetch(t, c, data)
		time.Sleep(listAge)
		k.List(k.Stores[1])
		wantFetch(t, c, data)
		if n := k.APICalls("accessible"); n != 1 {
			t.Errorf("the list was loaded %d times before it was old; want once", n)
		}
		time.Sleep(time.Second)
		wantFetch(t, c, data)
		synctest.Wait()
		if got := c.servers.Stats(); len(got) != 1 || got[0].URL != k.Stores[1].URL || k.APICalls("accessible") != 2 {
			t.Errorf("services = %+v after %d loads; want the second store after 2", got, k.APICalls("accessible"))
		}
		// While the API is down the old list serves, also after a Reset.
		k.InjectAPI(keeptest.Fault{Status: 500, Times: -1})
		time.Sleep(time.Hour)
		wantFetch(t, c, data)
		synctest.Wait()
		c.servers.Reset()
		wantFetch(t, c, data)
	})
}

func TestConcurrentCallersLoadTheListOnce(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{})
	c := client(t, k, nil)
	data := taught(k, c, storetest.Data(4, 100), k.Stores...)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { wantFetch(t, c, data) })
	}
	wg.Wait()
	if n := k.APICalls("accessible"); n != 1 {
		t.Errorf("the list was loaded %d times; want once", n)
	}
}

func TestFailedRoundsReloadTheListWithABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(5, 100)
		k := keeptest.New(t, keeptest.Options{Pipe: true, Stores: 2})
		c := client(t, k, func(cfg *Config) { cfg.Retries = 20 })
		k.List(k.Stores[0])
		taught(k, c, data, k.Stores[1])
		k.Stores[0].Inject(keeptest.Fault{Status: 500, Times: -1})
		const readers = 20
		done := make(chan error)
		for range readers {
			go func() {
				_, _, err := fetchBlock(t.Context(), c, data)
				done <- err
			}()
		}
		time.Sleep(30 * time.Second)
		if n := k.APICalls("accessible"); n < 2 || n > 11 {
			t.Errorf("the list was loaded %d times in 30 s of failures; want it some times, 3 s apart", n)
		}
		k.List(k.Stores[1])
		for range readers {
			if err := <-done; err != nil {
				t.Errorf("Fetch of a block on a server that joined: %v", err)
			}
		}
	})
}

func TestServerThatJoinedIsAskedBeforeABlockIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(6, 100)
		k := keeptest.New(t, keeptest.Options{Pipe: true, Stores: 2})
		c := client(t, k, nil)
		k.List(k.Stores[0])
		taught(k, c, data, k.Stores[1])
		if _, _, err := fetchBlock(t.Context(), c, data); !errors.Is(err, keepio.ErrNotFound) {
			t.Errorf("Fetch: %v; want ErrNotFound", err)
		}
		k.List(k.Stores...)
		time.Sleep(10 * time.Second)
		wantFetch(t, c, data)
	})
}

func TestSettingsOfTheClusterAreAskedOnce(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Stores: 3, Replicas: 3})
	c := client(t, k, nil)
	k.InjectAPI(keeptest.Fault{Status: 500})
	if err := pushBlock(t.Context(), t, c, []byte("a")); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("Push while the API is down: %v; want ErrUnavailable", err)
	}
	for _, s := range []string{"a", "b", "c"} {
		if err := pushBlock(t.Context(), t, c, []byte(s)); err != nil || holders(k, []byte(s)) != 3 {
			t.Errorf("Push: %v, on %d stores; want 3", err, holders(k, []byte(s)))
		}
	}
	if n := k.APICalls("config"); n != 1 {
		t.Errorf("the configuration was asked %d times; want once", n)
	}
}

func TestServersAreCheckedWhenOpened(t *testing.T) {
	for _, cfg := range []ServersConfig{{}, {API: "keep:80"}, {API: "https://user:secret@keep"}, {API: "https://"}, {API: "ftp://keep"}, {API: "https://keep/?a=b"}, {Services: []string{"keep"}}} {
		if s, err := OpenServers(cfg); err == nil {
			s.Close()
			t.Errorf("OpenServers(%+v) succeeded", cfg)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("OpenServers shows a password: %v", err)
		}
	}
	if _, err := New(Config{Token: "x"}); err == nil {
		t.Error("New without servers succeeded")
	}
	for _, token := range []string{"", "a b", "a\r\nX: y"} {
		if _, err := New(Config{Servers: new(Servers), Token: token}); err == nil {
			t.Errorf("New with token %q succeeded", token)
		}
	}
}

func TestLimitHalvesAndGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter()
		turn := func(ok, overloaded bool) {
			if err := l.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.release(ok, overloaded)
		}
		turn(false, true)
		turn(false, true) // the same burst
		if got := l.current(); got != startPerHost/2 {
			t.Errorf("limit after a burst of refusals = %d; want half", got)
		}
		turn(true, false)
		if got := l.current(); got != startPerHost/2 {
			t.Errorf("limit grows within the pause, to %d", got)
		}
		for range 10 {
			time.Sleep(cutPause)
			turn(false, true)
		}
		if got := l.current(); got != 1 {
			t.Errorf("limit after many refusals = %d; want 1", got)
		}
		time.Sleep(cutPause)
		for range 100 {
			turn(true, false)
		}
		if got := l.current(); got != maxPerHost {
			t.Errorf("limit after many successes = %d; want %d", got, maxPerHost)
		}
	})
}

func TestTurnsAreTakenInOrderAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{limit: 1}
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []int
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 4 {
			wg.Go(func() {
				c := t.Context()
				if i == 1 {
					c = ctx
				}
				if err := l.acquire(c); err != nil {
					order = append(order, -i)
					return
				}
				order = append(order, i)
				l.release(true, false)
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		l.release(false, false)
		wg.Wait()
		if !slices.Equal(order, []int{-1, 0, 2, 3}) || l.active != 0 {
			t.Errorf("turns in order %v, %d still taken", order, l.active)
		}
	})
}

// A turn that comes when its waiter has just given up goes to the next.
func TestNoTurnIsLost(t *testing.T) {
	l := &limiter{limit: 1}
	for range 2000 {
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if l.acquire(ctx) == nil {
				l.release(false, false)
			}
		})
		for l.waiters() < 1 {
			runtime.Gosched()
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := l.acquire(ctx); err != nil {
				t.Error("the turn did not reach the next")
				return
			}
			l.release(false, false)
		})
		for l.waiters() < 2 {
			runtime.Gosched()
		}
		wg.Go(cancel)
		wg.Go(func() { l.release(false, false) })
		wg.Wait()
		if n := l.waiters(); n != 0 || l.active != 0 {
			t.Fatalf("%d turns are taken, %d wait, and nobody is there", l.active, n)
		}
		if t.Failed() {
			return
		}
	}
}

func (l *limiter) waiters() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}

func TestRequestsAtAHostAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storetest.Data(7, 100)
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		c := client(t, k, nil)
		taught(k, c, data, k.Stores...)
		k.Stores[0].Inject(keeptest.Fault{Times: 40, Trickle: time.Second, Step: 50})
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() { wantFetch(t, c, data) })
		}
		wg.Wait()
		if n := k.Stores[0].Peak(); n < startPerHost || n > startPerHost*3 {
			t.Errorf("%d requests at once; want about %d", n, startPerHost)
		}
	})
}

func TestStatsCount(t *testing.T) {
	data := storetest.Data(8, 1000)
	k := keeptest.New(t, keeptest.Options{Stores: 2, Replicas: 2})
	c := client(t, k, nil)
	if err := pushBlock(t.Context(), t, c, data); err != nil {
		t.Fatal(err)
	}
	first := probed(k, data)[0]
	first.Inject(keeptest.Fault{Corrupt: true})
	wantFetch(t, c, data)
	want := Stats{Fetches: 1, Pushes: 1, In: 2000, Out: 2000, Locators: 1, Pushed: 1}
	if got := c.Stats(); got != want {
		t.Errorf("Stats = %+v; want %+v", got, want)
	}
	for _, s := range c.servers.Stats() {
		want := ServerStats{URL: s.URL, Requests: 2, In: 1000, Out: 1000, Reads: s.Reads, Writes: s.Writes}
		if s.URL == first.URL {
			want.Errors = 1
		}
		if s != want {
			t.Errorf("Stats of a server = %+v; want %+v", s, want)
		}
	}
}
