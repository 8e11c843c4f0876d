package keepclient

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

// reloader teaches c one block again, with a new signature.
type reloader struct {
	k     *keeptest.Cluster
	c     *Client
	data  []byte
	life  time.Duration
	fail  atomic.Bool
	calls atomic.Int64
}

func (r *reloader) refresh(_ context.Context, source string) error {
	r.calls.Add(1)
	if r.fail.Load() {
		return errors.New("API is down")
	}
	r.c.Learn(source, []keepio.Locator{r.k.Sign(r.data, r.life)})
	return nil
}

// refreshed returns a client that knows data by a signature good for first, and
// gets one good for next when it asks.
func refreshed(t *testing.T, o keeptest.Options, first, next time.Duration) *reloader {
	k := keeptest.New(t, o)
	r := &reloader{k: k, data: storetest.Data(1, 1000), life: next}
	r.c = client(t, k, func(cfg *Config) { cfg.Refresh = r.refresh })
	for _, s := range k.Stores {
		s.Put(r.data)
	}
	r.c.Learn("zzzzz-4zz18-000000000000001", []keepio.Locator{k.Sign(r.data, first)})
	return r
}

func TestSignatureThatEndsSoonIsRefreshedBeforeARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refreshed(t, keeptest.Options{Pipe: true}, 59*time.Second, time.Hour)
		wantFetch(t, r.c, r.data)
		if n := r.calls.Load(); n != 1 {
			t.Errorf("the source was loaded %d times; want once", n)
		}
		wantFetch(t, r.c, r.data)
		if n := r.calls.Load(); n != 1 {
			t.Errorf("the source was loaded %d times for two reads; want once", n)
		}
	})
}

func TestSignaturesAreRefreshedAtHalfTheirLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := 14 * 24 * time.Hour
		r := refreshed(t, keeptest.Options{Pipe: true}, life, life)
		time.Sleep(life * 7 / 16)
		synctest.Wait()
		if n := r.calls.Load(); n != 0 {
			t.Errorf("the source was loaded %d times long before half the life was over", n)
		}
		time.Sleep(life / 16)
		synctest.Wait()
		if n := r.calls.Load(); n != 1 {
			t.Errorf("the source was loaded %d times after half the life; want once", n)
		}
		time.Sleep(10 * life) // a file that was opened long ago
		synctest.Wait()
		wantFetch(t, r.c, r.data)
		if n := r.calls.Load(); n < 19 || n > 25 {
			t.Errorf("the source was loaded %d times in ten lives; want some 20", n)
		}
	})
}

func TestRefreshThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refreshed(t, keeptest.Options{Pipe: true}, time.Hour, time.Hour)
		r.fail.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.calls.Load(); n < 20 || n > 40 {
			t.Errorf("the source was tried %d times in the last half hour; want once a minute", n)
		}
		if s := r.c.Stats(); s.RefreshErrors != r.calls.Load() || s.Refreshes != r.calls.Load() {
			t.Errorf("Stats = %+v; want %d refreshes that failed", s, r.calls.Load())
		}
	})
}

func TestSourceThatTeachesNothingNewIsNotLoadedOverAndOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refreshed(t, keeptest.Options{Pipe: true}, time.Minute, -time.Hour)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.calls.Load(); n > 61 {
			t.Errorf("the source was loaded %d times in an hour; want at most once a minute", n)
		}
	})
}

func TestRefusedSignatureIsRefreshedOnce(t *testing.T) {
	for _, o := range []keeptest.Options{{Stores: 3, Pipe: true}, {Stores: 1, Proxies: 1, Pipe: true}} {
		synctest.Test(t, func(t *testing.T) {
			r := refreshed(t, o, time.Hour, time.Hour)
			r.k.SetExternal(o.Proxies > 0)
			r.k.SetClock(2 * time.Hour) // the signature that we have is over there
			r.life = time.Hour
			wantFetch(t, r.c, r.data)
			if n := r.calls.Load(); n != 1 {
				t.Errorf("the source was loaded %d times; want once", n)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			r := refreshed(t, o, time.Hour, time.Hour)
			r.k.SetExternal(o.Proxies > 0)
			for _, s := range append(r.k.Stores, r.k.Proxies...) {
				s.Inject(keeptest.Fault{Status: 401, Times: -1})
			}
			if _, _, err := fetchBlock(t.Context(), r.c, r.data); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Fetch that is refused with any signature: %v; want ErrPermission", err)
			}
			if n := r.calls.Load(); n != 1 {
				t.Errorf("the source was loaded %d times; want once", n)
			}
		})
	}
}

func TestConcurrentReadsShareARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		var c *Client
		var blocks [][]byte
		c = client(t, k, func(cfg *Config) {
			cfg.Refresh = func(ctx context.Context, source string) error {
				calls.Add(1)
				time.Sleep(time.Second)
				for _, b := range blocks {
					c.Learn(source, []keepio.Locator{k.Sign(b, time.Hour)})
				}
				return nil
			}
		})
		for i := range 20 {
			blocks = append(blocks, storetest.Data(uint64(i), 100))
			k.Stores[0].Put(blocks[i])
			c.Learn("c", []keepio.Locator{k.Sign(blocks[i], time.Second)})
		}
		var wg sync.WaitGroup
		for _, b := range blocks {
			wg.Go(func() { wantFetch(t, c, b) })
		}
		// Who gives up does not end it for the others.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, _, err := fetchBlock(ctx, c, blocks[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Fetch with little time: %v", err)
		}
		wg.Wait()
		if calls.Load() != 1 {
			t.Errorf("the source was loaded %d times; want once", calls.Load())
		}
	})
}

func TestTheClustersClockDecides(t *testing.T) {
	for _, ahead := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			k := keeptest.New(t, keeptest.Options{Pipe: true, TTL: time.Hour})
			k.SetClock(ahead)
			c := client(t, k, nil)
			data := storetest.Data(2, 100)
			if err := pushBlock(t.Context(), t, c, data); err != nil {
				t.Fatal(err)
			}
			if got := c.Fading(); len(got) != 0 {
				t.Errorf("with a clock %v ahead a new block fades", ahead)
			}
			time.Sleep(29 * time.Minute)
			if got := c.Fading(); len(got) != 0 {
				t.Errorf("with a clock %v ahead a block fades too soon", ahead)
			}
			time.Sleep(2 * time.Minute)
			if got := c.Fading(); len(got) != 1 || got[0] != (Name{md5.Sum(data), 100}) {
				t.Errorf("with a clock %v ahead Fading = %v; want the block", ahead, got)
			}
			if err := pushBlock(t.Context(), t, c, data); err != nil || len(c.Fading()) != 0 {
				t.Errorf("after another Push (%v) the block still fades", err)
			}
			c.Learn("c", []keepio.Locator{k.Sign(data, time.Minute)})
			if got := c.Fading(); len(got) != 0 {
				t.Errorf("Fading = %v after a source has it", got)
			}
		})
	}
}

func TestOddDateHeaderDoesNoHarm(t *testing.T) {
	s := &Servers{}
	for _, date := range []string{"", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		s.sawDate(map[string][]string{"Date": {date}})
		_ = s.now()
	}
	s.sawDate(map[string][]string{"Date": {time.Now().Add(-time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}})
	if d := time.Until(s.now()).Abs(); d > time.Millisecond {
		t.Errorf("a second of difference moves the clock by %v", d)
	}
}

func TestForgottenSourceIsNotRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refreshed(t, keeptest.Options{Pipe: true}, time.Hour, time.Hour)
		r.c.Forget("zzzzz-4zz18-000000000000001")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := r.calls.Load(); n != 0 {
			t.Errorf("a forgotten source was loaded %d times", n)
		}
		if _, ok := r.c.Locator(md5.Sum(r.data), 1000); ok {
			t.Error("a forgotten block has a locator")
		}
	})
}

func TestManySourcesAreRefreshedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var active, peak, calls int
		var mu sync.Mutex // guards the above
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		var c *Client
		c = client(t, k, func(cfg *Config) {
			cfg.Refresh = func(_ context.Context, source string) error {
				mu.Lock()
				active++
				calls++
				peak = max(peak, active)
				mu.Unlock()
				time.Sleep(time.Second)
				c.Learn(source, []keepio.Locator{k.Sign([]byte(source), 24*time.Hour)})
				mu.Lock()
				defer mu.Unlock()
				active--
				return nil
			}
		})
		for i := range 50 {
			c.Learn(fmt.Sprint(i), []keepio.Locator{k.Sign(fmt.Append(nil, i), time.Hour)})
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if calls != 50 || peak != 1 {
			t.Errorf("%d loads, at most %d at once; want 50, 1", calls, peak)
		}
	})
}

func TestCloseEndsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeptest.New(t, keeptest.Options{Pipe: true})
		c := client(t, k, func(cfg *Config) {
			cfg.Refresh = func(ctx context.Context, _ string) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		data := storetest.Data(3, 100)
		k.Stores[0].Put(data)
		c.Learn("c", []keepio.Locator{k.Sign(data, time.Second)})
		var wg sync.WaitGroup
		wg.Go(func() { wantFetch(t, c, data) }) // by the signature that it has
		synctest.Wait()
		c.Close()
		wg.Wait()
		if err := c.refresh(t.Context(), "d"); !errors.Is(err, context.Canceled) {
			t.Errorf("refresh of a closed client: %v; want Canceled", err)
		}
	})
}
