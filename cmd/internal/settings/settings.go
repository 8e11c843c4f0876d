package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The variables that are read.
const (
	hostVar         = "ARVADOS_API_HOST"
	tokenVar        = "ARVADOS_API_TOKEN"
	insecureVar     = "ARVADOS_API_HOST_INSECURE"
	servicesVar     = "ARVADOS_KEEP_SERVICES"
	noWebsocketsVar = "ARVADOS_DISABLE_WEBSOCKETS"
)

// Settings say how a cluster is reached.
type Settings struct {
	API               *url.URL // scheme and host of the API server, nothing else
	Token             string   // as it was given: "" when there is none
	Insecure          bool     // certificates are not checked
	KeepServices      []string // URLs of services to use instead of those that the API server names; usually none
	DisableWebsockets bool     // events are polled for
	From              string   // where the host was named, for people
}

// ErrNoHost says that no cluster is named.
var ErrNoHost = errors.New(hostVar + " is not set")

// ErrNoToken says that there is no token.
var ErrNoToken = errors.New(tokenVar + " is not set")

// Env looks an environment variable up; os.LookupEnv is one.
type Env func(name string) (string, bool)

// A source is where values come from.
type source struct {
	env   Env
	file  map[string]string
	path  string   // of the file; "" when there is none
	paths []string // where it was looked for
}

// Load reads the environment and the settings file. When no host is named the error
// is ErrNoHost; a token may be missing, see NeedToken.
func Load(env Env) (Settings, error) {
	src, err := find(env)
	if err != nil {
		return Settings{}, err
	}
	return src.settings()
}

// InEnvironment tells whether the environment names a cluster.
func InEnvironment(env Env) bool {
	host, _ := env(hostVar)
	return strings.TrimSpace(host) != ""
}

// get returns a value without the space around it, and where it comes from.
func (s *source) get(name string) (value, from string) {
	if v, ok := s.env(name); ok && strings.TrimSpace(v) != "" {
		return strings.TrimSpace(v), "the environment"
	}
	return s.file[name], s.path
}

func (s *source) settings() (set Settings, err error) {
	host, from := s.get(hostVar)
	if host == "" {
		return set, fmt.Errorf("%w, neither in the environment nor in %s", ErrNoHost, strings.Join(s.paths, " or "))
	}
	fail := func(name, from string, err error) (Settings, error) {
		return Settings{}, fmt.Errorf("%s, from %s: %w", name, from, err)
	}
	set.From = from
	if set.API, err = parseHost(host); err != nil {
		return fail(hostVar, from, err)
	}
	if set.Token, from = s.get(tokenVar); set.Token != "" {
		if err := CheckToken(set.Token); err != nil {
			return fail(tokenVar, from, err)
		}
	}
	text, from := s.get(insecureVar)
	if set.Insecure, err = parseBool(text); err != nil {
		return fail(insecureVar, from, err)
	}
	if text, from = s.get(noWebsocketsVar); text != "" {
		if set.DisableWebsockets, err = parseBool(text); err != nil {
			return fail(noWebsocketsVar, from, err)
		}
	}
	text, from = s.get(servicesVar)
	for word := range strings.FieldsSeq(text) {
		if err := checkService(word); err != nil {
			return fail(servicesVar, from, err)
		}
		set.KeepServices = append(set.KeepServices, word)
	}
	return set, nil
}

// NeedToken returns an error when there is no token.
func (s Settings) NeedToken() error {
	if s.Token == "" {
		return fmt.Errorf("%w: %s names %s, and a token is needed to use it", ErrNoToken, s.From, s.API.Host)
	}
	return nil
}

// Name is the API server as people write it: host, or host:port, or a URL when it
// is reached in the clear.
func (s Settings) Name() string {
	if s.API.Scheme == "https" {
		return s.API.Host
	}
	return s.API.String()
}

// parseHost reads host[:port], or a URL that names no more than that.
func parseHost(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		if a, err := netip.ParseAddr(text); err == nil && a.Is6() { // without the brackets of a URL
			text = "[" + text + "]"
		}
		text = "https://" + text
	}
	u, err := parseURL(text)
	if err == nil && strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("only a host and a port are expected, nothing behind them")
	}
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// checkService says why text is no URL of a Keep service.
func checkService(text string) error {
	_, err := parseURL(text)
	return err
}

// parseURL reads the URL of a server: http or https, a host, and perhaps a path.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil { // its text repeats all of the value, which may be a token in the wrong place
		return nil, errors.New("this is no host name and no URL: write for example keep.example.com or http://127.0.0.1:8080")
	}
	port := u.Port()
	switch n, perr := strconv.ParseUint(port, 10, 16); {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("a URL begins with http:// or https://")
	case u.User != nil:
		return nil, errors.New("a user or a password in the URL is not for us")
	case u.Hostname() == "" || strings.ContainsAny(u.Host, " \t\"'\\<>,"):
		return nil, errors.New("there is no name of a host in it")
	case port != "" && (perr != nil || n == 0), strings.HasSuffix(u.Host, ":"):
		return nil, fmt.Errorf("%q is no number of a port", port)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || u.Opaque != "":
		return nil, errors.New("only a host and a port are expected, nothing behind them")
	}
	return u, nil
}

// maxToken is the longest token that is taken.
const maxToken = 1024

// CheckToken says why text cannot be a token. The error does not repeat it.
func CheckToken(text string) error {
	for _, c := range []byte(text) {
		switch {
		case c <= ' ' || c > '~':
			return errors.New("a token has no spaces, no line breaks and nothing but ASCII in it")
		case c == '"' || c == '\'':
			return errors.New("a token has no quotes in it or around it")
		}
	}
	switch parts := strings.Split(text, "/"); {
	case text == "":
		return errors.New("it is empty")
	case len(text) > maxToken:
		return fmt.Errorf("it has %d bytes: no token is that long", len(text))
	case parts[0] == "v2" && (len(parts) < 3 || parts[1] == "" || parts[2] == ""):
		return errors.New("a token of version 2 is written v2/UUID/SECRET: a part is missing")
	case parts[0] != "v2" && len(parts) > 1:
		return errors.New("this is no token: it is neither v2/UUID/SECRET nor a secret alone")
	}
	return nil
}

// parseBool reads what clients of Arvados take for yes, and what people write for no.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "yes", "true", "t", "y", "on":
		return true, nil
	case "", "0", "no", "false", "f", "n", "off":
		return false, nil
	}
	return false, errors.New("this is neither yes nor no: write 1, or 0")
}
