package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/keepio"
)

// pool returns one over f, and counts the sessions that it opens.
func (f *fakeCluster) pool(conf PoolConfig) (*Pool, *atomic.Int64) {
	opened := new(atomic.Int64)
	conf.Log = zerolog.Nop()
	conf.Open = func(_ context.Context, token string) (*Session, error) {
		if token == "bad" {
			return nil, errDown
		}
		opened.Add(1)
		return f.session(), nil
	}
	p := NewPool(conf)
	f.t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	return p, opened
}

func TestATokenHasOneSession(t *testing.T) {
	p, opened := newFakeCluster(t).pool(PoolConfig{})
	var all []*Session
	for _, token := range []string{"a", "b", "a"} {
		s, release, err := p.Get(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		all = append(all, s)
	}
	if all[0] != all[2] || all[0] == all[1] || opened.Load() != 2 {
		t.Errorf("%d sessions for two tokens", opened.Load())
	}
	if st := p.Stats(); st.Sessions != 2 {
		t.Errorf("Stats() = %+v", st)
	}
}

func TestAFailedSessionIsTriedAgain(t *testing.T) {
	p, _ := newFakeCluster(t).pool(PoolConfig{})
	for range 2 {
		if _, _, err := p.Get(t.Context(), "bad"); !errors.Is(err, errDown) {
			t.Errorf("Get() = %v", err)
		}
	}
	if st := p.Stats(); st.Sessions != 0 {
		t.Errorf("Stats() = %+v", st)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	p, _ := newFakeCluster(t).pool(PoolConfig{Max: 1})
	_, release, err := p.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Get(t.Context(), "b"); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("a session beyond the bound: %v", err)
	}
	release()
	_, release, err = p.Get(t.Context(), "b")
	if err != nil {
		t.Fatalf("the idle session does not make room: %v", err)
	}
	release()
}

func TestADirtySessionDoesNotEnd(t *testing.T) {
	f := newFakeCluster(t)
	p, opened := f.pool(PoolConfig{Max: 1, Idle: 20 * time.Millisecond})
	s, release, err := p.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	mustMkdir(t, s.FS(), "/home/work")
	f.catalog.down.Store(true)
	if err := putFile(t, s.FS(), "/home/work/x", "x"); err == nil {
		t.Fatal("put on a cluster that is down")
	}
	release()
	p.sweep()
	time.Sleep(30 * time.Millisecond) // the sweeper must find nothing to end in this time
	if _, _, err := p.Get(t.Context(), "b"); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("a dirty session makes room: %v", err)
	}
	f.catalog.down.Store(false)
	again, release, err := p.Get(t.Context(), "a")
	if err != nil || again != s || opened.Load() != 1 {
		t.Fatalf("the dirty session is not the one of its token any more: %v", err)
	}
	if err := s.Files.CommitAll(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	release()
	for late := time.Now().Add(10 * time.Second); p.Stats().Sessions > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("an idle session does not end")
		}
	}
}
