package dav

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCrowdGetsNoServerError lets many clients do everything to a few names at
// once. Each may be refused; none may see the server fail, and the names must
// be consistent at the end.
func TestCrowdGetsNoServerError(t *testing.T) {
	s := newServer(t, func(c *Config) {
		session, _ := newSite(t)
		c.Session = func(*http.Request) (Session, error) { return session("ann"), nil }
	})
	s.put("/home/coll/d/", "/home/coll/e/")
	paths := []string{"/home/coll/d/a", "/home/coll/d/b", "/home/coll/e/a", "/home/coll/c", "/home/coll/d/", "/home/coll/e/"}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			var token string
			for range 150 {
				p, q := paths[rng.IntN(len(paths))], paths[rng.IntN(len(paths))]
				dst := "Destination: " + q + "\nIf: (Not <DAV:no-lock>) (<" + token + ">)"
				if token == "" {
					dst = "Destination: " + q
				}
				var a answer
				switch rng.IntN(10) {
				case 0, 1:
					a = s.do("PUT", p, "", strings.Repeat("x", rng.IntN(100_000)))
				case 2:
					a = s.do("DELETE", p, "", "")
				case 3:
					a = s.do("COPY", p, dst, "")
				case 4:
					a = s.do("MOVE", p, dst, "")
				case 5:
					a = s.do("PROPFIND", "/home/coll/", "Depth: infinity", "")
				case 6:
					a = s.do("LOCK", p, "", sharedXML)
					token, _ = ParseLockToken(a.Header.Get("Lock-Token"))
				case 7:
					a = s.do("UNLOCK", p, "Lock-Token: <"+token+">", "")
				case 8:
					a = s.do("PROPPATCH", p, "", patchXML(fmt.Sprintf(`<Z:p xmlns:Z="z">%d</Z:p>`, w)))
				case 9:
					a = s.do("MKCOL", p, "", "")
				}
				if a.StatusCode >= 500 {
					t.Errorf("%s %s = %s", a.Request.Method, p, a.Status)
				}
			}
		})
	}
	wg.Wait()
	for _, l := range s.locks.List() {
		if err := s.locks.Break(t.Context(), l.Token); err != nil {
			t.Error(err)
		}
	}
	for _, r := range s.propfind("/home/coll/", "Depth: infinity", "") {
		if a := s.do("HEAD", r.Href, "", ""); a.StatusCode != 200 {
			t.Errorf("listed is %s, which answers %s", r.Href, a.Status)
		}
	}
}

func TestLockIsRefreshedByEitherHeader(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	tok := s.lock(200, "/home/coll/f", "", exclusiveXML)
	for _, h := range []string{"If: (<" + tok + ">)", "If: </home/coll/f> (<" + tok + ">)", "Lock-Token: <" + tok + ">", "Lock-Token: " + tok} {
		if a := s.want(200, "LOCK", "/home/coll/f", h+"\nTimeout: Second-77", ""); !strings.Contains(a.text, "Second-77") || !strings.Contains(a.text, tok) {
			t.Errorf("%s: %s", h, a.text)
		}
	}
	s.as("bob", "").want(412, "LOCK", "/shared/x/f", "Lock-Token: "+tok, "")
	if a := s.want(423, "LOCK", "/home/coll/f", "", exclusiveXML); !strings.Contains(a.text, "<D:no-conflicting-lock><D:href>/home/coll/f</D:href>") {
		t.Errorf("a second lock: %s", a.text)
	}
}

func TestHandlerWorksBehindAnyWriter(t *testing.T) {
	// Middleware may hide the connection; deadlines are then a loss, not a failure.
	s := newServer(t)
	locks, err := NewLocks(t.Context(), LockConfig{})
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Locks: locks, Session: func(*http.Request) (Session, error) { return Session{memFS{s.tree, "/d"}, "u"}, nil }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("PUT", "/d/f", strings.NewReader("x")))
	if w.Code != 201 {
		t.Errorf("PUT = %d", w.Code)
	}
}
