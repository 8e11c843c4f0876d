package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal opens both ends of a new one.
func terminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return master, tty
}

func TestInterruptEndsTheQuestionForAPassword(t *testing.T) {
	master, tty := terminal(t)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "user", "add", "ann", "--store", t.TempDir())
	cmd.Env = append(os.Environ(), runMain+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() }) // only to fail
	defer last.Stop()
	seen := make([]byte, 0, 100)
	for buf := make([]byte, 100); !bytes.Contains(seen, []byte("password:")); {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("it says %q, then %v", seen, err)
		}
		seen = append(seen, buf[:n]...)
	}
	if _, err := master.Write([]byte{3}); err != nil { // ^C
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("after an interrupt: %v; want it to end with 1", cmd.ProcessState)
	}
	if after, err := term.GetState(int(tty.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is %v (%v), and was %v; want it as it was", after, err, before)
	}
}

func TestTheLastAdministratorStays(t *testing.T) {
	r := newRig(t)
	do1[userInfo](t, r, "user.add", userArgs{Name: "ann", Password: "pw"})
	do1[userInfo](t, r, "user.active", userArgs{Name: "ann", Active: false})
	do1[userInfo](t, r, "user.add", userArgs{Name: "eve", Password: "pw", Admin: true})
	do1[userInfo](t, r, "user.active", userArgs{Name: adminName, Active: false})
	for _, op := range []string{"user.active", "user.remove"} {
		_, err := call[userInfo](t.Context(), r.cli, op, userArgs{Name: "eve"})
		if want := `user "eve": there is no other active administrator`; err == nil || err.Error() != want {
			t.Errorf("%s of the last administrator: %v; want %s", op, err, want)
		}
	}
	do1[userInfo](t, r, "user.active", userArgs{Name: adminName, Active: true})
	do1[userInfo](t, r, "user.remove", userArgs{Name: "eve"})
}

func TestErrorsSpeakOfWhatTheCommandIsAbout(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	check := func(name string, args any, is error, want string) {
		t.Helper()
		_, err := call[none](t.Context(), r.cli, name, args)
		if !errors.Is(err, is) || err.Error() != want {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	r.must(t, 201, "MKCOL", "/home/c", "")
	for range 2 { // through the server, then without one
		check("user.add", userArgs{Name: adminName, Password: "pw"}, fs.ErrExist, `user "admin" exists already`)
		check("user.passwd", userArgs{Name: "nobody", Password: "pw"}, fs.ErrNotExist, `user "nobody" does not exist`)
		check("project.create", siteArgs{As: adminName, Name: "/home/c"}, fs.ErrExist, `"c" exists already`)
		check("ls", siteArgs{As: adminName, Name: "/home/x"}, fs.ErrNotExist, "/home/x does not exist")
		stop()
	}
}
