package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"keepdav/collfs"
	"keepdav/web/listen"
)

// Accounts is where users, password hashes and tokens are kept.
type Accounts interface {
	// PasswordHash returns the active user called name, and the hash of the
	// user's password. No such user, one who may not log in, or one without a
	// password: fs.ErrNotExist.
	PasswordHash(ctx context.Context, name string) (collfs.User, string, error)
	// LookupToken returns the active user whom a v2 token stands for, and when
	// it ends (zero: never). A token that is not good is fs.ErrNotExist.
	LookupToken(ctx context.Context, token string) (collfs.User, time.Time, error)
}

// ErrDenied says that the credentials are missing or not good.
var ErrDenied = errors.New("credentials are not accepted")

// A TooManyError says that there were too many failed logins.
type TooManyError struct{ RetryAfter time.Duration }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("too many failed logins, try again in %v", e.RetryAfter.Round(time.Second))
}

const (
	defaultTTL  = 2 * time.Minute
	maxHeader   = 4096
	maxVerified = 10_000
)

// An Authenticator tells from a request's Authorization header who makes it. All
// methods may be called concurrently.
type Authenticator struct {
	accounts Accounts
	ttl      time.Duration
	macs     sync.Pool // of hash.Hash: HMAC-SHA-256 under a key of this process
	dummy    func() string
	byAddr   *limiter
	byUser   *limiter
	flight   singleflight.Group // one argon2 for many connections with the same header
	turns    chan struct{}      // held while a password is compared and its failure counted
	parse    func(header string) (credentials, bool)

	mu       sync.RWMutex             // guards the fields below
	verified map[[32]byte]*credential // by keyed hash of the header
	denied   map[[32]byte]time.Time   // until when what was found bad is bad without asking, see NewTokens; else nil
	epoch    uint64                   // counts calls of Forget
}

// A credential is a header that was found good. It is not changed.
type credential struct {
	user    collfs.User
	proof   string    // the password hash that it matched; "" for a token
	recheck time.Time // to be looked up again after this
}

// New returns an Authenticator over accounts. What was verified is used for ttl
// without asking the accounts again; 0 means two minutes.
func New(accounts Accounts, ttl time.Duration) *Authenticator {
	if ttl <= 0 {
		ttl = defaultTTL
	}
	key := make([]byte, 32)
	rand.Read(key)
	a := &Authenticator{
		accounts: accounts,
		ttl:      ttl,
		byAddr:   newLimiter(addrBurst, addrEvery),
		byUser:   newLimiter(userBurst, userEvery),
		verified: map[[32]byte]*credential{},
		turns:    make(chan struct{}, maxHashers),
		parse:    parse,
	}
	a.macs.New = func() any { return hmac.New(sha256.New, key) }
	// Somebody who does not exist is checked against this, so that the time of
	// the answer does not tell who does.
	a.dummy = sync.OnceValue(func() string {
		h, _ := HashPassword(context.Background(), RandomPassword())
		return h
	})
	return a
}

// Forget drops all that is remembered. Call it after a change of a password, a
// token or a user.
func (a *Authenticator) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.verified)
	clear(a.denied)
	a.epoch++
}

// Check returns the user whom the value of an Authorization header stands for;
// addr is where it comes from. The error is ErrDenied, a *TooManyError, or a
// failure of the accounts.
func (a *Authenticator) Check(ctx context.Context, header string, addr netip.Addr) (collfs.User, error) {
	if header == "" || len(header) > maxHeader {
		return collfs.User{}, ErrDenied
	}
	key := a.keyOf(header)
	a.mu.RLock()
	c, bad := a.verified[key], a.denied[key]
	epoch := a.epoch
	a.mu.RUnlock()
	now := time.Now()
	if c != nil && now.Before(c.recheck) {
		return c.user, nil
	}
	if now.Before(bad) {
		return collfs.User{}, ErrDenied
	}
	cred, ok := a.parse(header)
	if !ok {
		return collfs.User{}, ErrDenied
	}
	cred.addr = listen.Source(addr).String()
	if c == nil {
		if err := a.mayTry(cred); err != nil {
			return collfs.User{}, err
		}
	}
	found, err, _ := a.flight.Do(flightKey(key, epoch), func() (any, error) {
		// The first of several equal requests may be cancelled; the others
		// still want the answer.
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		return a.verify(ctx, cred, c)
	})
	if errors.Is(err, ErrDenied) {
		a.mu.Lock()
		delete(a.verified, key)
		a.rememberBadLocked(key)
		a.mu.Unlock()
	}
	if err != nil {
		return collfs.User{}, err
	}
	c = found.(*credential)
	a.remember(key, c, epoch)
	return c.user, nil
}

// mayTry says whether there were too many failures from the address or for the user.
func (a *Authenticator) mayTry(cred credentials) error {
	now := time.Now()
	wait := a.byAddr.wait(cred.addr, now)
	if cred.token == "" {
		wait = max(wait, a.byUser.wait(cred.name, now))
	}
	if wait > 0 {
		return &TooManyError{RetryAfter: wait}
	}
	return nil
}

// deny counts a failure and returns ErrDenied.
func (a *Authenticator) deny(cred credentials) error {
	now := time.Now()
	a.byAddr.fail(cred.addr, now)
	if cred.token == "" {
		a.byUser.fail(cred.name, now)
	}
	return ErrDenied
}

// flightKey keeps a request from sharing an answer that was asked for before
// the last Forget.
func flightKey(key [32]byte, epoch uint64) string {
	return string(binary.LittleEndian.AppendUint64(key[:], epoch))
}

// remember keeps c, unless Forget was called since epoch was read: what was
// verified then may not be good any more.
func (a *Authenticator) remember(key [32]byte, c *credential, epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != epoch {
		return
	}
	if len(a.verified) >= maxVerified {
		now := time.Now()
		for k, v := range a.verified {
			if now.After(v.recheck) {
				delete(a.verified, k)
			}
		}
		if len(a.verified) >= maxVerified {
			clear(a.verified)
		}
	}
	a.verified[key] = c
}

// verify looks cred up. old, if not nil, is what was found out earlier: a
// password that matched a hash which has not changed is good without argon2.
func (a *Authenticator) verify(ctx context.Context, cred credentials, old *credential) (*credential, error) {
	c := &credential{recheck: time.Now().Add(a.ttl)}
	if cred.token != "" {
		user, ends, err := a.accounts.LookupToken(ctx, cred.token)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, a.deny(cred)
		}
		if err != nil {
			return nil, fmt.Errorf("look up a token: %w", err)
		}
		if !ends.IsZero() {
			if !time.Now().Before(ends) {
				return nil, a.deny(cred)
			}
			if ends.Before(c.recheck) {
				c.recheck = ends
			}
		}
		c.user = user
		return c, nil
	}
	user, stored, err := a.accounts.PasswordHash(ctx, cred.name)
	known := err == nil
	switch {
	case errors.Is(err, fs.ErrNotExist):
		stored = a.dummy()
	case err != nil:
		return nil, fmt.Errorf("look up user %q: %w", cred.name, err)
	}
	c.user, c.proof = user, stored
	if known && old != nil && old.proof == stored {
		return c, nil
	}
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if old == nil {
		// Any number of guesses can be under way before the first has failed. Asking
		// again when the turn comes lets no more through than there are turns.
		if err := a.mayTry(cred); err != nil {
			return nil, err
		}
	}
	good, err := VerifyPassword(ctx, stored, cred.password)
	if err != nil {
		return nil, fmt.Errorf("password of user %q: %w", cred.name, err)
	}
	if !good || !known {
		return nil, a.deny(cred)
	}
	return c, nil
}

// keyOf is the keyed hash under which a header is remembered.
func (a *Authenticator) keyOf(header string) (key [32]byte) {
	m := a.macs.Get().(hash.Hash)
	m.Reset()
	var buf [256]byte
	m.Write(append(buf[:0], header...))
	m.Sum(key[:0])
	a.macs.Put(m)
	return key
}

// credentials are a token, or a name and a password.
type credentials struct {
	name, password string
	token          string
	addr           string // what failures are counted by, besides the name
}

// maxName is the longest name that is looked up: names that failed are remembered.
const maxName = 256

// parse reads an Authorization header. A token may stand in the place of the
// password (with any name, as keep-web has it) or of the name (for clients that
// forget the password).
func parse(header string) (credentials, bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "OAuth2"):
		return credentials{token: rest}, rest != ""
	case !strings.EqualFold(scheme, "Basic"):
		return credentials{}, false
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return credentials{}, false
	}
	name, password, ok := strings.Cut(string(raw), ":")
	switch {
	case !ok:
		return credentials{}, false
	case isToken(password):
		return credentials{token: password}, true
	case isToken(name):
		return credentials{token: name}, true
	}
	if i := strings.LastIndexByte(name, '\\'); i >= 0 { // DOMAIN\user, from Windows
		name = name[i+1:]
	}
	return credentials{name: name, password: password}, name != "" && len(name) <= maxName && password != ""
}

// isToken reports whether s has the form of a v2 token: v2/UUID/SECRET.
func isToken(s string) bool {
	return strings.HasPrefix(s, "v2/") && strings.Count(s, "/") == 2
}
