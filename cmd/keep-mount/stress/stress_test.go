package stress

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" && os.Getenv("STRESS_TEST_DIE") != "" {
		os.Stderr.WriteString("I die\n")
		os.Exit(7)
	}
	if Main() {
		return
	}
	goleak.VerifyTestMain(m)
}

// tiny is a stress of a second or less.
func tiny(dir string) Options {
	return Options{Dir: dir, Processes: 3, Walkers: 1, Rounds: 1, Ops: 30, Big: 1 << 20, Goroutines: true, Progress: -1, Stall: 30 * time.Second}
}

// memoryDir is in memory where it can be: with the fsyncs of a busy disk the
// tests would take minutes.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "keep-mount-stress-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left over: %s", e.Name())
	}
}

func TestGoodDirectoryPassesAndNothingIsLeft(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Options)
	}{
		{"goroutines", func(*Options) {}},
		{"processes", func(o *Options) { o.Goroutines, o.Rounds = false, 2 }},
		{"tops in the directory itself", func(o *Options) { o.Collections, o.Variants = true, []string{"files", "collections", "moves"} }},
		{"alone", func(o *Options) { o.Processes, o.Tops, o.Walkers = 1, 1, -1 }},
		{"even number of processes", func(o *Options) { o.Processes, o.Variants = 4, []string{"collections", "same", "moves"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := tiny(memoryDir(t))
			c.set(&o)
			var out bytes.Buffer
			r, err := Run(t.Context(), o, &out)
			if err != nil {
				t.Fatalf("Run = %v\n%s", err, &out)
			}
			if r.Rounds != o.Rounds || !r.Removed || r.Total < 300 {
				t.Errorf("Run = %d rounds, removed %v, %d operations; want %d, true, many", r.Rounds, r.Removed, r.Total, o.Rounds)
			}
			wantEmpty(t, o.Dir)
		})
	}
}

func TestDefectsAreFoundAndSaid(t *testing.T) {
	for _, c := range []struct {
		name    string
		disk    disk
		variant string
		kind    string
		words   []string // in its text
	}{
		{"stale read", staleDisk{mu: new(sync.Mutex), old: map[string][]byte{}}, "collections", staleRead, []string{"/copy", "step peer", "expected at byte", "write "}},
		{"lost rename", forgetfulDisk{}, "moves", lostRename, []string{"mv-w", "the old name only, though the rename was answered"}},
		{"copy for a rename", copyingDisk{}, "moves", bothNames, []string{"mv-w"}},
		{"torn write", tearingDisk{}, "collections", tornWrite, []string{"/copy", "bytes of that write are there"}},
		{"lost write", zeroingDisk{}, "collections", lostWrite, []string{"/copy", "got zeros"}},
		{"file that stays", keepingDisk{}, "files", leftOver, []string{"expected no such name"}},
		{"another file", mixingDisk{}, "collections", swapped, []string{"of process 0", "of process 1"}},
		{"two winners", generousDisk{}, "contest", notOneWon, []string{"success in the processes [0 1 2]"}},
		{"lost append", losingDisk{}, "same", lostUpdate, []string{"appended-0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := tiny(memoryDir(t))
			o.disk, o.Variants = c.disk, []string{c.variant}
			var out bytes.Buffer
			r, err := Run(t.Context(), o, &out)
			if !errors.Is(err, ErrDefects) || len(r.Findings) == 0 {
				t.Fatalf("Run = %v; want ErrDefects", err)
			}
			for _, f := range r.Findings {
				if f.Kind != c.kind {
					t.Errorf("found %v; want a %s", f, c.kind)
				}
			}
			for _, w := range c.words {
				if text := r.Findings[0].Error(); !strings.Contains(text, w) {
					t.Errorf("finding %q does not say %q", text, w)
				}
			}
			if !strings.Contains(out.String(), "DEFECT 1: "+r.Findings[0].Error()) {
				t.Errorf("output does not tell the finding:\n%s", &out)
			}
		})
	}
}

// hangingDisk does not answer one kind of question until it is let go.
type hangingDisk struct {
	osDisk
	free chan struct{}
}

func (d hangingDisk) Readlink(name string) (string, error) {
	<-d.free
	return d.osDisk.Readlink(name)
}

// Mkdir hangs where the coordinator makes the directories.
type hangingMkdir struct{ hangingDisk }

func (d hangingMkdir) Mkdir(name string) error {
	if strings.HasSuffix(name, "c1") {
		<-d.free
	}
	return d.osDisk.Mkdir(name)
}

func TestHangIsReportedWithOperationAndProcess(t *testing.T) {
	for _, c := range []struct {
		name  string
		disk  func(hangingDisk) disk
		words []string
	}{
		{"of a process", func(d hangingDisk) disk { return d }, []string{"hang in readlink of c", "(process ", "step files", "an answer within 20s", "thread"}},
		{"of the coordinator", func(d hangingDisk) disk { return hangingMkdir{d} }, []string{"hang in mkdir of c1", "the coordinator", "an answer within 20s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := memoryDir(t)
			synctest.Test(t, func(t *testing.T) {
				free := make(chan struct{})
				o := tiny(dir)
				o.Stall, o.disk, o.Variants, o.Ops = 20*time.Second, c.disk(hangingDisk{free: free}), []string{"files"}, 500
				o.Seed, o.Walkers = 1, -1 // time stands still while something works
				began := time.Now()
				var out bytes.Buffer
				r, err := Run(t.Context(), o, &out)
				if !errors.Is(err, ErrDefects) || len(r.Findings) == 0 || r.Findings[0].Kind != hang {
					t.Errorf("Run = %v; want a hang\n%s", err, &out)
				} else {
					for _, w := range c.words {
						if text := r.Findings[0].Error(); !strings.Contains(text, w) {
							t.Errorf("finding %q does not say %q", text, w)
						}
					}
				}
				if c.name == "of a process" && r.Total < 200 {
					t.Errorf("the report has %d operations only; want those of the process that hangs too\n%s", r.Total, &out)
				}
				for _, f := range r.Findings {
					if f.Kind != hang {
						t.Errorf("found %v too; want hangs only", f)
					}
				}
				if took := time.Since(began); took > 3*o.Stall {
					t.Errorf("Run took %v; want it to give up after %v and some", took, o.Stall)
				}
				close(free)
				synctest.Wait()
			})
		})
	}
}

// cancelingDisk ends a context at its n-th file.
type cancelingDisk struct {
	osDisk
	cancel func()
	mu     *sync.Mutex // guards left
	left   *int
}

func (d cancelingDisk) Open(name string, flag int) (file, error) {
	d.mu.Lock()
	if *d.left--; *d.left == 0 {
		d.cancel()
	}
	d.mu.Unlock()
	return d.osDisk.Open(name, flag)
}

func TestInterruptRemovesTheSandbox(t *testing.T) {
	for _, left := range []int{1, 60, 700} {
		ctx, cancel := context.WithCancel(t.Context())
		o := tiny(memoryDir(t))
		o.Rounds = 1000
		o.disk = cancelingDisk{cancel: cancel, mu: new(sync.Mutex), left: &left}
		var out bytes.Buffer
		r, err := Run(ctx, o, &out)
		if !errors.Is(err, context.Canceled) || !r.Interrupted || !r.Removed || len(r.Findings) > 0 {
			t.Errorf("Run = %v, interrupted %v, removed %v\n%s", err, r.Interrupted, r.Removed, &out)
		}
		wantEmpty(t, o.Dir)
	}
}

func TestProcessThatDiesIsReported(t *testing.T) {
	t.Setenv("STRESS_TEST_DIE", "1")
	o := tiny(memoryDir(t))
	o.Goroutines = false
	var out bytes.Buffer
	began := time.Now()
	r, err := Run(t.Context(), o, &out)
	if took := time.Since(began); took > o.Stall {
		t.Errorf("Run took %v; want it not to wait for the dead", took)
	}
	if !errors.Is(err, ErrDefects) || len(r.Findings) == 0 || r.Findings[0].Kind != died || !strings.Contains(r.Findings[0].Got, "I die") {
		t.Errorf("Run = %v; want a process that died and its words\n%s", err, &out)
	}
	wantEmpty(t, o.Dir)
}

// plainDisk has no links and no locks, and its directories are separate file systems.
type plainDisk struct{ osDisk }

func (plainDisk) Link(string, string) error    { return syscall.EPERM }
func (plainDisk) Symlink(string, string) error { return syscall.ENOTSUP }

func TestWhatIsNotSupportedIsLeftOut(t *testing.T) {
	o := tiny(memoryDir(t))
	o.disk = plainDisk{}
	var out bytes.Buffer
	r, err := Run(t.Context(), o, &out)
	if err != nil || len(r.Unsupported) != 2 || !strings.Contains(out.String(), "not supported here, left out: hard links") {
		t.Errorf("Run = %v, unsupported %q; want hard links and symbolic links\n%s", err, r.Unsupported, &out)
	}
}

func TestBadOptionsMakeNothing(t *testing.T) {
	dir := memoryDir(t)
	for _, o := range []Options{
		{}, {Dir: dir, Processes: -1}, {Dir: dir, Variants: []string{"nonsense"}}, {Dir: dir, Big: 1 << 40},
		{Dir: dir, Stall: time.Nanosecond}, {Dir: dir + "/missing"},
	} {
		if _, err := Run(t.Context(), o, new(bytes.Buffer)); err == nil || errors.Is(err, ErrDefects) {
			t.Errorf("Run(%+v) = %v; want that it cannot be", o, err)
		}
	}
	wantEmpty(t, dir)
}
