package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	keepdavName = "keep-dav"
	user0       = "admin"
	password0   = "bench-only"
)

// serverNames in the order of the table's columns.
var serverNames = []string{keepdavName, "xdav", "xdav-fsync", "rclone", "nginx", "apache"}

// A server is one of the measured ones, on a directory of its own.
type server struct {
	name    string
	missing string // why it isn't measured
	dir     string // what it keeps its data in
	base    string // URL of the collection that the rows work in, with a slash
	command func(addr string) *exec.Cmd
	built   map[string]bool // what the rows have put there already; see once
	puts    []string        // directories of the row put_small_c8

	cmd    *exec.Cmd
	done   chan struct{}
	log    string
	client *http.Client
	auth   bool
}

// once runs f for the server, unless an f of that key has run well before.
func (s *server) once(key string, f func() error) error {
	if s.built[key] {
		return nil
	}
	err := f()
	if err == nil {
		s.built[key] = true
	}
	return err
}

func newServer(name, dir, keepDav string) *server {
	s := &server{name: name, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log"), built: map[string]bool{}, client: newClient()}
	data := filepath.Join(s.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		s.missing = err.Error()
		return s
	}
	switch name {
	case keepdavName:
		s.auth = true
		s.dir = filepath.Join(s.dir, "store")
		if keepDav == "" {
			s.missing = "cmd/keep-dav is not in this checkout"
			break
		}
		s.command = func(addr string) *exec.Cmd {
			c := exec.Command(keepDav, "serve", "--store", s.dir, "--listen", addr)
			c.Env = append(os.Environ(), "KEEPDAV_ADMIN_PASSWORD="+password0)
			return c
		}
	case "xdav", "xdav-fsync":
		self, err := os.Executable()
		if err != nil {
			s.missing = err.Error()
		}
		s.command = func(addr string) *exec.Cmd {
			c := exec.Command(self)
			c.Env = append(os.Environ(), "DAVPEERS_XDAV="+strings.Join([]string{addr, strconv.FormatBool(name == "xdav-fsync"), data}, "|"))
			return c
		}
	case "rclone":
		bin := find("rclone")
		s.command = func(addr string) *exec.Cmd {
			c := exec.Command(bin, "serve", "webdav", data, "--addr", addr, "--config", "/dev/null", "--cache-dir", filepath.Join(s.dir, "cache"))
			return c
		}
		if bin == "" {
			s.missing = "rclone is not installed (scripts/test tools)"
		}
	case "nginx":
		s.setUpNginx(data)
	case "apache":
		s.setUpApache(data)
	default:
		s.missing = "unknown server"
	}
	return s
}

// find looks for a program where scripts/test puts it, in PATH, and in sbin.
func find(name string) string {
	cache := os.Getenv("KEEPDAV_TEST_CACHE")
	if cache == "" {
		dir, _ := os.UserCacheDir()
		cache = filepath.Join(dir, "keepdav-test")
	}
	for _, dir := range []string{filepath.Join(cache, "bin"), "", "/usr/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	return ""
}

func (s *server) setUpNginx(data string) {
	const module = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"
	bin := find("nginx")
	if _, err := os.Stat(module); bin == "" || err != nil {
		s.missing = "nginx with dav-ext is not installed (Debian: nginx-extras)"
		return
	}
	s.command = func(addr string) *exec.Cmd {
		var temps strings.Builder
		for _, t := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&temps, "%s_temp_path %s/tmp-%s;\n", t, s.dir, t)
		}
		as := ""
		if u, err := user.Current(); err == nil && u.Uid == "0" {
			as = "user root;\n"
		}
		conf := as + fmt.Sprintf(`load_module %s;
daemon off; worker_processes auto; pid %s/pid; error_log %s;
events { worker_connections 1024; }
http {
	%saccess_log off; sendfile on; keepalive_requests 1000000; client_max_body_size 0;
	dav_ext_lock_zone zone=locks:10m;
	server {
		listen %s; root %s;
		location / {
			dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK;
			dav_ext_lock zone=locks; dav_access user:rw group:r all:r;
		}
	}
}
`, module, s.dir, s.log, temps.String(), addr, data)
		path := filepath.Join(s.dir, "nginx.conf")
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			return nil
		}
		return exec.Command(bin, "-p", s.dir, "-c", path, "-e", s.log)
	}
}

func (s *server) setUpApache(data string) {
	const modules = "/usr/lib/apache2/modules"
	bin := find("apache2")
	if _, err := os.Stat(modules + "/mod_dav_fs.so"); bin == "" || err != nil {
		s.missing = "Apache with mod_dav is not installed (Debian: apache2-bin)"
		return
	}
	locks := filepath.Join(s.dir, "locks")
	as := ""
	if os.Getuid() == 0 { // it refuses to serve as root
		as = "User www-data\nGroup www-data\n"
	}
	s.command = func(addr string) *exec.Cmd {
		var load strings.Builder
		for _, m := range []string{"mpm_event", "authz_core", "dav", "dav_fs"} {
			fmt.Fprintf(&load, "LoadModule %s_module %s/mod_%s.so\n", m, modules, m)
		}
		conf := load.String() + as + fmt.Sprintf(`ServerRoot %s
ServerName localhost
Listen %s
PidFile %s/pid
ErrorLog %s
DocumentRoot %s
DavLockDB %s/db
MaxKeepAliveRequests 0
<Directory %s>
Dav On
Require all granted
</Directory>
`, s.dir, addr, s.dir, s.log, data, locks, data)
		path := filepath.Join(s.dir, "apache.conf")
		err := os.WriteFile(path, []byte(conf), 0o644)
		if err == nil {
			err = os.MkdirAll(locks, 0o755)
		}
		if u, e := user.Lookup("www-data"); e == nil && as != "" && err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			err = os.Chown(locks, uid, gid)
			if err == nil {
				err = os.Chown(data, uid, gid)
			}
		}
		if err != nil {
			return nil
		}
		return exec.Command(bin, "-f", path, "-DFOREGROUND")
	}
}

// start runs the server and makes the collection that the rows work in.
func (s *server) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	if s.cmd = s.command(addr); s.cmd == nil {
		return fmt.Errorf("%s: its configuration can't be written", s.name)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	root := "http://" + addr + "/"
	if s.name == keepdavName {
		root += "home/"
	}
	s.base = root
	for end := time.Now().Add(time.Minute); ; {
		if _, err = s.do("PROPFIND", "", nil, "Depth", "0"); err == nil {
			break
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended at once:\n%s", s.name, s.logTail())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s gives no answer: %w\n%s", s.name, err, s.logTail())
		}
	}
	s.base = root + "bench/"
	return s.once("bench", func() error {
		s.base = root
		defer func() { s.base = root + "bench/" }()
		return s.mkcol("bench/")
	})
}

func (s *server) logTail() string {
	b, _ := os.ReadFile(s.log)
	return string(b[max(0, len(b)-2000):])
}

// stop ends the server; it may be started again on the same data.
func (s *server) stop() {
	if s.done == nil {
		return
	}
	s.client.CloseIdleConnections()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
	s.done = nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }
