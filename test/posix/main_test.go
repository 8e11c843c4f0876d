package posix_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"keepdav/test/posix"
)

func TestMain(m *testing.M) {
	posix.Child()
	serveIfAsked()
	unix.Umask(0)
	os.Exit(m.Run())
}

// local is a directory on a disk, removed at the end.
func local(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "posix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskIsAsPOSIXSays(t *testing.T) {
	posix.Run(t, local(t, "/var/tmp"), posix.Options{})
}

func TestMemoryIsAsPOSIXSays(t *testing.T) {
	posix.Run(t, local(t, "/dev/shm"), posix.Options{Without: posix.ZeroRange, Skip: map[string]string{
		"mmap/stores-behind-the-end-are-not-in-the-file": "tmpfs shows them when the file grows",
	}})
}
