package keeptest

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keepdav/keepio"
)

// A Service is a keepstore, or a keepproxy in front of all stores.
type Service struct {
	UUID string
	URL  string

	cluster *Cluster
	proxy   bool

	mu       sync.Mutex // guards the fields below
	blocks   map[[16]byte][]byte
	faults   []Fault
	requests []*http.Request
	ro       bool
	active   int // requests at the moment
	peak     int // the most at once
}

// Inject adds faults. Each request gets the first that is for it.
func (s *Service) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Heal drops the faults that are left.
func (s *Service) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// SetReadOnly is what the API says of the service from now on.
func (s *Service) SetReadOnly(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ro = on
}

func (s *Service) readOnly() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ro
}

// Put stores a block there, behind the clients' backs.
func (s *Service) Put(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[md5.Sum(data)] = data
}

// Block returns the bytes stored under a hash, nil if there are none.
func (s *Service) Block(hash [16]byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocks[hash]
}

// Remove forgets a block.
func (s *Service) Remove(hash [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocks, hash)
}

// Len returns the number of blocks.
func (s *Service) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks)
}

// Requests returns the requests that came, without their bodies, and forgets
// them.
func (s *Service) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// Peak is the largest number of requests that were under way at once.
func (s *Service) Peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// Sign returns the locator of data with a signature that is good for so long.
func (c *Cluster) Sign(data []byte, life time.Duration) keepio.Locator {
	return c.sign(keepio.MakeLocator(md5.Sum(data), int64(len(data))), c.Token, life)
}

func (c *Cluster) sign(loc keepio.Locator, token string, life time.Duration) keepio.Locator {
	if c.NoSign || token == "" {
		return loc
	}
	return keepio.SignLocator(loc, c.Key, token, c.Now().Add(life), c.TTL)
}

// ServeHTTP answers as keepstore or keepproxy does.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := takeFault(&s.faults, r.Method)
	if len(s.requests) < 10000 {
		s.requests = append(s.requests, r)
	}
	s.active++
	s.peak = max(s.peak, s.active)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
	}()
	h := w.Header()
	h.Set("X-Request-Id", "req-keeptest")
	h.Set("Access-Control-Expose-Headers", "X-Keep-Locator, X-Keep-Replicas-Stored, X-Keep-Storage-Classes-Confirmed")
	s.cluster.setDate(w)
	if s.proxy {
		h.Set("Via", "HTTP/1.1 keepproxy")
	} else if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h.Set("Vary", "X-Keep-Signature")
	}
	if f.apply(w, r) {
		return
	}
	if f == nil {
		f = new(Fault)
	}
	if s.proxy && tokenOf(r) != s.cluster.Token {
		fail(w, http.StatusForbidden, "Missing or invalid Authorization header, or method not allowed")
		return
	}
	switch path := strings.TrimLeft(r.URL.Path, "/"); {
	case r.Method == http.MethodPost && s.proxy && path == "":
		s.put(w, r, f, "")
	case r.Method == http.MethodPut && isHash(path):
		s.put(w, r, f, path)
	case r.Method == http.MethodPut && s.proxy && len(path) > 33:
		s.putWithSize(w, r, path)
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && len(path) >= 32 && isHash(path[:32]):
		s.get(w, r, f, path)
	case r.Method == "TOUCH" && isHash(path):
		s.touch(w, r, path)
	case r.Method == http.MethodOptions:
	default:
		fail(w, http.StatusBadRequest, "Bad Request")
	}
}

func fail(w http.ResponseWriter, status int, text string) { http.Error(w, text, status) }

func isHash(s string) bool { return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" }

// putWithSize refuses, as keepproxy does for a locator in the place of a hash.
func (s *Service) putWithSize(w http.ResponseWriter, r *http.Request, path string) {
	_, size, _ := strings.Cut(path, "+")
	if n, err := strconv.ParseInt(size, 10, 64); err != nil || n != r.ContentLength {
		fail(w, http.StatusBadRequest, "Locator size hint does not match Content-Length header")
		return
	}
	w.Header().Set("X-Keep-Replicas-Stored", "0")
	fail(w, http.StatusBadGateway, "block hash did not match provided hash")
}

func (s *Service) put(w http.ResponseWriter, r *http.Request, f *Fault, want string) {
	if f.Early {
		fmt.Fprintf(w, "%s+%d\n", want, r.ContentLength)
		return
	}
	if r.ContentLength < 0 {
		fail(w, http.StatusLengthRequired, "Length Required")
		return
	}
	if r.ContentLength > keepio.BlockSize {
		fail(w, http.StatusRequestEntityTooLarge, "EOF")
		return
	}
	data := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, data); err != nil {
		panic(http.ErrAbortHandler)
	}
	sum := md5.Sum(data)
	if got := hex.EncodeToString(sum[:]); want != "" && got != want {
		if s.proxy {
			w.Header().Set("X-Keep-Replicas-Stored", "0")
			fail(w, http.StatusBadGateway, "block hash "+got+" did not match provided hash "+want)
			return
		}
		fail(w, http.StatusBadRequest, "content hash "+got+" did not match specified locator "+want)
		return
	}
	classes, ok := s.classes(r)
	if !ok {
		fail(w, http.StatusInsufficientStorage, "insufficient storage")
		return
	}
	s.store(data, r)
	h := w.Header()
	h.Set("X-Keep-Replicas-Stored", strconv.Itoa(s.replicas(r)))
	if f.Replicas != "" {
		h.Set("X-Keep-Replicas-Stored", f.Replicas)
	}
	if !s.proxy && !f.NoClasses {
		h.Set("X-Keep-Storage-Classes-Confirmed", classes)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	body := s.cluster.sign(keepio.MakeLocator(sum, int64(len(data))), tokenOf(r), s.cluster.TTL).String()
	if f.Locator != "" {
		body = f.Locator
	}
	if !s.proxy {
		body += "\n"
	}
	_, _ = io.WriteString(w, body)
}

// classes is what a store confirms; ok is false if it knows one of them not.
func (s *Service) classes(r *http.Request) (confirmed string, ok bool) {
	known := s.cluster.Classes
	if len(known) == 0 {
		known = []string{"default"}
	}
	wanted := r.Header.Get("X-Keep-Storage-Classes")
	if wanted == "" {
		return known[0] + "=1", true
	}
	var all []string
	for name := range strings.SplitSeq(wanted, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(known, name) {
			return "", false
		}
		all = append(all, name+"=1")
	}
	return strings.Join(all, ", "), true
}

// replicas is how many replicas a PUT makes.
func (s *Service) replicas(r *http.Request) int {
	if !s.proxy {
		return 1
	}
	n, _ := strconv.Atoi(r.Header.Get("X-Keep-Desired-Replicas"))
	return min(max(n, 1), len(s.cluster.Stores))
}

func (s *Service) store(data []byte, r *http.Request) {
	if !s.proxy {
		s.Put(data)
		return
	}
	for _, st := range s.cluster.Stores[:s.replicas(r)] {
		st.Put(data)
	}
}

// find returns a block's bytes, which for a proxy lie in some store.
func (s *Service) find(hash [16]byte) []byte {
	if !s.proxy {
		return s.Block(hash)
	}
	for _, st := range s.cluster.Stores {
		if data := st.Block(hash); data != nil {
			return data
		}
	}
	return nil
}

func (s *Service) get(w http.ResponseWriter, r *http.Request, f *Fault, path string) {
	loc, err := keepio.ParseLocator(path)
	if err != nil {
		fail(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	if status, text := s.permit(r, loc); status != 0 {
		fail(w, status, text)
		return
	}
	data := s.find(loc.Hash())
	if data == nil || int64(len(data)) != loc.Size() {
		fail(w, http.StatusNotFound, "not found")
		return
	}
	h := w.Header()
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if f.Length != 0 {
		h.Set("Content-Length", strconv.FormatInt(f.Length, 10))
	}
	if !s.proxy && strings.HasPrefix(r.Header.Get("X-Keep-Signature"), "local") {
		h.Set("X-Keep-Locator", s.cluster.sign(keepio.MakeLocator(loc.Hash(), loc.Size()), tokenOf(r), s.cluster.TTL).String())
	}
	if r.Method == http.MethodHead {
		return
	}
	f.send(w, r, data)
}

// permit checks the token and the signature, and answers with 0 if they are good.
func (s *Service) permit(r *http.Request, loc keepio.Locator) (status int, text string) {
	c := s.cluster
	switch {
	case c.NoSign:
		return 0, ""
	case tokenOf(r) == "":
		return http.StatusUnauthorized, "no token provided in Authorization header"
	case strings.Contains(loc.String(), "+R") && !loc.Signed():
		return 0, "" // as if the remote cluster had said yes
	}
	err := keepio.VerifySignature(loc, c.Key, tokenOf(r), c.Now(), c.TTL)
	if expiry, ok := loc.SignatureExpiry(); ok && expiry.Before(c.Now()) {
		status, text = http.StatusUnauthorized, "expired signature"
	} else if err != nil {
		status, text = http.StatusBadRequest, "invalid signature"
	}
	if status != 0 && s.proxy {
		return http.StatusUnprocessableEntity, fmt.Sprintf("GET %s failed: [http://keep0.test/%s: HTTP %d %q]", loc, loc, status, text)
	}
	return status, text
}

// send sends a block, or what f makes of it.
func (f *Fault) send(w http.ResponseWriter, r *http.Request, data []byte) {
	if f.Corrupt {
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
	}
	data = data[:max(0, len(data)-f.Truncate)]
	for f.Trickle > 0 && len(data) > 0 {
		n := min(max(f.Step, 1), len(data))
		if _, err := w.Write(data[:n]); err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = http.NewResponseController(w).Flush()
		data = data[n:]
		select {
		case <-time.After(f.Trickle):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	_, _ = w.Write(data) // the client may have gone; what is missing ends the connection
}

func (s *Service) touch(w http.ResponseWriter, r *http.Request, path string) {
	hash, err := hex.DecodeString(path)
	switch {
	case tokenOf(r) == "":
		fail(w, http.StatusUnauthorized, "Unauthorized")
	case tokenOf(r) != SystemToken:
		fail(w, http.StatusForbidden, "Forbidden")
	case err != nil || s.Block([16]byte(hash)) == nil:
		fail(w, http.StatusNotFound, "not found")
	}
}
