package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const loopbackEnv = "MOUNTPEERS_LOOPBACK"

// A loopback hands every call on a mount to a directory. It runs in a process
// of its own, because a Go program that uses a mount which it serves can hang.
type loopback struct {
	Data, Mount            string
	WriteBack, Passthrough bool
	ReadAheadKiB           int // of the mount; 0 leaves the kernel's
}

func (l loopback) command() *exec.Cmd {
	arg, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings, bools and numbers
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), loopbackEnv+"="+string(arg))
	return c
}

func (l loopback) options() *fs.Options {
	timeout := time.Second
	o := &fs.Options{AttrTimeout: &timeout, EntryTimeout: &timeout, NullPermissions: true}
	o.MountOptions = fuse.MountOptions{
		MaxWrite: mib, MaxReadAhead: mib, MaxBackground: 64,
		DirectMount: true, FsName: "mountpeers", Name: "loopback",
		DisableXAttrs: true, // else each write asks for security.capability
		DisableSplice: true, // replies of 1 MiB do not fit into a pipe
	}
	if l.WriteBack {
		o.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
	}
	if !l.Passthrough {
		o.DisabledCapabilities |= fuse.CAP_PASSTHROUGH
	}
	return o
}

// serveLoopback mounts and serves until a signal unmounts it.
func serveLoopback(arg string) error {
	var l loopback
	if err := json.Unmarshal([]byte(arg), &l); err != nil {
		return err
	}
	// From now on: whoever stops us early must not leave a mount behind.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	root, err := fs.NewLoopbackRoot(l.Data)
	if err != nil {
		return err
	}
	srv, err := fs.Mount(l.Mount, root, l.options())
	if err != nil {
		return err
	}
	go func() {
		for range stop {
			if err := srv.Unmount(); err != nil {
				fmt.Fprintln(os.Stderr, "unmount:", err)
			}
		}
	}()
	if l.ReadAheadKiB > 0 {
		if err := setReadAhead(l.Mount, l.ReadAheadKiB); err != nil {
			return err
		}
	}
	srv.Wait()
	return nil
}

// setReadAhead is the only way to READ requests of more than 128 KiB: the
// kernel bounds what a file system asks for by it.
func setReadAhead(mnt string, kib int) error {
	dev, err := mountDevice(mnt)
	if err != nil {
		return err
	}
	return os.WriteFile(fmt.Sprintf("/sys/class/bdi/%s/read_ahead_kb", dev), fmt.Append(nil, kib), 0)
}

// mountDevice asks the kernel's list: this process must not call into its own mount.
func mountDevice(mnt string) (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == mnt {
			return f[2], nil
		}
	}
	return "", fmt.Errorf("%s is not mounted", mnt)
}
