package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

const (
	keepName        = "keep-mount"
	loopbackName    = "loopback"
	writeBackName   = "loopback-wb"
	passthroughName = "loopback-pt"
	diskName        = "ext4" // whatever -dir is on
)

// serverNames in the order of the table's columns.
var serverNames = []string{keepName, loopbackName, writeBackName, passthroughName, diskName}

// A server is one of the measured mounts, on a directory of its own.
type server struct {
	name    string
	missing string // why it isn't measured
	data    string // what it keeps its data in
	mnt     string
	work    string // where the rows work, inside mnt
	command func() *exec.Cmd
	log     string

	cmd  *exec.Cmd // nil when it doesn't run, and always for the disk
	done chan struct{}
}

func newServer(name, dir string, c *config) *server {
	dir = filepath.Join(dir, name)
	s := &server{name: name, data: filepath.Join(dir, "data"), mnt: filepath.Join(dir, "mnt"), log: filepath.Join(dir, "log")}
	s.work = filepath.Join(s.mnt, "bench")
	for _, d := range []string{s.data, s.mnt} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			s.missing = err.Error()
			return s
		}
	}
	switch name {
	case keepName:
		s.work = filepath.Join(s.mnt, "home", "bench")
		s.data = filepath.Join(dir, "store")
		if c.keepMount == "" {
			s.missing = "no -keep-mount"
		}
		args := keepMountArgs(c.keepArgs, s.data, s.mnt)
		s.command = func() *exec.Cmd { return exec.Command(c.keepMount, args...) }
	case loopbackName, writeBackName, passthroughName:
		l := loopback{Data: s.data, Mount: s.mnt, WriteBack: name == writeBackName, Passthrough: name == passthroughName, ReadAheadKiB: c.readAhead}
		s.command = l.command
	case diskName:
		s.work = filepath.Join(s.data, "bench")
	default:
		s.missing = "unknown mount"
	}
	if s.missing == "" && s.command != nil {
		if _, err := os.Stat("/dev/fuse"); err != nil {
			s.missing = err.Error()
		}
	}
	return s
}

// keepMountArgs fills {store} and {mnt} in, after the words are split.
func keepMountArgs(template, store, mnt string) []string {
	words := strings.Fields(template)
	for i, w := range words {
		words[i] = strings.NewReplacer("{store}", store, "{mnt}", mnt).Replace(w)
	}
	return words
}

// start mounts, and makes the directory that the rows work in.
func (s *server) start() error {
	if s.command != nil {
		if err := s.mount(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := os.Mkdir(s.work, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

func (s *server) mount() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	s.cmd, s.done = cmd, done
	for end := time.Now().Add(time.Minute); ; {
		if mounted(s.mnt) {
			return nil
		}
		select {
		case <-done:
			s.cmd = nil
			return fmt.Errorf("it ended at once:\n%s", s.logTail())
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing is mounted:\n%s", s.logTail())
		}
	}
}

// mounted reads the kernel's list; asking the directory itself could hang.
func mounted(dir string) bool {
	b, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(b), " "+dir+" ")
}

func (s *server) logTail() string {
	b, _ := os.ReadFile(s.log)
	return string(b[max(0, len(b)-2000):])
}

// stop unmounts; the server may be started again on the same data.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := s.ended()
	s.cmd = nil
	if mounted(s.mnt) {
		err = errors.Join(err, fmt.Errorf("%s: left its mount behind", s.name), syscall.Unmount(s.mnt, syscall.MNT_DETACH))
	}
	return err
}

func (s *server) ended() error {
	select {
	case <-s.done:
		return nil
	case <-time.After(2 * time.Minute):
		err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
		return errors.Join(fmt.Errorf("%s: did not end when told to", s.name), err)
	}
}

// cold makes the next access find nothing in memory: the server is mounted
// anew and the kernel's caches are empty.
func (s *server) cold() error {
	if err := s.stop(); err != nil {
		return err
	}
	if err := meter.DropCaches(); err != nil {
		return err
	}
	return s.start()
}

// reset removes what a group has left.
func (s *server) reset() error {
	names, err := os.ReadDir(s.work)
	if err != nil {
		return err
	}
	for _, n := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.work, n.Name())))
	}
	settle()
	return err
}

// path of a file that a row works on.
func (s *server) path(name ...string) string {
	return filepath.Join(append([]string{s.work}, name...)...)
}

// pid is that of no process for the disk, which has no server.
func (s *server) pid() int {
	if s.cmd == nil {
		return noProcess
	}
	return s.cmd.Process.Pid
}

const noProcess = -1

func numbered(prefix string, i int) string { return prefix + strconv.Itoa(i) }
