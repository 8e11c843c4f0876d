package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	url   string // of the proxy
	token string
}

func newServer(t *testing.T, seed uint64) *server {
	t.Helper()
	target.NeedRoot(t)
	s := &server{Server: target.Start(t, target.Options{})}
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
	if s.proxy, err = faulty.Start(l, faulty.Config{Target: s.URL, Seed: seed, HangFor: 300 * time.Millisecond}); err != nil {
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

// mount mounts the home of the token's user.
func (s *server) mount(t *testing.T, args ...string) (disk, *program) {
	t.Helper()
	dir := t.TempDir()
	p := start(t, s.env(t), target.MountBinary(t), append([]string{"--foreground", "--read-write", "--home", dir}, args...)...)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // what a failed test leaves
	eventually(t, "mounted", time.Minute, func() bool {
		var st syscall.Statfs_t
		const fuse = 0x65735546
		return syscall.Statfs(dir, &st) == nil && st.Type == fuse
	})
	return disk(dir), p
}

// end unmounts, which has to write everything down.
func end(t *testing.T, d disk, p *program) {
	t.Helper()
	if err := syscall.Unmount(string(d), 0); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the mount's end: %v\n%s", err, p.text())
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
func agree(t *testing.T, dir string, mounts ...disk) map[string][]string {
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

// Two mounts, a keep-dav in front and one who talks to the server itself change files in
// the same directories, while everything that can fail does. Whatever was acknowledged is
// there at the end, and all see the same.
func TestNothingAcknowledgedIsLostOnABadDay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := newServer(t, seed)
	direct := s.direct()
	if err := direct.mkdir("shared"); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, fmt.Sprintf("shared/d%d", i))
		if err := direct.mkdir(dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	one, p1 := s.mount(t)
	two, p2 := s.mount(t)
	workers := []*worker{{name: "a mount", on: one}, {name: "another mount", on: two}, {name: "a keep-dav in front", on: s.front(t)}, {name: "the server itself", on: direct}}
	steps := 60
	if target.Long() {
		steps = 1000
	}
	s.proxy.SetRate(6)
	ctx, stop := context.WithCancel(t.Context())
	var disturbing, working sync.WaitGroup
	disturbing.Go(func() { s.disturb(ctx, seed) })
	for i, w := range workers {
		w.id, w.dirs, w.dice = i, dirs, rand.New(rand.NewPCG(seed, uint64(i)))
		working.Go(func() {
			for range steps {
				w.step()
			}
		})
	}
	working.Wait()
	stop()
	disturbing.Wait()
	s.proxy.SetRate(0)
	s.proxy.Down(false)
	_, _ = exec.Command("sync", "-f", string(one)).CombinedOutput() // what failed is tried again by the mounts themselves, too
	all := agree(t, "shared", one, two)
	for _, w := range workers {
		t.Logf("%s: %d changes acknowledged, %d refused or unclear", w.name, w.acked, w.fails)
		if w.acked == 0 {
			t.Errorf("%s: nothing was acknowledged", w.name)
		}
		for _, lost := range w.missing(all) {
			t.Errorf("lost: %s", lost)
		}
	}
	t.Logf("faults: %s", s.proxy.Seen())
	end(t, one, p1)
	end(t, two, p2)
	// Who comes later sees the same.
	third, p3 := s.mount(t)
	later, _, err := third.tree("shared")
	if err != nil {
		t.Fatal(err)
	}
	for sum, names := range all {
		if len(later[sum]) < len(names) {
			t.Errorf("a new mount finds %v of %v", later[sum], names)
		}
	}
	end(t, third, p3)
}

// disturb makes the server unreachable, and ends the event bus, now and then.
func (s *server) disturb(ctx context.Context, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 99))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(300+dice.IntN(1500)) * time.Millisecond):
		}
		if dice.IntN(2) == 0 {
			s.proxy.DropEvents()
			continue
		}
		s.proxy.Down(true)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(100+dice.IntN(900)) * time.Millisecond):
		}
		s.proxy.Down(false)
	}
}
