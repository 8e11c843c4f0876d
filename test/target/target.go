// Package target runs the server that a test is about: the built keep-dav as a
// child process on a free loopback port, or, for the tests of the tests, the
// reference server of package reference in its place.
//
// A test package calls Main from TestMain, and Start in its tests. The binary
// is built once for a test run. What these variables hold changes it:
//
//	KEEPDAV_TEST_BINARY   use this keep-dav, build none
//	KEEPDAV_TEST_RACE     build keep-dav with the race detector
//	KEEPDAV_TEST_SERVER   "reference": run every test on the reference server
//	KEEPDAV_TEST_STRICT   a missing tool fails the test instead of skipping it
//	KEEPDAV_LONG          the long proofs
package target

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keepdav/test/reference"
)

// The one user that the servers know.
const (
	User     = "admin"
	Password = "correct horse battery"
)

// Kind says which server to run.
type Kind string

// The kinds. KeepDAV is the default.
const (
	KeepDAV          Kind = "keep-dav"
	ReferenceLying   Kind = "reference, lying"
	ReferenceDurable Kind = "reference, durable"
)

// Options of Start; the zero value runs keep-dav on a new store.
type Options struct {
	Kind  Kind
	Store string   // default: a directory of the test's own
	Addr  string   // default: a free address
	Args  []string // more flags of "keep-dav serve"
	Env   []string // more environment
}

// Server is a running server.
type Server struct {
	Kind    Kind
	URL     string // http://127.0.0.1:PORT, no slash at the end
	TLSURL  string // https://, the same port
	Store   string
	Started time.Duration // from fork to the first answer

	client *http.Client
	cmd    *exec.Cmd
	log    *os.File
	done   chan struct{} // closed when the process has ended
	err    error         // of Wait; read after done
}

var binDir string

const childVar = "KEEPDAV_TEST_REFERENCE"

// Main runs the tests of a package, or, in a child process that Start began, a
// reference server.
func Main(m *testing.M) {
	if arg := os.Getenv(childVar); arg != "" {
		f := strings.SplitN(arg, "|", 3)
		fmt.Fprintln(os.Stderr, reference.Serve(f[0], f[2], reference.Mode(f[1]), User, Password))
		os.Exit(1)
	}
	var err error
	if binDir, err = os.MkdirTemp("", "keepdav-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binDir)
	os.Exit(code)
}

// Root is the directory of the module.
func Root() string {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

var (
	buildDAV   = sync.OnceValues(func() (string, error) { return build("keep-dav") })
	buildMount = sync.OnceValues(func() (string, error) { return build("keep-mount") })
)

// build makes one of the commands.
func build(command string) (string, error) {
	root := Root()
	if _, err := os.Stat(filepath.Join(root, "cmd", command)); err != nil {
		return "", err
	}
	bin := filepath.Join(binDir, command)
	args := []string{"build", "-o", bin}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv("KEEPDAV_TEST_RACE") != "" {
		args = append(args, "-race")
		env = append(os.Environ(), "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, "./cmd/"+command)...)
	cmd.Dir, cmd.Env = root, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s is not built: %w\n%s", command, err, out)
	}
	return bin, nil
}

// Binary is the built keep-dav. A checkout without cmd/keep-dav skips the test.
func Binary(t testing.TB) string {
	t.Helper()
	if b := os.Getenv("KEEPDAV_TEST_BINARY"); b != "" {
		return b
	}
	bin, err := buildDAV()
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this checkout has no cmd/keep-dav")
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// MountBinary is the built keep-mount.
func MountBinary(t testing.TB) string {
	t.Helper()
	bin, err := buildMount()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Tool is the path of a program that a test needs.
func Tool(t testing.TB, name string) string {
	t.Helper()
	cache := os.Getenv("KEEPDAV_TEST_CACHE")
	if cache == "" {
		dir, _ := os.UserCacheDir()
		cache = filepath.Join(dir, "keepdav-test")
	}
	for _, dir := range []string{filepath.Join(cache, "bin"), "", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	if os.Getenv("KEEPDAV_TEST_STRICT") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed: scripts/test installs it", name)
	return ""
}

// NeedRoot skips a test that mounts file systems.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts file systems: needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("mounts file systems: this machine has no /dev/fuse")
	}
}

// Long reports whether the long proofs are wanted.
func Long() bool { return os.Getenv("KEEPDAV_LONG") != "" }

// FreeAddr is a loopback address that nobody listens on.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Start runs a server and waits until it answers. The test's end kills it and,
// if the test failed, shows the end of its log.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Store == "" {
		o.Store = filepath.Join(t.TempDir(), "store")
	}
	s, err := TryStart(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TryStart is Start for servers that may fail to start; Options.Store has to be set.
func TryStart(t testing.TB, o Options) (*Server, error) {
	t.Helper()
	if o.Kind == "" {
		o.Kind = KeepDAV
		if os.Getenv("KEEPDAV_TEST_SERVER") == "reference" {
			o.Kind = ReferenceDurable
		}
	}
	addr, err := o.Addr, error(nil)
	if addr == "" {
		addr, err = FreeAddr()
	}
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "keepdav-log-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: o.Kind, Store: o.Store, URL: "http://" + addr, TLSURL: "https://" + addr,
		client: NewClient(), log: log, done: make(chan struct{}),
	}
	switch o.Kind {
	case KeepDAV:
		s.cmd = exec.Command(Binary(t), append([]string{"serve", "--store", o.Store, "--listen", addr}, o.Args...)...)
		s.cmd.Env = append(os.Environ(), "KEEPDAV_ADMIN_PASSWORD="+Password, "GORACE=halt_on_error=1", "KEEPDAV_ACCESS_LOG=errors")
	default:
		mode := reference.Durable
		if o.Kind == ReferenceLying {
			mode = reference.Lying
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.cmd = exec.Command(self)
		s.cmd.Env = append(os.Environ(), childVar+"="+strings.Join([]string{addr, string(mode), o.Store}, "|"))
	}
	s.cmd.Env = append(s.cmd.Env, o.Env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", s.Kind, s.Log(20000))
		}
		log.Close()
		os.Remove(log.Name())
	})
	if err := s.waitUntilItAnswers(); err != nil {
		return nil, err
	}
	s.Started = time.Since(began)
	return s, nil
}

// startLimit is how long a server may take until its first answer. (A test that
// is about the time looks at Started.)
const startLimit = 60 * time.Second

func (s *Server) waitUntilItAnswers() error {
	deadline := time.After(startLimit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return fmt.Errorf("%s ended before it answered: %v\n%s", s.Kind, s.err, s.Log(20000))
		case <-deadline:
			return fmt.Errorf("%s gave no answer within %v\n%s", s.Kind, startLimit, s.Log(20000))
		case <-tick.C:
			// home is there when the store is open, not only the listener.
			resp, err := s.Do("PROPFIND", "/home/", nil, "Depth", "0")
			if err == nil && resp.StatusCode == http.StatusMultiStatus {
				return nil
			}
		}
	}
}

// NewClient is an HTTP client for the tests: no proxy, no redirects followed,
// any certificate.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			DisableCompression:  true,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Response is an answer with its body read.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// Request makes a request with the user's credentials. Path is as in the URL.
func (s *Server) Request(method, path string, body io.Reader, header ...string) (*http.Request, error) {
	r, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(User, Password)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r, nil
}

// Do sends a request and reads the answer.
func (s *Server) Do(method, path string, body []byte, header ...string) (*Response, error) {
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	r, err := s.Request(method, path, rd, header...)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &Response{resp.StatusCode, resp.Header, b}, err
}

// Must is Do for tests: the status has to be one of want.
func (s *Server) Must(t testing.TB, want []int, method, path string, body []byte, header ...string) *Response {
	t.Helper()
	resp, err := s.Do(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	for _, w := range want {
		if resp.StatusCode == w {
			return resp
		}
	}
	t.Fatalf("%s %s = %d; want %v\n%.500s", method, path, resp.StatusCode, want, resp.Body)
	return nil
}

// MakeCollection makes /home/NAME/ and returns that path.
func (s *Server) MakeCollection(t testing.TB, name string) string {
	t.Helper()
	p := "/home/" + name + "/"
	s.Must(t, []int{201}, "MKCOL", p, nil)
	return p
}

// Pid of the server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Kill ends the server at once, as a crash does, and waits for its end.
func (s *Server) Kill() {
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.done
	s.client.CloseIdleConnections()
}

// Done is closed when the process has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// stopLimit is how long a server may take to finish what it has begun.
const stopLimit = 30 * time.Second

// Stop asks the server to finish, and reports if it did not in time or not well.
func (s *Server) Stop() error {
	s.client.CloseIdleConnections()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(stopLimit):
		s.cmd.Process.Signal(syscall.SIGQUIT) // it shows what its goroutines wait for
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
			s.Kill()
		}
		return fmt.Errorf("%s did not stop within %v of SIGTERM\n%s", s.Kind, stopLimit, s.Log(100_000))
	}
	if s.Kind == KeepDAV && s.err != nil {
		return fmt.Errorf("%s stopped by SIGTERM: %w\n%s", s.Kind, s.err, s.Log(20000))
	}
	return nil
}

// Log is the end of what the server printed, at most n bytes.
func (s *Server) Log(n int64) string {
	size, err := s.log.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	b := make([]byte, min(n, size))
	if _, err := s.log.ReadAt(b, size-int64(len(b))); err != nil && err != io.EOF {
		return err.Error()
	}
	return string(b)
}

// Fsck runs "keep-dav fsck" on a store that no server has open. A reference
// server's store has nothing to check.
func Fsck(t testing.TB, kind Kind, store string) error {
	t.Helper()
	if kind != KeepDAV {
		return nil
	}
	return Run(t, "fsck", "--store", store)
}

// Run runs a keep-dav subcommand.
func Run(t testing.TB, args ...string) error {
	t.Helper()
	_, err := Output(t, args...)
	return err
}

// Output is Run, with what the command printed on its standard output.
func Output(t testing.TB, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("keep-dav %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
