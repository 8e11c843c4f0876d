package keepclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	apiTimeout      = 30 * time.Second // for one small reply
	defaultReplicas = 2
	defaultTTL      = 14 * 24 * time.Hour
)

// settings are what the API says about the cluster.
type settings struct {
	replicas int
	classes  []string      // that blocks have by default, sorted
	ttl      time.Duration // of block signatures
}

// An apiClient asks a cluster's API for the little that is needed here.
type apiClient struct {
	base    string
	servers *Servers
}

func newAPIClient(base string, s *Servers) (apiClient, error) {
	u, err := url.Parse(base)
	if err != nil {
		return apiClient{}, errors.New("address of the API is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return apiClient{}, fmt.Errorf("address of the API %q is not an http or https URL of a host", u.Redacted())
	}
	return apiClient{u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/") + "/", s}, nil
}

// get returns the body of the reply to a GET. token may be empty. An error matches
// that of ctx only if ctx has ended: timeouts of our own look like it.
func (a apiClient) get(ctx context.Context, path, token string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	body, err := a.getOnce(limited, path, token)
	if err == nil {
		return body, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("GET %s%s: %w", a.base, path, ctx.Err())
	}
	if _, ok := errors.AsType[*statusError](err); ok {
		return nil, fmt.Errorf("GET %s%s: %w", a.base, path, err)
	}
	return nil, fmt.Errorf("GET %s%s: %s", a.base, path, scrub(err.Error(), token))
}

func (a apiClient) getOnce(ctx context.Context, path, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Request-Id", newRequestID())
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	t, err := roundTrip(ctx, a.servers.proxy, req, proxyTimeouts.get)
	if err != nil {
		return nil, err
	}
	defer t.close()
	a.servers.sawDate(t.resp.Header)
	body, err := io.ReadAll(io.LimitReader(t.resp.Body, maxListBytes))
	if err != nil {
		return nil, t.explain(err)
	}
	if code := t.resp.StatusCode; code != http.StatusOK {
		return nil, &statusError{code: code, text: scrub(string(body), token)}
	}
	return body, nil
}

// A statusError is a reply that is no success.
type statusError struct {
	code int
	text string // what the server says, scrubbed
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%d %s", e.code, http.StatusText(e.code))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// Is makes a refusal match fs.ErrPermission.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrPermission && (e.code == http.StatusUnauthorized || e.code == http.StatusForbidden)
}

// permanent reports whether it is of no use to ask the API again.
func permanent(err error) bool {
	se, ok := errors.AsType[*statusError](err)
	return ok && !retryStatus(se.code)
}

// clusterSettings returns what the cluster wants by default, and asks it once.
func (s *Servers) clusterSettings(ctx context.Context) (settings, error) {
	s.mu.Lock()
	known := s.settings
	s.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return settings{}, ctx.Err()
	}
	defer func() { <-s.asking }()
	s.mu.Lock()
	known = s.settings // somebody else has asked
	s.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	got := settings{replicas: defaultReplicas, ttl: defaultTTL}
	if s.cfg.API != "" {
		if err := s.ask(ctx, "discovery/v1/apis/arvados/v1/rest", got.readDiscovery); err != nil {
			return got, err
		}
		if err := s.ask(ctx, "arvados/v1/config", got.readConfig); err != nil {
			return got, err
		}
	}
	if s.cfg.Replicas > 0 {
		got.replicas = s.cfg.Replicas
	}
	if s.cfg.StorageClasses != nil {
		got.classes = slices.Sorted(slices.Values(s.cfg.StorageClasses))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = &got
	return got, nil
}

// ask reads one document. An API that does not have it, or not for us, leaves the
// defaults.
func (s *Servers) ask(ctx context.Context, path string, read func([]byte) error) error {
	body, err := s.api.get(ctx, path, "")
	if err == nil {
		err = read(body)
	}
	if err != nil && !permanent(err) {
		return fmt.Errorf("read the cluster's settings: %w", err)
	}
	return nil
}

// readDiscovery takes what it knows from a discovery document.
func (s *settings) readDiscovery(body []byte) error {
	var doc struct {
		Replicas int     `json:"defaultCollectionReplication"`
		TTL      float64 `json:"blobSignatureTtl"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("discovery document: %w", err)
	}
	if doc.Replicas > 0 {
		s.replicas = doc.Replicas
	}
	if doc.TTL > 0 && doc.TTL < 1e9 {
		s.ttl = time.Duration(doc.TTL * float64(time.Second))
	}
	return nil
}

// readConfig takes the default storage classes from the public configuration.
func (s *settings) readConfig(body []byte) error {
	var doc struct {
		StorageClasses map[string]struct{ Default bool }
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	s.classes = nil
	for name, c := range doc.StorageClasses {
		if c.Default && validClass(name) {
			s.classes = append(s.classes, name)
		}
	}
	slices.Sort(s.classes)
	return nil
}

// validClass reports whether a storage class can be named in a header.
func validClass(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '=' })
}

// signatureLife is how long a new block signature is good for, as far as known.
func (s *Servers) signatureLife() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settings == nil {
		return defaultTTL
	}
	return s.settings.ttl
}
