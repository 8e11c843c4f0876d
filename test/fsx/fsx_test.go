package fsx

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ops is how many operations a test tries: enough to be quick.
func ops(t *testing.T, quick int) int {
	t.Helper()
	if os.Getenv("KEEPDAV_LONG") != "" {
		return 1_000_000
	}
	return quick
}

func local(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "fsx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil || len(left) > 0 {
			t.Errorf("a run left %v, %v", left, err)
		}
	})
	return dir
}

func unsupported(t *testing.T, dir string) []string {
	t.Helper()
	refused, err := Unsupported(dir)
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

func TestDiskAndMemoryKeepWhatIsWritten(t *testing.T) {
	for _, parent := range []string{"/var/tmp", "/dev/shm"} {
		for _, o := range []Options{
			{Ops: ops(t, 10_000)},
			{Ops: ops(t, 10_000), Files: 4, Size: 64 << 10},
			{Ops: ops(t, 300), Size: 64 << 20},
		} {
			o.Dir, o.Seed = local(t, parent), 7
			o.Without = unsupported(t, o.Dir)
			if err := Run(o); err != nil {
				t.Errorf("Run(%s, %d files of %d) = %v", parent, o.Files, o.Size, err)
			}
		}
	}
}

// The planted faults, each with calls that have it.
var planted = map[string]calls{
	"truncate is off by one at a page's border": {
		ftruncate: func(fd int, size int64) error {
			if size%4096 == 0 && size > 0 {
				size--
			}
			return unix.Ftruncate(fd, size)
		},
	},
	"a punched hole keeps its last page": {
		fallocate: func(fd int, mode uint32, off, n int64) error {
			if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
				n = max(1, (off+n)&^4095-off)
			}
			return unix.Fallocate(fd, mode, off, n)
		},
	},
	"an append loses the end of its last page": {
		write: func(fd int, b []byte) (int, error) {
			if len(b) < 3500 {
				return unix.Write(fd, b)
			}
			n, err := unix.Write(fd, b[:3500])
			return n + len(b) - 3500, err
		},
	},
	"reserving room grows the file": {
		fallocate: func(fd int, mode uint32, off, n int64) error {
			if mode == unix.FALLOC_FL_KEEP_SIZE {
				mode = 0
			}
			return unix.Fallocate(fd, mode, off, n)
		},
	},
}

func (c calls) filled() *calls {
	if c.ftruncate == nil {
		c.ftruncate = unix.Ftruncate
	}
	if c.fallocate == nil {
		c.fallocate = unix.Fallocate
	}
	if c.write == nil {
		c.write = unix.Write
	}
	return &c
}

func TestPlantedFaultsAreFoundAndShrink(t *testing.T) {
	for name, wrong := range planted {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: local(t, "/dev/shm"), Seed: 1, Files: 2, calls: wrong.filled()}
			o.Without = unsupported(t, o.Dir)
			err := Run(o)
			f, ok := errors.AsType[*Failure](err)
			if !ok || f.Short == nil {
				t.Fatalf("Run = %v; want a failure with a short list", err)
			}
			if n := strings.Count(f.Trace, "\n"); n > 6 {
				t.Errorf("the short list has %d operations; want few:\n%s", n, f.Trace)
			}
			if Replay(o, f.Trace) == nil {
				t.Errorf("Replay finds nothing with\n%s", f.Trace)
			}
			o.calls = nil
			if err := Replay(o, f.Trace); err != nil {
				t.Errorf("Replay without the fault = %v", err)
			}
		})
	}
}

func TestASeedIsTheSameListForEver(t *testing.T) {
	s := newSource(1, 2, 512<<10, map[kind]bool{opRemount: true})
	var list []op
	for range 5 {
		list = append(list, s.next())
	}
	const want = `truncate 1 0 422323 0 0 0 119
punch 1 0 17 8186 0 0 168
mapread 0 0 92209 6193 0 0 189
copy 0 1 450615 4526 1 375776 14
mapwrite 0 0 270336 7427 0 0 139
`
	if got := text(list); got != want {
		t.Errorf("seed 1 begins with\n%swant\n%s", got, want)
	}
}

func TestRemountComesWithAllFilesClosed(t *testing.T) {
	var times int
	dir := local(t, "/dev/shm")
	o := Options{Dir: dir, Seed: 3, Ops: 8000, Size: 8 << 10, Without: unsupported(t, dir), Remount: func() error {
		times++
		fds, err := os.ReadDir("/proc/self/fd")
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
				t.Errorf("%s is open", to)
			}
		}
		return err
	}}
	if err := Run(o); err != nil {
		t.Error(err)
	}
	if times == 0 {
		t.Error("no remount in 8000 operations")
	}
}

func FuzzReplayTakesAnyText(f *testing.F) {
	f.Add("write 0 0 10 20 0 0 3\nread 0 1 0 100 0 0 0\n")
	f.Add("# a comment\n\ncopy 0 0 0 10 0 5 1\ndirect 0 0 4096 4096 0 0 0")
	f.Fuzz(func(t *testing.T, trace string) {
		list, err := parse(trace)
		if err != nil || len(list) > 100 {
			return
		}
		if again, err := parse(text(list)); err != nil || text(again) != text(list) {
			t.Errorf("parse(%q) = %v, %v; want what it was", text(list), again, err)
		}
		if err := Replay(Options{Dir: local(t, "/dev/shm")}, trace); err != nil && strings.Contains(err.Error(), "differ") {
			t.Errorf("Replay(%q) = %v", trace, err)
		}
	})
}
