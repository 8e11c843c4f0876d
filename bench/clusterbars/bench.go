package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

// A bench is a server with a new store, and mounts of it.
type bench struct {
	c      config
	dir    string
	url    string
	token  string
	server *exec.Cmd
	mounts []*mount
}

// A mount is a keep-mount of the home of the token's user.
type mount struct {
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

func newBench(c config, dir string) (b *bench, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	b = &bench{c: c, dir: dir, url: "http://" + addr}
	store := filepath.Join(dir, "store")
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	b.server = exec.Command(filepath.Join(c.bin, "keep-dav"), "serve", "--store", store, "--listen", addr, "--access-log", "errors")
	b.server.Stdout, b.server.Stderr = log, log
	b.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.server.Start(); err != nil {
		return nil, err
	}
	for late := time.Now().Add(30 * time.Second); ; {
		if reply, err := http.Get(b.url + "/healthz"); err == nil {
			reply.Body.Close()
			break
		}
		if time.Now().After(late) {
			b.close()
			return nil, errors.New("keep-dav does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	out, err := exec.Command(filepath.Join(c.bin, "keep-dav"), "token", "create", "--store", store, "admin").Output()
	if err != nil {
		b.close()
		return nil, fmt.Errorf("token: %w", err)
	}
	words := strings.Fields(trimmed(out))
	b.token = words[len(words)-1]
	return b, nil
}

// mount mounts as name, which names what the mount keeps on this machine, too: the same
// name again finds the same cache of blocks.
func (b *bench) mount(name string, args ...string) (*mount, error) {
	home := filepath.Join(b.dir, name)
	m := &mount{dir: filepath.Join(home, "mnt")}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, err
	}
	m.cmd = exec.Command(filepath.Join(b.c.bin, "keep-mount"), append([]string{"--foreground", "--read-write", "--home", m.dir}, args...)...)
	m.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_STATE_HOME="+home+"/state", "XDG_CACHE_HOME="+home+"/cache", "CACHE_DIRECTORY="+home+"/blocks",
		"KEEPDAV_STORE=", "ARVADOS_API_HOST="+b.url, "ARVADOS_API_TOKEN="+b.token)
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	const fuse = 0x65735546
	for late := time.Now().Add(30 * time.Second); ; {
		var st syscall.Statfs_t
		if syscall.Statfs(m.dir, &st) == nil && st.Type == fuse {
			break
		}
		if time.Now().After(late) {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
			return nil, fmt.Errorf("keep-mount is not ready: %s", m.log.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.mounts = append(b.mounts, m)
	return m, nil
}

// end unmounts, and waits until everything is written down.
func (m *mount) end() error {
	if m.cmd.ProcessState != nil {
		return nil
	}
	if err := syscall.Unmount(m.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	if err := m.cmd.Wait(); err != nil {
		return fmt.Errorf("keep-mount: %w: %s", err, m.log.String())
	}
	return nil
}

func (b *bench) close() {
	for _, m := range b.mounts {
		if m.end() != nil {
			_ = syscall.Unmount(m.dir, syscall.MNT_DETACH)
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
		}
	}
	_ = b.server.Process.Signal(syscall.SIGTERM)
	_ = b.server.Wait()
	os.RemoveAll(b.dir)
}

// dropCaches empties the kernel's cache of pages.
func dropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// writeFile writes mib MiB to name, a MiB a call, and syncs.
func writeFile(name string, mib int64, stamp bool) (time.Duration, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	meter.FillRandom(buf)
	began := time.Now()
	for range mib {
		if stamp {
			meter.Stamp(buf)
		}
		if _, err := f.Write(buf); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// readFile reads all of name, a MiB a call.
func readFile(name string, mib int64) (time.Duration, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	began := time.Now()
	var n int64
	for {
		k, err := f.Read(buf)
		n += int64(k)
		if k == 0 || err != nil {
			break
		}
	}
	if n != mib<<20 {
		return 0, fmt.Errorf("%s has %d bytes, not %d MiB", name, n, mib)
	}
	return time.Since(began), nil
}
