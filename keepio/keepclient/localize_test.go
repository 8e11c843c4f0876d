package keepclient

import (
	"crypto/md5"
	"errors"
	"io/fs"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

// remoteLocator is that of data with a permission of another cluster.
func remoteLocator(t *testing.T, data []byte) keepio.Locator {
	t.Helper()
	loc, err := keepio.ParseLocator(keepio.MakeLocator(md5.Sum(data), int64(len(data))).String() + "+Rxxxxx-0123456789abcdef0123456789abcdef01234567@7fffffff")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestBlockOfAnotherClusterGetsALocalLocator(t *testing.T) {
	for _, o := range []keeptest.Options{{Stores: 2}, {Stores: 2, Proxies: 1, Replicas: 2}} {
		k := keeptest.New(t, o)
		k.SetExternal(o.Proxies > 0)
		c := client(t, k, nil)
		data := storetest.Data(1, 5000)
		k.Stores[0].Put(data) // stands for the other cluster's copy
		k.Stores[1].Put(data)
		remote := remoteLocator(t, data)
		c.Learn("xxxxx-4zz18-000000000000001", []keepio.Locator{remote})
		wantFetch(t, c, data)
		if o.Proxies == 0 {
			probed(k, data)[0].Inject(keeptest.Fault{Method: "HEAD", Status: 500})
		}
		loc, err := c.Localize(t.Context(), md5.Sum(data), 5000)
		if err != nil || !loc.Signed() || foreign(loc) || loc.Bare() != remote.Bare() {
			t.Errorf("Localize = %s, signed %v, foreign %v, %v", loc.Bare(), loc.Signed(), foreign(loc), err)
		}
		c.Learn("xxxxx-4zz18-000000000000001", []keepio.Locator{remote})
		if got, _ := c.Locator(md5.Sum(data), 5000); got != loc {
			t.Error("the local locator is forgotten when the other cluster's is learned again")
		}
		again, err := c.Localize(t.Context(), md5.Sum(data), 5000)
		if err != nil || again != loc {
			t.Errorf("Localize again: %v, or another locator", err)
		}
	}
}

func TestLocalizeLeavesOtherBlocksAlone(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{})
	c := client(t, k, nil)
	data := storetest.Data(2, 100)
	loc := k.Sign(data, k.TTL)
	c.Learn("c", []keepio.Locator{loc})
	if got, err := c.Localize(t.Context(), md5.Sum(data), 100); got != loc || err != nil {
		t.Errorf("Localize of a local block: %v", err)
	}
	if got, err := c.Localize(t.Context(), md5.Sum(nil), 0); got != keepio.EmptyLocator || err != nil {
		t.Errorf("Localize of the empty block: %v", err)
	}
	if _, err := c.Localize(t.Context(), [16]byte{1}, 100); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("Localize of an unknown block: %v; want ErrNotFound", err)
	}
	if n := len(k.Stores[0].Requests()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestLocalizeSaysWhatAllServersComeTo(t *testing.T) {
	for _, c := range []struct {
		fault keeptest.Fault
		want  error
		asked int
	}{
		{keeptest.Fault{Status: 404}, keepio.ErrNotFound, 2}, {keeptest.Fault{Status: 401}, fs.ErrPermission, 2}, {keeptest.Fault{Status: 400}, fs.ErrPermission, 2},
		{keeptest.Fault{Status: 500}, keepio.ErrUnavailable, 6}, {keeptest.Fault{Status: 200}, keepio.ErrUnavailable, 2}, {keeptest.Fault{Status: 507}, keepio.ErrFull, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := keeptest.New(t, keeptest.Options{Stores: 2, Pipe: true})
			cl := client(t, k, func(cfg *Config) { cfg.Retries = 2 })
			data := storetest.Data(3, 100)
			cl.Learn("x", []keepio.Locator{remoteLocator(t, data)})
			c.fault.Times = -1
			k.Stores[0].Inject(c.fault)
			k.Stores[1].Inject(c.fault)
			_, err := cl.Localize(t.Context(), md5.Sum(data), 100)
			if asked := len(k.Stores[0].Requests()) + len(k.Stores[1].Requests()); !errors.Is(err, c.want) || asked != c.asked {
				t.Errorf("Localize with status %d: %v after %d requests; want %v after %d", c.fault.Status, err, asked, c.want, c.asked)
			}
		})
	}
}

func TestBlockIsPushedAgainBeforeALateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeptest.New(t, keeptest.Options{Stores: 2, Replicas: 2, Pipe: true, TTL: time.Hour})
		c := client(t, k, nil)
		data := storetest.Data(4, 1000)
		hash := md5.Sum(data)
		if err := pushBlock(t.Context(), t, c, data); err != nil {
			t.Fatal(err)
		}
		puts := func() (n int) {
			for _, s := range k.Stores {
				for _, r := range s.Requests() {
					if r.Method == http.MethodPut {
						n++
					}
				}
			}
			return n
		}
		puts()
		time.Sleep(29 * time.Minute)
		first, err := c.CommitLocator(t.Context(), hash, 1000)
		if n := puts(); err != nil || n != 0 {
			t.Errorf("CommitLocator in time: %v after %d PUTs", err, n)
		}
		time.Sleep(2 * time.Minute)
		second, err := c.CommitLocator(t.Context(), hash, 1000)
		if n := puts(); err != nil || n != 2 || first == second || len(c.Fading()) != 0 {
			t.Errorf("CommitLocator after half the life: %v after %d PUTs; want 2 and another signature", err, n)
		}
		// While there is time, trouble with Keep does not stop the commit.
		for _, s := range k.Stores {
			s.Inject(keeptest.Fault{Status: 500, Times: -1})
		}
		time.Sleep(40 * time.Minute)
		if loc, err := c.CommitLocator(t.Context(), hash, 1000); err != nil || loc != second {
			t.Errorf("CommitLocator during trouble: %v", err)
		}
		time.Sleep(15 * time.Minute)
		if _, err := c.CommitLocator(t.Context(), hash, 1000); !errors.Is(err, keepio.ErrUnavailable) {
			t.Errorf("CommitLocator when the signature is about to end: %v; want ErrUnavailable", err)
		}
	})
}

func TestSourceIsLoadedAgainBeforeACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refreshed(t, keeptest.Options{Pipe: true}, commitTime-time.Minute, time.Hour)
		loc, err := r.c.CommitLocator(t.Context(), md5.Sum(r.data), 1000)
		if at, _ := loc.SignatureExpiry(); err != nil || time.Until(at) < 59*time.Minute || r.calls.Load() != 1 {
			t.Errorf("CommitLocator: %v after %d loads, good for %v", err, r.calls.Load(), time.Until(at))
		}
		if _, err := r.c.CommitLocator(t.Context(), [16]byte{1}, 1000); !errors.Is(err, keepio.ErrNotFound) {
			t.Errorf("CommitLocator of an unknown block: %v; want ErrNotFound", err)
		}
	})
}

func TestCopyOfABlockBeginsAgainAfterABadReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeptest.New(t, keeptest.Options{Stores: 2, Proxies: 1, Replicas: 2, Pipe: true})
		k.SetExternal(true)
		c := client(t, k, func(cfg *Config) { cfg.Retries = 1 })
		data := storetest.Data(5, 300<<10)
		k.Stores[0].Put(data)
		c.Learn("x", []keepio.Locator{remoteLocator(t, data)})
		k.Proxies[0].Inject(keeptest.Fault{Method: http.MethodGet, Corrupt: true})
		if _, err := c.Localize(t.Context(), md5.Sum(data), uint32(len(data))); err != nil || holders(k, data) != 2 {
			t.Errorf("Localize: %v, on %d stores; want 2", err, holders(k, data))
		}
	})
}
