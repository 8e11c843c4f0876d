package apitest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// Options say what kind of cluster it is.
type Options struct {
	NoVersioning   bool
	NoSigning      bool   // locators have no signatures and need none
	NoWebsocket    bool   // there is no event bus
	SlashName      string // ForwardSlashNameSubstitution
	MaxRequestSize int64  // 0: 128 MiB
	KeepUUIDs      bool   // records get the UUIDs that are asked for
	DropsMarks     bool   // preserve_version is kept only if nothing else is asked for
}

// A Server is a cluster's API server.
type Server struct {
	*httptest.Server
	opt Options

	hookMu sync.Mutex                               // guards the field below
	hook   func(r *http.Request, body []byte) Fault // asked about each request before it is served, without locks

	mu          sync.Mutex // guards the fields below
	now         time.Time
	tokens      map[string]*user
	users       map[string]*user
	groups      map[string]*group
	collections map[string]*collection // present states and past versions
	grants      map[grant]collfs.Level
	logs        []map[string]any
	buses       map[*bus]struct{}
	requests    map[string]int
	bytesIn     int64
}

// A Fault is what becomes of a request.
type Fault struct {
	Status     int  // not 0: this is the answer, and nothing is done
	RetryAfter int  // seconds
	Lose       bool // the request is done, the connection breaks before the answer
	Drop       bool // the connection breaks before anything is done
}

const (
	key     = "the key that signs blocks in tests"
	ttl     = 14 * 24 * time.Hour
	cluster = "zzzzz"
	idle    = 10 * time.Second // PreserveVersionIfIdle
)

type grant struct{ user, item string }

type user struct {
	uuid, name, token string
	admin             bool
	created           time.Time
}

type group struct {
	uuid, owner, name, class string
	properties               json.RawMessage
	frozen                   string
	created, modified        time.Time
	trashAt, deleteAt        time.Time
}

type collection struct {
	uuid, current, owner, name, description string
	properties                              json.RawMessage
	text                                    string // unsigned
	version                                 int
	preserve                                bool
	created, modified                       time.Time
	trashAt, deleteAt                       time.Time
}

// New starts a server. End it with Close.
func New(opt Options) *Server {
	s := &Server{
		opt: opt, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), tokens: make(map[string]*user), users: make(map[string]*user),
		groups: make(map[string]*group), collections: make(map[string]*collection), grants: make(map[grant]collfs.Level),
		buses: make(map[*bus]struct{}), requests: make(map[string]int),
	}
	if s.opt.MaxRequestSize == 0 {
		s.opt.MaxRequestSize = 128 << 20
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close ends the server and the connections of its event bus.
func (s *Server) Close() {
	s.DropBuses()
	s.CloseClientConnections()
	s.Server.Close()
}

// SetHook sets what is asked about each request.
func (s *Server) SetHook(hook func(r *http.Request, body []byte) Fault) {
	s.hookMu.Lock()
	defer s.hookMu.Unlock()
	s.hook = hook
}

// GetHook returns what SetHook has set.
func (s *Server) GetHook() func(r *http.Request, body []byte) Fault {
	s.hookMu.Lock()
	defer s.hookMu.Unlock()
	return s.hook
}

// AddUser makes a user and returns the UUID and a token.
func (s *Server) AddUser(name string, admin bool) (id collfs.UUID, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &user{uuid: newUUID("tpzed"), name: name, admin: admin, created: s.tick()}
	u.token = "v2/" + newUUID("gj3su") + "/" + newUUID("tpzed")[12:] + newUUID("tpzed")[12:] + newUUID("tpzed")[12:]
	s.users[u.uuid], s.tokens[u.token] = u, u
	return collfs.UUID(u.uuid), u.token
}

// Grant lets a user do with an item what level says.
func (s *Server) Grant(user, item collfs.UUID, level collfs.Level) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[grant{string(user), string(item)}] = level
}

// Freeze makes a project one that nobody changes.
func (s *Server) Freeze(project collfs.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[string(project)].frozen = "zzzzz-tpzed-000000000000000"
}

// Advance moves the clock.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// Requests returns how many requests were made: of a method and a resource, such as
// "PATCH collections".
func (s *Server) Requests(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[what]
}

// BytesIn returns how many bytes of bodies have come.
func (s *Server) BytesIn() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytesIn
}

// Manifest returns the manifest of a record, without signatures.
func (s *Server) Manifest(uuid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.collections[uuid]; k != nil {
		return k.text
	}
	return ""
}

// Manifests returns the manifests of all versions of a collection, in order.
func (s *Server) Manifests(uuid string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := make(map[int]string)
	for _, k := range s.collections {
		if k.current == uuid {
			versions[k.version] = k.text
		}
	}
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		all = append(all, versions[v])
	}
	return all
}

// Sign returns the locator of a block as Keep signs it for a token.
func (s *Server) Sign(token string, hash [16]byte, size uint32) keepio.Locator {
	loc := keepio.MakeLocator(hash, int64(size))
	if s.opt.NoSigning {
		return loc
	}
	return keepio.SignLocator(loc, key, token, time.Now().Add(ttl), ttl)
}

// sign puts signatures into a manifest.
func (s *Server) sign(token, text string) string {
	if s.opt.NoSigning {
		return text
	}
	out := make([]byte, 0, 2*len(text))
	_ = manifest.Scan(text, func(st *manifest.Stream) error {
		for i, l := range st.Locators {
			st.Locators[i] = keepio.SignLocator(l, key, token, time.Now().Add(ttl), ttl)
		}
		out = st.AppendTo(out)
		return nil
	}) // of what was checked when it came
	return string(out)
}

// checkSigned checks the locators that come from a client.
func (s *Server) checkSigned(token string, loc keepio.Locator) error {
	if s.opt.NoSigning || loc.Size() == 0 {
		return nil
	}
	expiry, ok := loc.SignatureExpiry()
	if !ok || keepio.SignLocator(loc.Unsigned(), key, token, expiry, ttl).String() != loc.String() {
		return &refusal{http.StatusForbidden, "ArvadosModel::PermissionDeniedError"}
	}
	return nil
}

// tick returns the present time, which never comes twice.
func (s *Server) tick() time.Time {
	s.now = s.now.Add(time.Microsecond)
	return s.now
}

func newUUID(kind string) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b [15]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return fmt.Sprintf("%s-%s-%s", cluster, kind, b[:])
}

// A refusal is an answer that isn't 200.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

var (
	errNotFound  = &refusal{http.StatusNotFound, "Path not found"}
	errForbidden = &refusal{http.StatusForbidden, "Forbidden"}
)
