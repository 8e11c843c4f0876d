package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepdav/cmd/internal/fusemount"
	"keepdav/cmd/internal/mounting"
)

// mountPoint makes a directory to mount at. What needs /dev/fuse and the right to
// mount is skipped without them.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	dev, err := fusemount.Mount(dir, fusemount.Options{Source: "test", Subtype: "test"})
	if err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	dev.Close()
	if err := fusemount.Unmount(dir, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what a failed test leaves
		if _, there, err := fusemount.At(dir); err == nil && there {
			_ = fusemount.Unmount(dir, true)
		}
	})
	return dir
}

// sh runs a command of the shell; the process that serves a mount must not wait for it.
func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func TestServerMountsItsStore(t *testing.T) {
	store, dir := t.TempDir(), mountPoint(t)
	cmd, url, output := process(t, store, "--mount", dir, "--mount-read-write")
	r := &rig{cli: &cli{Store: store, JSON: true}, url: url}
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	if got := sh(t, "cat "+dir+"/home/c/f; echo more > "+dir+"/home/c/g"); got != "content" {
		t.Errorf("through the mount the file has %q", got)
	}
	if got := r.must(t, 200, "GET", "/home/c/g", ""); got != "more\n" {
		t.Errorf("GET = %q; want what was written through the mount", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output.text)
	}
	if _, there, err := fusemount.At(dir); err != nil || there {
		t.Errorf("it is still mounted: %v, %v", there, err)
	}
}

func TestUnmountedServerGoesOn(t *testing.T) {
	store, dir := t.TempDir(), mountPoint(t)
	_, url, _ := process(t, store, "--mount", dir)
	r := &rig{cli: &cli{Store: store, JSON: true}, url: url}
	e, there, err := fusemount.At(dir)
	if err != nil || !there || e.Type != "fuse.keep" {
		t.Fatalf("At = %+v, %v, %v", e, there, err)
	}
	if err := mounting.AskUnmount(t.Context(), e, func(mounting.Dirty) {}); err != nil {
		t.Errorf("AskUnmount: %v", err)
	}
	if _, there, err := fusemount.At(dir); err != nil || there {
		t.Errorf("it is still mounted: %v, %v", there, err)
	}
	r.must(t, 201, "MKCOL", "/home/c", "")
}

func TestServerServesMountsOfOthers(t *testing.T) {
	dir := mountPoint(t)
	r := newRigStopped(t)
	stop := r.serve(t)
	attach := func(change func(*mounting.Request)) (*mounting.Mount, error) {
		q := mounting.Request{
			Dir: dir, User: adminName, Layout: mounting.Everything(), CommitOnClose: true,
			WriteCache: mounting.WriteCacheAuto, Source: "test", Subtype: mounting.Subtype,
		}
		change(&q)
		return mounting.Attach(t.Context(), r.cli.Store, dir, q, nil)
	}
	for want, change := range map[string]func(*mounting.Request){
		`no user "nobody"`:       func(q *mounting.Request) { q.User = "nobody" },
		"only way into a store":  func(q *mounting.Request) { q.WriteCache = mounting.WriteCacheOn },
		"the store has no /none": func(q *mounting.Request) { q.Layout.Root = "/none" },
	} {
		if m, err := attach(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Attach = %v, %v; want an error with %q", m, err, want)
		}
		if _, there, err := fusemount.At(dir); err != nil || there {
			t.Errorf("after a refusal it is mounted: %v, %v", there, err)
		}
	}
	m, err := attach(func(*mounting.Request) {})
	if err != nil {
		t.Fatal(err)
	}
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	if got := sh(t, "cat "+dir+"/home/c/f; echo more > "+dir+"/home/c/g"); got != "content" {
		t.Errorf("through the mount the file has %q", got)
	}
	if got := r.must(t, 200, "GET", "/home/c/g", ""); got != "more\n" {
		t.Errorf("GET = %q; want what was written through the mount", got)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	<-m.Leave()
	if err := m.Finish(t.Context(), time.Second, func(mounting.Dirty) {}); err != nil {
		t.Errorf("Finish: %v", err)
	}
	<-stopped
}

func TestServerThatCannotMountDoesNotStart(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	out, err := exec.CommandContext(t.Context(), "env", runMain+"=1", os.Args[0], "serve", "--store", store, "--listen", "127.0.0.1:0", "--mount", store+"/none").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not exist: make it with mkdir") || !strings.Contains(string(out), "the password of its user admin is") {
		t.Errorf("%v\n%s", err, out)
	}
}
