package cluster

import (
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keepdav/keepio/blockcache"
	"keepdav/keepio/keepclient"
)

// newKeep serves what a client needs to store blocks, which it signs.
func newKeep(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /discovery/v1/apis/arvados/v1/rest", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"defaultCollectionReplication":1,"blobSignatureTtl":1209600}`)
	})
	mux.HandleFunc("GET /arvados/v1/config", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) })
	mux.HandleFunc("PUT /{hash}", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Keep-Replicas-Stored", "1")
		fmt.Fprintf(w, "%s+%d+A%s@%08x\n", r.PathValue("hash"), n, strings.Repeat("a", 40), time.Now().Add(time.Hour).Unix())
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// openLocators returns those of a session whose cache is in dir.
func openLocators(t *testing.T, dir string) locators {
	t.Helper()
	at := newKeep(t)
	servers, err := keepclient.OpenServers(keepclient.ServersConfig{API: at, Services: []string{at}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Close)
	keep, err := keepclient.New(keepclient.Config{Servers: servers, Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keep.Close)
	cache, err := blockcache.Open(blockcache.Config{Dir: dir, Remote: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	return locators{keep, cache}
}

func TestABlockOfAnEarlierSessionGetsALocator(t *testing.T) {
	dir := t.TempDir()
	data := []byte("stored, but in no record")
	before := openLocators(t, dir)
	if _, err := before.cache.WriteBlock(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	next := openLocators(t, dir)
	loc, err := next.Locator(t.Context(), md5.Sum(data), uint32(len(data)))
	if err != nil || !strings.Contains(loc.String(), "+A") {
		t.Errorf("Locator = %v, %v; want a signed one", loc, err)
	}
	if loc, err := next.Locator(t.Context(), md5.Sum([]byte("x")), 1); err == nil {
		t.Errorf("Locator of a block that nobody has = %v", loc)
	}
}
