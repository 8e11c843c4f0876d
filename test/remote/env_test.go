package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepdav/test/target"
)

func TestMain(m *testing.M) { target.Main(m) }

// patience is how long something may take that is to happen soon.
const patience = 30 * time.Second

// A site is a keep-dav, and a token for it.
type site struct {
	*target.Server
	t     *testing.T
	addr  string
	token string
}

func newSite(t *testing.T) *site {
	t.Helper()
	target.NeedRoot(t)
	addr, err := target.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, addr: addr, Server: target.Start(t, target.Options{Addr: addr})}
	out, err := target.Output(t, "token", "create", target.User, "--store", s.Store)
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(strings.ReplaceAll(out, "=", " ")) {
		if strings.HasPrefix(word, "v2/") {
			s.token = word
		}
	}
	if s.token == "" {
		t.Fatalf("no token in %q", out)
	}
	return s
}

// start starts the server again, at the same address.
func (s *site) start() {
	s.t.Helper()
	s.Server = target.Start(s.t, target.Options{Store: s.Store, Addr: s.addr})
}

// A machine is somewhere else: it has a home of its own, and the environment says where
// the site is.
type machine struct {
	t    *testing.T
	home string
	env  []string
}

func (s *site) machine(env ...string) *machine {
	m := &machine{t: s.t, home: s.t.TempDir()}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "ARVADOS_") && !strings.HasPrefix(e, "KEEPDAV_") && !strings.HasPrefix(e, "XDG_") {
			m.env = append(m.env, e)
		}
	}
	m.env = append(m.env, "HOME="+m.home, "XDG_STATE_HOME="+m.home+"/state", "XDG_CACHE_HOME="+m.home+"/cache", "XDG_CONFIG_DIRS="+m.home,
		"ARVADOS_API_HOST=http://"+s.addr, "ARVADOS_API_TOKEN="+s.token)
	m.env = append(m.env, env...)
	return m
}

// A mount is a keep-mount on a machine.
type mount struct {
	*machine
	dir string
	cmd *exec.Cmd
	out bytes.Buffer
	log string
}

// mount mounts in the foreground, and waits until it works.
func (m *machine) mount(args ...string) *mount {
	m.t.Helper()
	v := &mount{machine: m, dir: filepath.Join(m.t.TempDir(), "mnt")}
	v.log = v.dir + ".log"
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	v.start(args...)
	m.t.Cleanup(func() {
		v.kill()
		if m.t.Failed() {
			text, _ := os.ReadFile(v.log)
			m.t.Logf("a mount said: %s\nand logged: %s", v.out.String(), text)
		}
	})
	return v
}

func (v *mount) start(args ...string) {
	v.t.Helper()
	args = append([]string{"--read-write", "--foreground", "--logfile", v.log, "--unmount-timeout", "0.5"}, args...)
	v.cmd = exec.Command(target.MountBinary(v.t), append(args, v.dir)...)
	v.cmd.Env, v.cmd.Stdout, v.cmd.Stderr = v.env, &v.out, &v.out
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	ended := make(chan error, 1)
	cmd := v.cmd
	go func() { ended <- cmd.Wait() }()
	v.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		ended <- nil
	})
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(v.dir, ".keep", "stats")); err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- nil
			v.t.Fatalf("keep-mount ended: %v\n%s", err, v.out.String())
		default:
		}
		if time.Now().After(late) {
			v.t.Fatalf("keep-mount does not mount: %s", v.out.String())
		}
	}
}

// kill ends the mount as a crash does.
func (v *mount) kill() {
	_ = v.cmd.Process.Kill()
	_ = exec.Command("umount", "-l", v.dir).Run() // it may be gone
}

// unmount ends the mount well, or says how it did not.
func (v *mount) unmount() (string, error) {
	cmd := exec.Command(target.MountBinary(v.t), "--unmount", v.dir)
	cmd.Env = v.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (v *mount) mustUnmount() {
	v.t.Helper()
	if out, err := v.unmount(); err != nil {
		v.t.Fatalf("unmount: %v\n%s", err, out)
	}
}

func (v *mount) write(name, text string) error {
	return os.WriteFile(filepath.Join(v.dir, name), []byte(text), 0o644)
}

func (v *mount) mustWrite(name, text string) {
	v.t.Helper()
	if err := v.write(name, text); err != nil {
		v.t.Fatal(err)
	}
}

func (v *mount) mustMkdir(name string) {
	v.t.Helper()
	if err := os.Mkdir(filepath.Join(v.dir, name), 0o755); err != nil {
		v.t.Fatal(err)
	}
}

func (v *mount) read(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(v.dir, name))
	return string(data), err
}

// A front is a keep-dav in front of the site.
type front struct {
	*machine
	url    string
	client *http.Client
}

// front starts one on a machine.
func (m *machine) front() *front {
	m.t.Helper()
	addr, err := target.FreeAddr()
	if err != nil {
		m.t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(target.Binary(m.t), "serve", "--listen", addr, "--retries", "2")
	cmd.Env, cmd.Stdout, cmd.Stderr = m.env, &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			m.t.Errorf("the front end ended: %v", err)
		}
		if m.t.Failed() {
			m.t.Logf("the front end said: %s", said.String())
		}
	})
	f := &front{machine: m, url: "http://" + addr, client: target.NewClient()}
	m.t.Cleanup(f.client.CloseIdleConnections)
	f.eventually("the front end answers", func() error {
		status, _, err := f.do("GET", "/readyz", "", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return f
}

// do makes a request with a token as the password.
func (f *front) do(method, path, body, token string) (int, string, error) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, method, f.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.SetBasicAuth("anybody", token)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// eventually waits until try has no error any more.
func (m *machine) eventually(what string, try func() error) {
	m.t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(late) {
			m.t.Fatalf("%s: %v", what, err)
		}
	}
}

var errOther = errors.New("something else")

// has is for eventually: a file reads as text.
func has(read func() (string, error), text string) func() error {
	return func() error {
		got, err := read()
		if err == nil && got != text {
			err = fmt.Errorf("%w: %.60q", errOther, got)
		}
		return err
	}
}
