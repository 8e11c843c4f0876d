package fusefs_test

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
	"keepdav/davfs/fusefs"
	"keepdav/keepio"
)

func (m *mount) stats() (s fusefs.Stats) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.do("stats", "", "")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// While the catalog is down, nothing is taken for kept; when it is there again
// nothing is missing.
func TestFailuresAreToldUntilTheyEnd(t *testing.T) {
	for _, cached := range []bool{true, false} {
		t.Run(fmt.Sprint("cached=", cached), func(t *testing.T) {
			m := newMount(t, func(o *fusefs.Options) { o.WriteCache = cached })
			for _, name := range []string{"renamed", "unlinked", "chmod", "written", "mapped"} {
				m.write(name, "old")
			}
			mapped, err := os.OpenFile(filepath.Join(m.dir, "mapped"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer mapped.Close()
			mem, err := syscall.Mmap(int(mapped.Fd()), 0, 3, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			m.do("fail", "", "", 1)
			eio := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%s = %v; want EIO", what, err)
				}
			}
			in := func(name string) string { return filepath.Join(m.dir, name) }
			// Names and attributes: kept in the background.
			for what, do := range map[string]func() error{
				"mkdir":  func() error { return os.Mkdir(in("made"), 0o755) },
				"rename": func() error { return os.Rename(in("renamed"), in("to")) },
				"unlink": func() error { return os.Remove(in("unlinked")) },
				"chmod":  func() error { return os.Chmod(in("chmod"), 0o600) },
			} {
				if err := do(); err != nil {
					t.Errorf("%s = %v", what, err)
				}
			}
			for range 2 {
				eio("fsync of the directory", syncDir(m.dir))
			}
			if s := m.stats(); len(s.Failing) != 1 || s.Dirty != 1 {
				t.Errorf("stats tell of %d dirty collections, failing: %q; want 1 and 1", s.Dirty, s.Failing)
			}
			// Data, by two descriptors.
			f, err := os.OpenFile(in("written"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("NEW"), 0); err != nil {
				t.Fatal(err)
			}
			dup, err := syscall.Dup(int(f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				eio("fsync", f.Sync())
			}
			eio("close of one descriptor", syscall.Close(dup))
			eio("close", f.Close())
			f, err = os.OpenFile(in("written"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			eio("close of a file that was opened since", f.Close())
			copy(mem, "MAP")
			eio("msync", msync(mem))
			eio("fsync of what was mapped", mapped.Sync())
			err = os.WriteFile(in("created"), []byte("NEW"), 0o644)
			eio("close of a new file", err)

			m.do("fail", "", "", 0)
			if err := syncDir(m.dir); err != nil {
				t.Errorf("when the catalog is there again, fsync = %v", err)
			}
			if s := m.stats(); len(s.Failing) != 0 || s.Dirty != 0 {
				t.Errorf("stats tell of %d dirty collections, failing: %q; want none", s.Dirty, s.Failing)
			}
			if err := mapped.Sync(); err != nil {
				t.Error(err)
			}
			if err := syscall.Munmap(mem); err != nil {
				t.Error(err)
			}
			far := m.another()
			for name, want := range map[string]string{"to": "old", "written": "NEW", "mapped": "MAP", "created": "NEW"} {
				within(t, name, func() bool { got, err := far.try("get", "/home/c/"+name, ""); return err == nil && got == want })
			}
		})
	}
}

func msync(b []byte) error {
	_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, addressOf(b), uintptr(len(b)), syscall.MS_SYNC)
	if errno != 0 {
		return errno
	}
	return nil
}

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

// The kernel tells once that it could not write, and takes its pages for written.
func TestFullDiskIsToldUntilWhatIsMissingIsWritten(t *testing.T) {
	for _, cached := range []bool{true, false} {
		t.Run(fmt.Sprint("cached=", cached), func(t *testing.T) {
			m := mountStore(t, false, 24<<20, func(o *fusefs.Options) { o.WriteCache = cached })
			m.do("fail store", "", "", 1)
			m.write("small", "kept")
			f, err := os.Create(m.path("big"))
			m.must(err)
			defer f.Close()
			data := bytes.Repeat([]byte("0123456789abcdef"), 40<<20/16)
			_, err = f.Write(data)
			if err == nil {
				err = f.Sync()
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("writing more than the disk holds = %v; want ENOSPC", err)
			}
			if cached {
				for range 2 {
					if err := f.Sync(); !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("fsync again = %v; want ENOSPC", err)
					}
				}
				dup, err := syscall.Dup(int(f.Fd()))
				m.must(err)
				if err := syscall.Close(dup); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("close of one descriptor = %v; want ENOSPC", err)
				}
			}
			m.do("fail store", "", "", 0)
			m.must(f.Truncate(0))
			m.must(f.Sync()) // nothing is missing now
			data = data[:4<<20]
			eventually(t, "there is room again", func() bool {
				var st syscall.Statfs_t
				return syscall.Statfs(filepath.Join(filepath.Dir(m.top), "spool"), &st) == nil && st.Bavail*uint64(st.Bsize) > 12<<20
			})
			_, err = f.WriteAt(data, 0)
			m.must(err)
			m.must(f.Sync())
			if err := f.Close(); err != nil {
				t.Errorf("close = %v", err)
			}
			if got, want := m.do("sum", m.at("big"), ""), fmt.Sprintf("%x", md5.Sum(data)); got != want {
				t.Errorf("the file has the sum %s; want %s", got, want)
			}
			if got := m.do("get", m.at("small"), ""); got != "kept" {
				t.Errorf("another file has %q", got)
			}
		})
	}
}

func TestNumbersOfANetworkAreNoAnswerToAProgram(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{fmt.Errorf("commit: %w: %w", keepio.ErrUnavailable, refused), syscall.EIO},
		{errors.Join(collfs.ErrUnknownOutcome, refused), syscall.EIO},
		{fmt.Errorf("read: %w: %w", keepio.ErrCorrupt, syscall.EINVAL), syscall.EIO},
		{&fs.PathError{Op: "setxattr", Err: syscall.ENODATA}, syscall.ENODATA},
		{syscall.EXDEV, syscall.EXDEV},
	} {
		if got := fusefs.StatusOf(c.err); got != fuse.Status(c.want) {
			t.Errorf("%v is %v; want %v", c.err, got, c.want)
		}
	}
}
