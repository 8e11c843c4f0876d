package posix_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// serveVar makes the test binary a server of a mount: wrong=NAME of a fault, or none.
const serveVar = "KEEPDAV_POSIX_SERVE"

// serveIfAsked serves os.Args[1] at os.Args[2] until its input ends, if this
// process is to do that.
func serveIfAsked() {
	fault, ok := os.LookupEnv(serveVar)
	if !ok {
		return
	}
	if err := serve(os.Args[1], os.Args[2], fault); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(backing, at, fault string) error {
	unix.Umask(0)
	root, err := loopback(backing, fault)
	if err != nil {
		return err
	}
	// Without NullPermissions go-fuse takes mode 0 for an attribute that was left out.
	server, err := fs.Mount(at, root, &fs.Options{NullPermissions: true, MountOptions: fuse.MountOptions{
		FsName: "loopback", AllowOther: true, Options: []string{"default_permissions"}, DirectMountStrict: true, MaxWrite: 1 << 20,
	}})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Unmount())
}

// mounted is a loopback mount of a new directory in parent, served by another process.
func mounted(t *testing.T, parent, fault string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts with allow_other here")
	}
	top := local(t, parent)
	for _, d := range []string{"backing", "mnt"} {
		if err := os.Mkdir(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(top, "mnt")
	cmd := exec.Command(exe, filepath.Join(top, "backing"), mnt)
	cmd.Env = append(os.Environ(), serveVar+"="+fault)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the server: %v", err)
			if err := syscall.Unmount(mnt, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
				t.Error(err)
			}
		}
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the server did not mount: %v", err)
	}
	return mnt
}
