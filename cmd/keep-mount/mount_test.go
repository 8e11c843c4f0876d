package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/fusemount"
)

// runMain makes the test binary behave as keep-mount.
const runMain = "KEEP_MOUNT_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// canMount skips what needs /dev/fuse and the right to mount.
func canMount(t *testing.T) {
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
}

// A place is a store and a mount point of a test.
type place struct{ store, dir string }

func newPlace(t *testing.T) place {
	t.Helper()
	canMount(t)
	p := place{filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "mnt")}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what a failed test leaves
		for range 3 {
			if _, there, err := fusemount.At(p.dir); err != nil || !there {
				return
			}
			_ = fusemount.Unmount(p.dir, true)
		}
	})
	return p
}

func keepMount(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMain+"=1", "KEEPDAV_STORE=", "ARVADOS_API_HOST=")
	return cmd
}

// run runs keep-mount to its end and returns the exit code and what it said.
func (p place) run(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	cmd := keepMount(t.Context(), append([]string{"--store", p.store}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (p place) must(t *testing.T, args ...string) string {
	t.Helper()
	code, said := p.run(t, args...)
	if code != 0 {
		t.Fatalf("keep-mount %q ended with %d: %s", args, code, said)
	}
	return said
}

// sh runs a command of the shell, in a process of its own: this one serves nothing, but
// neither should it wait for a mount that does not answer.
func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// free fails unless nobody has the store open.
func (p place) free(t *testing.T) {
	t.Helper()
	s, err := embedded.Open(t.Context(), embedded.Config{Dir: p.store, Log: zerolog.Nop()})
	if err != nil {
		t.Fatalf("the store after the end: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A foreground is a keep-mount that stays in the foreground.
type foreground struct {
	*exec.Cmd
	said   *bytes.Buffer
	states *net.UnixConn // what it tells systemd
}

// state waits until it tells systemd something that begins with want.
func (f *foreground) state(t *testing.T, want string) {
	t.Helper()
	if err := f.states.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil { // only to fail
		t.Fatal(err)
	}
	for buf := make([]byte, 1000); ; {
		n, err := f.states.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if strings.HasPrefix(string(buf[:n]), want) {
			return
		}
	}
}

// start mounts in the foreground and waits until it is ready.
func (p place) start(t *testing.T, args ...string) *foreground {
	t.Helper()
	dir := t.TempDir()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &foreground{keepMount(context.Background(), append([]string{"--store", p.store, "--foreground"}, args...)...), new(bytes.Buffer), l}
	f.Env = append(f.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	f.Stderr = f.said
	f.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.ProcessState == nil {
			_ = f.Process.Kill()
			_ = f.Wait()
		}
	})
	f.state(t, "READY=1\n")
	return f
}

// end waits for the end and fails unless the code is want.
func (f *foreground) end(t *testing.T, want int) {
	t.Helper()
	f.Wait()
	if code := f.ProcessState.ExitCode(); code != want {
		t.Errorf("it ended with %v; want %d\n%s", f.ProcessState, want, f.said)
	}
}

func TestWhatIsWrittenIsThereAfterANewMount(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if said := p.must(t, "--read-write", p.dir); said != "" {
		t.Errorf("it says %q; want nothing", said)
	}
	sh(t, "mkdir "+p.dir+"/home/c && echo one > "+p.dir+"/home/c/f")
	p.must(t, "--unmount", p.dir)
	p.free(t)
	p.must(t, "--home", p.dir)
	if got := sh(t, "cat "+p.dir+"/c/f"); got != "one\n" {
		t.Errorf("the file has %q", got)
	}
	if out, err := exec.Command("sh", "-c", "echo two > "+p.dir+"/c/f").CombinedOutput(); err == nil || !strings.Contains(string(out), "Read-only") {
		t.Errorf("a write to a read-only mount: %v, %s", err, out)
	}
	p.must(t, "--unmount-all", filepath.Dir(p.dir))
	p.free(t)
}

func TestUmountOfOthersWritesEverythingDown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.start(t, "--read-write", "--home", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f && umount "+p.dir)
	f.end(t, 0)
	p.free(t)
	if got := p.must(t, "--home", p.dir, "--exec", "cat", p.dir+"/c/f"); got != "one\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestSignalWritesEverythingDown(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		p := newPlace(t)
		f := p.start(t, "--read-write", "--commit=fsync", "--home", p.dir)
		sh(t, "mkdir "+p.dir+"/c && head -c 3000000 /dev/zero > "+p.dir+"/c/f")
		if err := f.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		f.end(t, 0)
		if f.said.Len() > 0 {
			t.Errorf("it says %q", f.said)
		}
		if got := p.must(t, "--home", p.dir, "--exec", "stat", "-c", "%s", p.dir+"/c/f"); got != "3000000\n" {
			t.Errorf("after %v the size is %q", sig, got)
		}
	}
}

// use has a program with a file of the mount open until the test ends.
func (p place) use(t *testing.T, file string) {
	t.Helper()
	user := exec.CommandContext(t.Context(), "sh", "-c", "exec 3<"+p.dir+"/"+file+"; echo open; read x")
	in, err := user.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := user.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		user.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the program that uses the mount says %q, %v", line, err)
	}
}

func TestMountInUseIsTakenOutOfTheTree(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.start(t, "--read-write", "--home", "--unmount-timeout=0.2", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f")
	p.use(t, "c/f")
	if err := f.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.end(t, 0)
	if _, there, err := fusemount.At(p.dir); err != nil || there {
		t.Errorf("it is still mounted: %v, %v", there, err)
	}
	p.free(t)
}

func TestSecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.start(t, "--read-write", "--home", "--unmount-timeout=1000", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f")
	p.use(t, "c/f")
	if err := f.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.state(t, "STOPPING=1")
	if err := f.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.end(t, exitCut)
	if !strings.Contains(f.said.String(), "left at once") {
		t.Errorf("it says %q", f.said)
	}
	if got := p.must(t, "--home", "--replace", p.dir, "--exec", "cat", p.dir+"/c/f"); got != "one\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestExecReturnsTheCodeOfTheCommand(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", p.dir, "--exec", "true")
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"true"}}, {7, []string{"sh", "-c", "exit 7"}}, {128 + 15, []string{"sh", "-c", "kill -TERM $$"}},
		{exitNoCommand, []string{"there-is-no-such-command"}}, {exitNoCommand, []string{"/nowhere/x"}}, {exitNoExecute, []string{"/dev/null"}},
	} {
		code, said := p.run(t, append([]string{p.dir, "--exec"}, c.args...)...)
		if code != c.code {
			t.Errorf("--exec %q ended with %d; want %d\n%s", c.args, code, c.code, said)
		}
		if _, there, err := fusemount.At(p.dir); err != nil || there {
			t.Errorf("after --exec %q it is still mounted: %v, %v", c.args, there, err)
		}
	}
}

func TestExecRunsAProgramOfTheMountItself(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", "--home", p.dir, "--exec", "sh", "-c", "mkdir "+p.dir+"/c && cp /bin/true "+p.dir+"/c/ && chmod +x "+p.dir+"/c/true")
	p.must(t, "--home", p.dir, "--exec", p.dir+"/c/true")
}

func TestExecPassesSignalsOn(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP} {
		p := newPlace(t)
		cmd := keepMount(t.Context(), "--store", p.store, "--read-write", "--home", p.dir, "--exec",
			"sh", "-c", "mkdir "+p.dir+"/c; trap 'echo late > "+p.dir+"/c/f; exit 9' TERM INT QUIT HUP; echo ready; while :; do sleep 0.01; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("the command says %q, %v", line, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 9 {
			t.Errorf("after %v it ended with %v; want 9, the code of the command", sig, cmd.ProcessState)
		}
		if got := p.must(t, "--home", p.dir, "--exec", "cat", p.dir+"/c/f"); got != "late\n" {
			t.Errorf("what the command wrote at its end is %q", got)
		}
	}
}

func TestKilledMountIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.start(t, "--read-write", "--home", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f")
	if err := f.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.Wait()
	if code, said := p.run(t, "--home", p.dir); code != 1 || !strings.Contains(said, "--replace") {
		t.Errorf("a mount over a stale one ended with %d: %s", code, said)
	}
	p.must(t, "--home", "--replace", p.dir)
	if got := sh(t, "cat "+p.dir+"/c/f"); got != "one\n" {
		t.Errorf("the file has %q", got)
	}
	p.must(t, "--home", "--replace", p.dir) // of one that works, too
	p.must(t, "--unmount", p.dir)
	p.free(t)
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", p.dir, "--exec", "true")
	file := filepath.Join(p.store, "lock")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"does not exist: make it with mkdir", []string{p.dir + "/none"}},
		{"is not a directory", []string{file}},
		{`no user "nobody-known"`, []string{"--user", "nobody-known", p.dir}},
		{"no collection or project " + someCollection, []string{"--collection", someCollection, p.dir}},
		{"no collection or project " + someProject, []string{"--project", someProject, p.dir}},
		{"no collection or project " + somePDH + "1", []string{"--collection", somePDH + "1", p.dir}},
		{"there is no store in", []string{"--store", p.dir, p.dir}},
	} {
		code, said := p.run(t, c.args...)
		if code != 1 || !strings.Contains(said, c.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%q ended with %d and says %q; want 1 and one line with %q", c.args, code, said, c.want)
		}
		if _, there, err := fusemount.At(p.dir); err != nil || there {
			t.Errorf("after %q something is mounted: %v, %v", c.args, there, err)
		}
	}
	p.free(t)
}

func TestMountedTwiceIsAnErrorThatOffersToReplace(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", p.dir)
	if code, said := p.run(t, p.dir); code != 1 || !strings.Contains(said, "mounted there already") || !strings.Contains(said, "--replace") {
		t.Errorf("a second mount ended with %d: %s", code, said)
	}
	p.must(t, "--unmount", p.dir)
	if code, said := p.run(t, "--unmount", p.dir); code != 1 || !strings.Contains(said, "nothing is mounted at") {
		t.Errorf("a second unmount ended with %d: %s", code, said)
	}
}

func TestLockedStoreThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s, err := embedded.Open(t.Context(), embedded.Config{Dir: p.store, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	code, said := p.run(t, p.dir)
	if code != 1 || !strings.Contains(said, "in use by process") || !strings.Contains(said, "does not answer") {
		t.Errorf("it ended with %d: %s", code, said)
	}
}

func TestMountsOfOneStoreAreServedByTheFirst(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	q := place{p.store, filepath.Join(filepath.Dir(p.dir), "second")}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first := p.start(t, "--read-write", "--write-cache=off", "--home", p.dir)
	second := q.start(t, "--read-write", "--home", q.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f && cat "+q.dir+"/c/f && echo two > "+q.dir+"/c/g && cat "+p.dir+"/c/g")
	if _, err := control.Call(t.Context(), p.store, "ls", nil, nil); err == nil || !strings.Contains(err.Error(), "nothing but mounts") {
		t.Errorf("an administration command: %v", err)
	}
	p.must(t, "--unmount", p.dir) // the first process stays, for the second mount
	sh(t, "cat "+q.dir+"/c/f && echo three > "+q.dir+"/c/h")
	q.must(t, "--unmount", q.dir)
	second.end(t, 0)
	first.end(t, 0)
	p.free(t)
	if got := p.must(t, "--home", p.dir, "--exec", "cat", p.dir+"/c/h"); got != "three\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestServerThatEndsTakesItsMountsAlong(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	q := place{p.store, filepath.Join(filepath.Dir(p.dir), "second")}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first := p.start(t, "--read-write", "--write-cache=off", "--home", p.dir)
	second := q.start(t, "--read-write", "--commit=fsync", "--home", q.dir)
	sh(t, "mkdir "+q.dir+"/c && echo one > "+q.dir+"/c/f")
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.end(t, 0)
	second.end(t, 0)
	p.free(t)
	if got := p.must(t, "--home", p.dir, "--exec", "cat", p.dir+"/c/f"); got != "one\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestServerNoticesThatTheProcessOfAMountIsGone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	q := place{p.store, filepath.Join(filepath.Dir(p.dir), "second")}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first := p.start(t, "--read-write", "--write-cache=off", "--home", p.dir)
	second := q.start(t, "--read-write", "--home", q.dir)
	sh(t, "mkdir "+q.dir+"/c && echo one > "+q.dir+"/c/f")
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	second.Wait()
	p.must(t, "--unmount", p.dir)
	first.end(t, 0) // it waits for the end of the other mount
	if _, there, err := fusemount.At(q.dir); err != nil || there {
		t.Errorf("the mount whose process was killed is still there: %v, %v", there, err)
	}
	p.free(t)
}

func TestMountOfAServerThatWasKilledEnds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	q := place{p.store, filepath.Join(filepath.Dir(p.dir), "second")}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first := p.start(t, "--read-write", "--write-cache=off", "--home", p.dir)
	second := q.start(t, "--home", q.dir)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	second.end(t, 1)
	if !strings.Contains(second.said.String(), "the server that has the store open ended") {
		t.Errorf("it says %q", second.said)
	}
	if _, there, err := fusemount.At(q.dir); err != nil || there {
		t.Errorf("the mount is still there: %v, %v", there, err)
	}
}

func TestStatusShowsWhatAMountDoes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", "--home", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f && cat "+p.dir+"/c/f")
	out, err := keepMount(t.Context(), "status", p.dir, "--interval=0.05").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "OPS/S") || !strings.Contains(string(out), p.dir) {
		t.Errorf("status: %v\n%s", err, out)
	}
	if out, err = keepMount(t.Context(), "status", p.dir, "--json").CombinedOutput(); err != nil || !strings.Contains(string(out), `"ops"`) {
		t.Errorf("status --json: %v\n%s", err, out)
	}
	p.must(t, "--unmount", p.dir)
	if out, err = keepMount(t.Context(), "status", p.dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "is no mount of keep-mount") {
		t.Errorf("status of no mount: %v\n%s", err, out)
	}
}

func TestLineOfFstabMounts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", p.dir, "--exec", "true")
	out, err := keepMount(t.Context(), "fstab", p.store, p.dir, "-o", "rw,home,noauto,x-systemd.automount").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if e, there, err := fusemount.At(p.dir); err != nil || !there || e.Source != p.store || e.Type != "fuse.keep" {
		t.Errorf("At = %+v, %v, %v; want the source as in fstab", e, there, err)
	}
	p.must(t, "--unmount", p.dir)
}

// This needs root, to become somebody else, and a fusermount3 that is set-user-ID root.
func TestOrdinaryUsersMountThroughTheHelper(t *testing.T) {
	canMount(t)
	for _, tool := range []string{"fusermount3", "setpriv", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil || os.Geteuid() != 0 {
			t.Skipf("this needs root and %s: %v", tool, err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "keep-mount-test-") // those of testing are for one user only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/mnt", 0o700), os.Mkdir(dir+"/store", 0o700), os.Chown(dir+"/mnt", 65534, 65534), os.Chown(dir+"/store", 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(dir+"/keep-mount", program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	// In a name space of its own /dev/fuse is for everybody, as it is on most machines.
	script := `set -e
mknod ` + dir + `/fuse c 10 229; chmod 666 ` + dir + `/fuse; mount --bind ` + dir + `/fuse /dev/fuse
as="setpriv --reuid=65534 --regid=65534 --clear-groups env ` + runMain + `=1 HOME=/"
mount="$as ` + dir + `/keep-mount --store ` + dir + `/store"
cd ` + dir + `
$mount --read-write --home mnt
$as sh -c "mkdir mnt/c; echo one > mnt/c/f; stat -c %u:%U mnt/c/f"
cat mnt/c/f 2>&1 || echo not root
$mount --unmount mnt
$mount --home mnt --exec cat mnt/c/f
$mount --home --allow-other mnt 2>&1 || echo refused
`
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "--propagation", "private", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "KEEPDAV_STORE=", "ARVADOS_API_HOST=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"65534:nobody\n", "Permission denied\nnot root\n", "one\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it says %q; want %q in it", out, want)
		}
	}
}

func TestMountRightAfterUmountStays(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "--read-write", "--home", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f")
	for range 4 {
		sh(t, "umount "+p.dir) // does not wait for the program
		p.must(t, "--read-write", "--home", p.dir)
		if got := sh(t, "cat "+p.dir+"/c/f"); got != "one\n" {
			t.Fatalf("the file has %q", got)
		}
	}
	p.must(t, "--unmount", p.dir)
	p.free(t)
}

func TestSignalBeforeTheMountIsReadyEndsTheStart(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.free(t) // makes it
	// A server that does not answer.
	l, err := net.Listen("unix", filepath.Join(p.store, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out bytes.Buffer
	cmd := keepMount(t.Context(), "--store", p.store, p.dir)
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it looks whether somebody answers, then it calls
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "told to leave") {
		t.Errorf("it ended with %v and says %q; want 1 and a word about the signal", cmd.ProcessState, out.String())
	}
}

func TestByPDHFindsNothingElse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	uuid := strings.TrimSpace(p.must(t, "--read-write", "--home", p.dir, "--exec", "sh", "-c",
		"mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f && grep -o '[0-9a-z]\\{5\\}-4zz18-[0-9a-z]\\{15\\}' '"+p.dir+"/c/.arvados#collection' | head -n 1"))
	if !uuidForm.MatchString(uuid) {
		t.Fatalf("the UUID of the collection is %q", uuid)
	}
	_, record, _ := strings.Cut(p.must(t, "--by-id", p.dir, "--exec", "cat", p.dir+"/"+uuid+"/.arvados#collection"), `"portable_data_hash"`)
	pdh := strings.Split(record, `"`)[1]
	if !pdhForm.MatchString(pdh) {
		t.Fatalf("the portable data hash is %q", pdh)
	}
	if got := p.must(t, "--by-pdh", p.dir, "--exec", "sh", "-c", "cat "+p.dir+"/"+pdh+"/f; test -e "+p.dir+"/"+uuid+" || echo not by UUID"); got != "one\nnot by UUID\n" {
		t.Errorf("--by-pdh: %q", got)
	}
}
