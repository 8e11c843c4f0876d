package posix_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"keepdav/test/posix"
)

// TestInProcessMountsCanBeTried: page faults and the start of other processes
// must not stop the server that they wait for.
func TestInProcessMountsCanBeTried(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts with allow_other here")
	}
	top := local(t, "/var/tmp")
	backing, mnt := filepath.Join(top, "backing"), filepath.Join(top, "mnt")
	for _, d := range []string{backing, mnt} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		t.Fatal(err)
	}
	server, err := fs.Mount(mnt, root, &fs.Options{NullPermissions: true, MountOptions: fuse.MountOptions{
		FsName: "loopback", AllowOther: true, Options: []string{"default_permissions"}, DirectMountStrict: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range posix.Cases() {
		switch area(c.Name) {
		case "mmap", "flock", "fcntl", "fifo":
			if loopbackSkips[c.Name] != "" || c.Needs&posix.Big != 0 {
				continue
			}
			if err := c.In(mnt, "case"); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}
