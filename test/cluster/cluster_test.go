package cluster

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keepdav/test/faulty"
	"keepdav/test/target"
)

func TestMain(m *testing.M) { target.Main(m) }

// A server is an embedded keep-dav, and a bad network in front of it.
type server struct {
	*target.Server
	proxy *faulty.Proxy
	addr  string // of the server
	url   string // of the proxy
	token string
	away  atomic.Bool // proxy is to stay down
}

// crash ends the server as a kill does, and starts it again.
func (s *server) crash(t *testing.T) error {
	s.Kill()
	next, err := target.TryStart(t, target.Options{Addr: s.addr, Store: s.Store})
	if err != nil {
		return err
	}
	s.Server = next
	return nil
}

// newServer starts one. plain: as far as clients know it is an Arvados.
func newServer(t *testing.T, seed uint64, plain bool) *server {
	t.Helper()
	target.NeedRoot(t)
	addr, err := target.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: addr, Server: target.Start(t, target.Options{Addr: addr})}
	out, err := target.Output(t, "token", "create", "--store", s.Store, target.User)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(out)
	s.token = lines[len(lines)-1]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	if s.proxy, err = faulty.Start(l, faulty.Config{Target: s.URL, Seed: seed, HangFor: 300 * time.Millisecond, Plain: plain}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.Close)
	return s
}

// env is what a program knows of the cluster.
func (s *server) env(t *testing.T) []string {
	home := t.TempDir()
	return append(os.Environ(), "HOME="+home, "XDG_STATE_HOME="+home+"/state", "XDG_CACHE_HOME="+home+"/cache", "XDG_CONFIG_HOME="+home,
		"CACHE_DIRECTORY="+home+"/blocks", "KEEPDAV_STORE=", "ARVADOS_API_HOST="+s.url, "ARVADOS_API_TOKEN="+s.token, "GORACE=halt_on_error=1")
}

// A program is one that works on the cluster.
type program struct {
	*exec.Cmd
	said *bytes.Buffer
	mu   sync.Mutex // guards said
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func start(t *testing.T, env []string, binary string, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(binary, args...), said: new(bytes.Buffer)}
	p.Env, p.Stdout, p.Stderr = env, p, p
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		if text := p.text(); t.Failed() && text != "" {
			t.Logf("%s says:\n%s", filepath.Base(binary), text[max(0, len(text)-6000):])
		}
	})
	return p
}

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(limit); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("after %v: not so: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond) // other processes are at work; nothing tells us
	}
}

// A gate lets pass who waits while it is open, which it is at first.
type gate struct {
	mu     sync.Mutex // guards closed
	closed chan struct{}
}

func (g *gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) Wait() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

// A mount is a mounted home of the token's user.
type mount struct {
	disk
	*program
	env   []string
	there gate // closed while nothing is mounted
}

// mount mounts the home of the token's user on a machine of its own.
func (s *server) mount(t *testing.T) *mount {
	t.Helper()
	m := &mount{disk: disk(t.TempDir()), env: s.env(t)}
	t.Cleanup(func() { _ = syscall.Unmount(string(m.disk), syscall.MNT_DETACH) }) // what a failed test leaves
	m.start(t)
	return m
}

func (m *mount) start(t *testing.T) {
	t.Helper()
	m.program = start(t, m.env, target.MountBinary(t), "--foreground", "--read-write", "--home", string(m.disk))
	eventually(t, "mounted", time.Minute, func() bool {
		var st syscall.Statfs_t
		const fuse = 0x65735546
		return syscall.Statfs(string(m.disk), &st) == nil && st.Type == fuse
	})
}

// crash ends the program of the mount as a kill does, and mounts again.
func (m *mount) crash(t *testing.T) {
	t.Helper()
	m.there.Close()
	defer m.there.Open()
	_ = m.Process.Kill()
	_ = m.Wait()
	_ = syscall.Unmount(string(m.disk), syscall.MNT_DETACH)
	m.start(t)
}

// end unmounts, which has to write everything down.
func (m *mount) end(t *testing.T) {
	t.Helper()
	if err := syscall.Unmount(string(m.disk), 0); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if err := m.Wait(); err != nil {
		t.Errorf("the mount's end: %v\n%s", err, m.text())
	}
}

// front starts a keep-dav in front of the cluster.
func (s *server) front(t *testing.T) drive {
	t.Helper()
	addr, err := target.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	start(t, s.env(t), target.Binary(t), "serve", "--cluster", "--access-log", "errors", "--listen", addr)
	d := drive{url: "http://" + addr + "/home", auth: "Bearer " + s.token, client: target.NewClient()}
	eventually(t, "keep-dav answers", time.Minute, func() bool { _, err := d.do(http.MethodOptions, "", nil); return err == nil })
	return d
}

// direct is the server itself, without the bad network.
func (s *server) direct() drive {
	basic := base64.StdEncoding.EncodeToString([]byte(target.User + ":" + target.Password))
	return drive{url: s.URL + "/home", auth: "Basic " + basic, client: target.NewClient()}
}

// tree returns the files of a mount below dir by their sums, and a text that is the same for
// the same tree.
func (d disk) tree(dir string) (map[string][]string, string, error) {
	all := make(map[string][]string)
	var lines []string
	root := filepath.Join(string(d), dir)
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if e.IsDir() {
			lines = append(lines, rel+"/")
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all[sumOf(data)] = append(all[sumOf(data)], rel)
		lines = append(lines, rel+" "+sumOf(data))
		return nil
	})
	return all, strings.Join(lines, "\n"), err
}

// agree waits until mounts show the same tree, and returns it.
func agree(t *testing.T, dir string, mounts ...*mount) map[string][]string {
	t.Helper()
	var all map[string][]string
	texts := make(map[string]int)
	late := time.Now().Add(60 * time.Second)
	for {
		clear(texts)
		var failed error
		for _, d := range mounts {
			found, text, err := d.tree(dir)
			if err != nil {
				failed = err
				break
			}
			all = found
			texts[text]++
		}
		if failed == nil && len(texts) == 1 {
			return all
		}
		if time.Now().After(late) {
			t.Fatalf("the mounts don't agree: %v\n%s", failed, difference(slices.Collect(maps.Keys(texts))))
		}
		time.Sleep(200 * time.Millisecond) // other processes are at work
	}
}

// difference lists the lines that not all texts have.
func difference(texts []string) string {
	count := make(map[string]int)
	for _, text := range texts {
		for line := range strings.Lines(text) {
			count[strings.TrimSpace(line)]++
		}
	}
	var out []string
	for line, n := range count {
		if n < len(texts) {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return strings.Join(out[:min(len(out), 40)], "\n")
}
