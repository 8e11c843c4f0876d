package web

import (
	"context"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/web/auth"
)

// tokenDoor lets in who has the token, and anybody as nobody.
type tokenDoor struct {
	tree  *tree
	fresh []string
	left  atomic.Int64
	fail  error
}

func (d *tokenDoor) Enter(_ context.Context, header string, _ netip.Addr) (Visit, error) {
	v := Visit{FS: d.tree, Leave: func() { d.left.Add(1) }, Fresh: func(_ context.Context, name string) error {
		d.fresh = append(d.fresh, name)
		return d.fail
	}}
	switch header {
	case "Bearer good":
		v.User = collfs.User{Name: "ann"}
	case "":
		v.Anonymous = true
	default:
		return Visit{}, auth.ErrDenied
	}
	return v, nil
}

func TestWhatAnybodyMayRead(t *testing.T) {
	var d *tokenDoor
	s := newSite(t, func(c *Config) {
		d = &tokenDoor{}
		c.Door = d
	})
	d.tree = s.tree
	const id = "/by_id/zzzzz-4zz18-000000000000000"
	s.tree.files[id+"/f"] = []byte("data")
	s.tree.dirs[id] = true
	for _, c := range []struct {
		method, path, auth string
		want               int
	}{
		{"GET", id + "/f", "", 200},
		{"PROPFIND", id + "/f", "", 207},
		{"GET", "/c=zzzzz-4zz18-000000000000000/f", "", 200},
		{"GET", id + "/none", "", 401},
		{"GET", "/", "", 401},
		{"PROPFIND", "/", "", 401},
		{"PUT", id + "/f", "", 401},
		{"DELETE", id + "/f", "", 401},
		{"GET", id + "/none", "Bearer good", 404},
		{"GET", id + "/f", "Bearer bad", 401},
	} {
		before := d.left.Load()
		if r := s.do(t, c.method, c.path, "", "Authorization", c.auth); r.StatusCode != c.want {
			t.Errorf("%s %s as %q = %d; want %d", c.method, c.path, c.auth, r.StatusCode, c.want)
		}
		if left := d.left.Load() - before; left != 1 && c.auth != "Bearer bad" {
			t.Errorf("%s %s as %q: left %d times", c.method, c.path, c.auth, left)
		}
	}
}

func TestProxiesDoNotLeadNobodyElsewhere(t *testing.T) {
	s := newSite(t, nil)
	s.h.conf.Door = &tokenDoor{tree: s.tree}
	const id = "/by_id/zzzzz-4zz18-000000000000000"
	s.tree.dirs[id] = true
	s.tree.files[id+"/f"], s.tree.files["/home/f"] = []byte("data"), []byte("somebody's")
	for auth, want := range map[string]string{"": "data", "Bearer good": "somebody's"} {
		r := s.do(t, "GET", id+"/f", "", "Authorization", auth, "X-Webdav-Prefix", id, "X-Webdav-Source", "/home")
		if r.body != want {
			t.Errorf("GET as %q = %d, %q; want %q", auth, r.StatusCode, r.body, want)
		}
	}
}

func TestWhoWantsItFreshGetsItFresh(t *testing.T) {
	var d *tokenDoor
	s := newSite(t, func(c *Config) {
		d = &tokenDoor{}
		c.Door = d
	})
	d.tree = s.tree
	const id = "/by_id/zzzzz-4zz18-000000000000000"
	s.tree.files[id+"/f"] = []byte("data")
	s.tree.dirs[id] = true
	for _, c := range []struct{ path, header, want string }{
		{id + "/f", "", ""},
		{id + "/f", "max-age=0", ""},
		{id + "/f", "No-Cache", id + "/f"},
		{id + "/f", "max-age=0, must-revalidate", id + "/f"},
		{"/c=zzzzz-4zz18-000000000000000/f", "no-cache", id + "/f"},
		{"/c=zzzzz-4zz18-000000000000000/", "no-cache", id},
	} {
		d.fresh = nil
		s.do(t, "GET", c.path, "", "Authorization", "Bearer good", "Cache-Control", c.header)
		if len(d.fresh) == 0 != (c.want == "") || len(d.fresh) > 0 && d.fresh[0] != c.want {
			t.Errorf("GET %s with Cache-Control %q makes %q fresh; want %q", c.path, c.header, d.fresh, c.want)
		}
	}
	d.fail = keepio.ErrUnavailable
	if r := s.do(t, "GET", id+"/f", "", "Authorization", "Bearer good", "Cache-Control", "no-cache"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("what cannot be made fresh = %d; want 503", r.StatusCode)
	}
}
