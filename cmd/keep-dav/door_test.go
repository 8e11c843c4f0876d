package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/settings"
	"keepdav/web/auth"
)

func TestAFrontEndKnowsWhatItsUsersAreNow(t *testing.T) {
	var admin, active atomic.Bool
	admin.Store(true)
	active.Store(true)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/discovery/v1/apis/arvados/v1/rest":
			_ = json.NewEncoder(w).Encode(map[string]any{"uuidPrefix": "zzzzz"}) // who asked may be gone
		case "/arvados/v1/users/current":
			_ = json.NewEncoder(w).Encode(map[string]any{ // who asked may be gone
				"uuid": "zzzzz-tpzed-000000000000ann", "username": "ann", "is_admin": admin.Load(), "is_active": active.Load(),
			})
		default:
			http.NotFound(w, r)
		}
	}))
	defer api.Close()
	at, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m, err := cluster.New(cluster.Config{
		Settings: settings.Settings{API: at}, StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), NoEvent: true, Poll: time.Hour, Retries: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pool := cluster.NewPool(cluster.PoolConfig{Open: m.Session})
	defer func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	door := newTokenDoor(m, pool, zerolog.Nop())
	door.tokens = auth.NewTokens(activeUser(m), time.Nanosecond) // the cluster is asked each time
	enter := func() (isAdmin bool, err error) {
		v, err := door.Enter(t.Context(), "Bearer v2/zzzzz-gj3su-000000000000001/secret", netip.MustParseAddr("127.0.0.1"))
		if err == nil {
			defer v.Leave()
		}
		return v.User.Admin, err
	}
	if is, err := enter(); !is || err != nil {
		t.Fatalf("an administrator is one: %v, %v", is, err)
	}
	admin.Store(false)
	if is, err := enter(); is || err != nil {
		t.Errorf("who is none any more is one: %v, %v", is, err)
	}
	active.Store(false)
	if _, err := enter(); !errors.Is(err, auth.ErrDenied) {
		t.Errorf("who is not active any more has a session: %v", err)
	}
}
