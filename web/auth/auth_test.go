package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/collfs"
)

// fakeAccounts has one user and one token, and counts what it is asked.
type fakeAccounts struct {
	mu         sync.Mutex // guards the fields below
	name, hash string
	token      string
	ends       time.Time
	asked      int
	broken     error
}

func (f *fakeAccounts) PasswordHash(_ context.Context, name string) (collfs.User, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.broken != nil {
		return collfs.User{}, "", f.broken
	}
	if name != f.name {
		return collfs.User{}, "", fs.ErrNotExist
	}
	return collfs.User{Name: f.name}, f.hash, nil
}

func (f *fakeAccounts) LookupToken(_ context.Context, token string) (collfs.User, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if token != f.token {
		return collfs.User{}, time.Time{}, fs.ErrNotExist
	}
	return collfs.User{Name: f.name}, f.ends, nil
}

func (f *fakeAccounts) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

var home = netip.MustParseAddr("192.0.2.1")

func newFake(t *testing.T) *fakeAccounts {
	t.Helper()
	h, err := HashPassword(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	return &fakeAccounts{name: "ann", hash: h, token: "v2/zzzzz-gj3su-000000000000000/secret"}
}

func TestFormsOfCredentials(t *testing.T) {
	f := newFake(t)
	a := New(f, 0)
	for _, c := range []struct {
		what, header string
		good         bool
	}{
		{"password", basic("ann", "right"), true},
		{"domain is ignored", basic(`WORKGROUP\ann`, "right"), true},
		{"token as password, any name", basic("whoever", f.token), true},
		{"token as password, no name", basic("", f.token), true},
		{"token as name, no password", basic(f.token, ""), true},
		{"token as name, any password", basic(f.token, "x"), true},
		{"bearer", "Bearer " + f.token, true},
		{"bearer in lower case", "bearer " + f.token, true},
		{"OAuth2", "OAuth2 " + f.token, true},
		{"wrong password", basic("ann", "wrong"), false},
		{"wrong user", basic("bob", "right"), false},
		{"empty password", basic("ann", ""), false},
		{"wrong token", "Bearer v2/zzzzz-gj3su-000000000000000/secreT", false},
		{"nothing", "", false},
		{"no colon", "Basic " + base64.StdEncoding.EncodeToString([]byte("ann")), false},
		{"not base64", "Basic !!!", false},
		{"digest", "Digest username=ann", false},
		{"hash as password", basic("ann", f.hash), false},
	} {
		_, err := a.Check(t.Context(), c.header, home)
		if c.good && err != nil {
			t.Errorf("%s: %v; want to be let in", c.what, err)
		}
		if !c.good && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v; want ErrDenied", c.what, err)
		}
	}
}

func TestVerifiedPasswordIsNotHashedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := New(f, time.Minute)
		check := func() error {
			_, err := a.Check(t.Context(), basic("ann", "right"), home)
			return err
		}
		for range 100 {
			if err := check(); err != nil {
				t.Fatal(err)
			}
		}
		if f.asked != 1 {
			t.Errorf("accounts were asked %d times; want 1", f.asked)
		}
		// After the time is up the accounts are asked, and their answer counts.
		time.Sleep(2 * time.Minute)
		if err := check(); err != nil {
			t.Fatal(err)
		}
		if f.asked != 2 {
			t.Errorf("accounts were asked %d times; want 2", f.asked)
		}
		f.change(func() { f.name = "gone" })
		time.Sleep(2 * time.Minute)
		if err := check(); !errors.Is(err, ErrDenied) {
			t.Errorf("a removed user gets %v; want ErrDenied", err)
		}
	})
}

func TestForgetMakesAChangeCountAtOnce(t *testing.T) {
	f := newFake(t)
	a := New(f, time.Hour)
	if _, err := a.Check(t.Context(), basic("ann", "right"), home); err != nil {
		t.Fatal(err)
	}
	h, err := HashPassword(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	f.change(func() { f.hash = h })
	a.Forget()
	if _, err := a.Check(t.Context(), basic("ann", "right"), home); !errors.Is(err, ErrDenied) {
		t.Errorf("the old password gets %v; want ErrDenied", err)
	}
	if _, err := a.Check(t.Context(), basic("ann", "new"), home); err != nil {
		t.Errorf("the new password gets %v", err)
	}
}

func TestTokenEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.ends = time.Now().Add(10 * time.Second)
		a := New(f, time.Hour)
		if _, err := a.Check(t.Context(), "Bearer "+f.token, home); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := a.Check(t.Context(), "Bearer "+f.token, home); !errors.Is(err, ErrDenied) {
			t.Errorf("a token past its end gets %v; want ErrDenied", err)
		}
	})
}

func TestGuessingIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := New(f, time.Hour)
		if _, err := a.Check(t.Context(), basic("ann", "right"), home); err != nil {
			t.Fatal(err)
		}
		guess := func(i int, addr netip.Addr) error {
			_, err := a.Check(t.Context(), fmt.Sprintf("Bearer v2/x/%d", i), addr)
			return err
		}
		for i := range addrBurst {
			if err := guess(i, home); !errors.Is(err, ErrDenied) {
				t.Fatalf("guess %d: %v; want ErrDenied", i, err)
			}
		}
		var many *TooManyError
		if err := guess(99, home); !errors.As(err, &many) || many.RetryAfter <= 0 {
			t.Fatalf("guess %d: %v; want a TooManyError that says when", addrBurst, err)
		}
		if _, err := a.Check(t.Context(), basic("ann", "right"), home); err != nil {
			t.Errorf("who is logged in gets %v; want to be let in", err)
		}
		if err := guess(100, netip.MustParseAddr("192.0.2.2")); !errors.Is(err, ErrDenied) {
			t.Errorf("another address gets %v; want ErrDenied", err)
		}
		time.Sleep(many.RetryAfter)
		if err := guess(101, home); !errors.Is(err, ErrDenied) {
			t.Errorf("after the time said: %v; want ErrDenied", err)
		}
	})
}

// gathering holds lookups of passwords until all are there.
type gathering struct {
	*fakeAccounts
	all sync.WaitGroup
}

func (g *gathering) PasswordHash(ctx context.Context, name string) (collfs.User, string, error) {
	g.all.Done()
	g.all.Wait()
	return g.fakeAccounts.PasswordHash(ctx, name)
}

func TestGuessesAtOnceAreLimitedToo(t *testing.T) {
	g := &gathering{fakeAccounts: newFake(t)}
	a := New(g, time.Hour)
	const guesses = 5 * addrBurst
	g.all.Add(guesses)
	var tried atomic.Int32
	var wg sync.WaitGroup
	for i := range guesses {
		wg.Go(func() {
			_, err := a.Check(t.Context(), basic("ann", fmt.Sprint("guess ", i)), home)
			if errors.Is(err, ErrDenied) {
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	if n := tried.Load(); n > addrBurst+maxHashers {
		t.Errorf("%d of %d guesses at once were compared; want about %d", n, guesses, addrBurst)
	}
}

func TestAddressesOfOneIPv6NetworkCountAsOne(t *testing.T) {
	a := New(newFake(t), 0)
	for i := range addrBurst + 1 {
		addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)})
		_, err := a.Check(t.Context(), basic("ann", fmt.Sprint("guess ", i)), addr)
		if _, many := errors.AsType[*TooManyError](err); many != (i == addrBurst) {
			t.Fatalf("guess %d, from %v: %v", i, addr, err)
		}
	}
}

func TestBrokenAccountsAreNotADenial(t *testing.T) {
	f := newFake(t)
	f.broken = errors.New("disk on fire")
	a := New(f, 0)
	if _, err := a.Check(t.Context(), basic("ann", "right"), home); err == nil || errors.Is(err, ErrDenied) {
		t.Errorf("Check = %v; want the failure", err)
	}
}

func TestPasswordThatLooksLikeATokenIsRefused(t *testing.T) {
	if _, err := HashPassword(t.Context(), "v2/my/password"); err == nil {
		t.Error("HashPassword took what nobody can log in with")
	}
}

func TestHashesThatWouldExhaustMemoryAreRefused(t *testing.T) {
	for _, h := range []string{"", "x", "$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=1024,t=2,p=1$AAAAAAAAAAAAAAAA$", "$argon2i$v=19$m=1024,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAA"} {
		if ok, err := VerifyPassword(t.Context(), h, "x"); ok || err == nil {
			t.Errorf("VerifyPassword(%q) = %v, %v; want an error", h, ok, err)
		}
	}
}

func BenchmarkVerified(b *testing.B) {
	h, err := HashPassword(b.Context(), "right")
	if err != nil {
		b.Fatal(err)
	}
	a := New(&fakeAccounts{name: "ann", hash: h}, time.Hour)
	header := basic("ann", "right")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Check(b.Context(), header, home); err != nil {
			b.Fatal(err)
		}
	}
}
