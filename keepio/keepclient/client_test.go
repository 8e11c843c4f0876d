package keepclient

import (
	"bytes"
	"crypto/md5"
	"errors"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

func TestWhatIsPushedCanBeFetched(t *testing.T) {
	for _, o := range []keeptest.Options{{Stores: 3, Replicas: 2}, {Stores: 2, Proxies: 1, Replicas: 2}, {NoSign: true}} {
		k := keeptest.New(t, o)
		k.SetExternal(o.Proxies > 0)
		c := client(t, k, nil)
		for i, n := range []int{1, 3, 4000, 5000, 1<<20 + 17} {
			data := storetest.Data(uint64(i), n)
			if err := pushBlock(t.Context(), t, c, data); err != nil {
				t.Fatalf("Push of %d bytes: %v", n, err)
			}
			copies := 0
			for _, s := range k.Stores {
				if bytes.Equal(s.Block(md5.Sum(data)), data) {
					copies++
				}
			}
			if copies != k.Replicas {
				t.Errorf("Push of %d bytes made %d copies; want %d", n, copies, k.Replicas)
			}
			wantFetch(t, c, data)
			if loc, ok := c.Locator(md5.Sum(data), uint32(n)); !ok || loc.Signed() == o.NoSign {
				t.Errorf("Locator after Push = %v, signed %v", ok, loc.Signed())
			}
		}
	}
}

func TestEmptyBlockNeedsNoServer(t *testing.T) {
	c := clientOf(t, ServersConfig{Services: []string{"http://127.0.0.1:1"}}, "token", nil)
	if err := pushBlock(t.Context(), t, c, nil); err != nil {
		t.Errorf("Push of nothing: %v", err)
	}
	if _, _, err := fetchBlock(t.Context(), c, nil); err != nil {
		t.Errorf("Fetch of nothing: %v", err)
	}
	if loc, ok := c.Locator(md5.Sum(nil), 0); !ok || loc != keepio.EmptyLocator {
		t.Errorf("Locator of nothing = %v, %v", loc.Bare(), ok)
	}
	if err := c.Fetch(t.Context(), [16]byte{1}, 0, new(buffer)); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("Fetch of another block of no bytes: %v; want ErrNotFound", err)
	}
}
