package api

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says where the server is and how patient its clients are.
type Config struct {
	Host     string        // host or host:port, spoken to by https, or a URL: http://127.0.0.1:8080
	Insecure bool          // whoever answers is trusted, whatever its certificate
	Patience time.Duration // how long to go on trying; 0: 5 minutes
	Timeout  time.Duration // of one attempt; 0: 10 minutes
	MaxReply int64         // bytes of a reply; 0: 512 MiB
	Agent    string        // User-Agent
	HTTP     *http.Client  // nil: one of its own
}

// A Host is an API server.
type Host struct {
	conf  Config
	base  *url.URL // without a path
	http  *http.Client
	limit *limiter
}

// NewHost returns the server that conf names. It does not connect.
func NewHost(conf Config) (*Host, error) {
	base, err := parseHost(conf.Host)
	if err != nil {
		return nil, err
	}
	if conf.Patience == 0 {
		conf.Patience = 5 * time.Minute
	}
	if conf.Timeout == 0 {
		conf.Timeout = 10 * time.Minute
	}
	if conf.MaxReply == 0 {
		conf.MaxReply = 512 << 20
	}
	h := &Host{conf: conf, base: base, http: conf.HTTP, limit: newLimiter()}
	if h.http == nil {
		h.http = &http.Client{Transport: newTransport(conf.Insecure), CheckRedirect: checkRedirect}
	}
	return h, nil
}

// maxRedirects is how often a request may be sent somewhere else.
const maxRedirects = 5

// checkRedirect follows what is only asked for on the same server. Elsewhere, or in the
// clear, the token is not shown, neither as one nor in the address where the request
// comes from; and what changes something is not to be made something else on the way. The answer
// is what the server has said.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	asks := first.Method == http.MethodGet || first.Method == http.MethodHead
	if !asks || r.URL.Scheme != first.URL.Scheme || r.URL.Host != first.URL.Host || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

func parseHost(host string) (*url.URL, error) {
	if host == "" {
		return nil, fmt.Errorf("no API host is given")
	}
	text := host
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("API host: not an address")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "", u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("API host: %q is neither host, host:port nor http(s)://host:port", u.Redacted())
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func newTransport(insecure bool) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       2 * time.Minute,
		MaxIdleConnsPerHost:   maxLimit,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // what ARVADOS_API_HOST_INSECURE asks for
	}
	return t
}

// URL returns the server's address, without a path.
func (h *Host) URL() string { return h.base.String() }

// HTTP returns the client that requests are made with, for what else is to go to
// the same server: the event bus.
func (h *Host) HTTP() *http.Client { return h.http }

// Close ends idle connections.
func (h *Host) Close() { h.http.CloseIdleConnections() }
