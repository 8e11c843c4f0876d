package fusefs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
	"keepdav/davfs/fusefs"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
	"keepdav/test/apps"
	"keepdav/test/posix"
)

// The mount is served by a process of its own: one that uses a mount that it
// serves can wait for itself. That process is this test binary with serveEnv set.
const serveEnv = "KEEPDAV_FUSEFS_TEST"

func TestMain(m *testing.M) {
	posix.Child()
	if dir := os.Getenv(churnEnv); dir != "" {
		if err := churn(dir); err != nil {
			fmt.Fprintln(os.Stderr, "churn:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	apps.Child()
	if conf := os.Getenv(serveEnv); conf != "" {
		if err := serve(conf); err != nil {
			fmt.Fprintln(os.Stderr, "serve:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// served says what the process mounts.
type served struct {
	Mountpoint string
	Second     string // another mount of the same store; "": none
	Spool      string
	IdleSeal   time.Duration // see keepio.SpoolConfig
	fusefs.Options
}

// An order is something that the serving process does as another client, or to
// its store.
type order struct {
	Op, Name, Data string
	N              int
	Far            bool // as a client of another process: one with trees of its own
}

type reply struct {
	Data string
	Err  string
}

func serve(conf string) error {
	var s served
	if err := json.Unmarshal([]byte(conf), &s); err != nil {
		return err
	}
	ctx := context.Background()
	cat, home := memcatalog.New()
	var failing atomic.Bool
	cat.Fault = func(context.Context, collfs.Tx) (o memcatalog.Outcome) {
		if failing.Load() {
			o.Err = fmt.Errorf("catalog is down: %w", keepio.ErrUnavailable)
		}
		return o
	}
	var last atomic.Uint64
	store := new(memstore.Store)
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: s.Spool, Store: store, NoSync: true, IdleSeal: s.IdleSeal,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(last.Add(1)), nil },
	})
	if err != nil {
		return err
	}
	var closers []func() error
	newUser := func() (*davfs.FS, error) {
		files := collfs.NewFS(collfs.Config{Catalog: cat, Spool: spool, HashSeed: 42})
		site, err := davfs.NewSite(davfs.Config{Files: files, Folders: cat, Catalog: cat})
		if err != nil {
			return nil, err
		}
		closers = append(closers, func() error {
			site.Close()
			return files.Close(ctx)
		})
		return site.User(collfs.User{UUID: home, Name: "admin", Admin: true, Active: true}), nil
	}
	near, err := newUser()
	if err != nil {
		return err
	}
	far, err := newUser()
	if err != nil {
		return err
	}
	s.Log = zerolog.New(os.Stderr).Level(zerolog.WarnLevel)
	s.Device = -1
	var mounts []*fusefs.Mounted
	for _, dir := range []string{s.Mountpoint, s.Second} {
		if dir == "" {
			continue
		}
		m, err := fusefs.Mount(dir, near, s.Options)
		if err != nil {
			return err
		}
		mounts = append(mounts, m)
	}
	m := mounts[0]
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{Data: "ready"}); err != nil {
		return err
	}
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	var stop chan struct{}
	var calm chan error
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			break
		}
		var r reply
		user := near
		if o.Far {
			user = far
		}
		switch err := func() (err error) {
			switch o.Op {
			case "put":
				u, err := user.Put(ctx, o.Name, davfs.PutOptions{Size: int64(len(o.Data))})
				if err != nil {
					return err
				}
				defer u.Abort()
				if _, err := io.WriteString(u, o.Data); err != nil {
					return err
				}
				_, _, err = u.Commit(ctx)
				return err
			case "fill": // N directories with a file each, a hundred in a directory, and N files in one
				loc, err := user.Locate(ctx, o.Name)
				if err != nil {
					return err
				}
				c := loc.Collection
				defer c.Release()
				for i := range o.N {
					if i%100 == 0 {
						if _, err := c.Mkdir(fmt.Sprintf("%06d", i/100), collfs.Attr{}, nil); err != nil {
							return err
						}
					}
					dir := fmt.Sprintf("%06d/%02d", i/100, i%100)
					if _, err := c.Mkdir(dir, collfs.Attr{}, nil); err != nil {
						return err
					}
					h, _, err := c.OpenFile(dir+"/f", collfs.OpenOptions{Flags: os.O_WRONLY | os.O_CREATE})
					if err != nil {
						return err
					}
					h.Drop()
				}
				if _, err := c.Mkdir("flat", collfs.Attr{}, nil); err != nil {
					return err
				}
				for i := range o.N {
					h, _, err := c.OpenFile(fmt.Sprintf("flat/%07d", i), collfs.OpenOptions{Flags: os.O_WRONLY | os.O_CREATE})
					if err != nil {
						return err
					}
					h.Drop()
				}
				return c.Commit(ctx, false)
			case "churn": // until "calm", as fast as it can
				if stop != nil {
					return errors.New("it churns already")
				}
				stop, calm = make(chan struct{}), make(chan error, 1)
				go func() { calm <- churnAsClient(ctx, user, o.Name, stop) }()
				return nil
			case "calm":
				close(stop)
				stop = nil
				return <-calm
			case "old kernel":
				m.NoPruneNotify()
			case "usage":
				fds, err := os.ReadDir("/proc/self/fd")
				r.Data = fmt.Sprintf("%d %d", runtime.NumGoroutine(), len(fds))
				return err
			case "patch":
				_, err := user.WriteAt(ctx, o.Name, int64(o.N), int64(len(o.Data)), strings.NewReader(o.Data), nil)
				return err
			case "get":
				f, err := user.Open(ctx, o.Name)
				if err != nil {
					return err
				}
				defer f.Close()
				data := make([]byte, f.Info().Size)
				_, err = f.ReadAt(data, 0)
				r.Data = string(data)
				return err
			case "sum":
				var err error
				r.Data, err = user.Sum(ctx, o.Name, "MD5")
				return err
			case "mkdir":
				_, err := user.Mkdir(ctx, o.Name, davfs.AttrChange{})
				return err
			case "remove":
				return user.Remove(ctx, o.Name, nil)
			case "move":
				_, err := user.Move(ctx, o.Name, o.Data, davfs.CopyOptions{Overwrite: true})
				return err
			case "mtime":
				at := time.Unix(int64(o.N), 0)
				_, err := user.SetAttr(ctx, o.Name, davfs.AttrChange{ModTime: &at})
				return err
			case "fail store":
				store.SetFault(nil)
				if o.N != 0 {
					store.SetFault(fmt.Errorf("store is down: %w", keepio.ErrUnavailable))
				}
			case "fail":
				failing.Store(o.N != 0)
			case "manifest":
				loc, err := user.Locate(ctx, o.Name)
				if err != nil {
					return err
				}
				defer loc.Collection.Release()
				text, err := loc.Collection.Manifest(ctx)
				r.Data = string(text)
				return err
			case "pdh": // by which it is found from then on
				loc, err := user.Locate(ctx, o.Name)
				if err != nil {
					return err
				}
				defer loc.Collection.Release()
				pdh, err := loc.Collection.PDH(ctx)
				cat.SetPDH(func(of collfs.UUID, _ collfs.Saved) (collfs.PDH, error) {
					if of != loc.UUID {
						return "", nil
					}
					return pdh, nil
				})
				r.Data = string(pdh)
				return err
			case "stats":
				data, err := json.Marshal(m.Stats())
				r.Data = string(data)
				return err
			case "memory":
				runtime.GC()
				var ms runtime.MemStats
				runtime.ReadMemStats(&ms)
				r.Data = fmt.Sprint(ms.HeapAlloc)
			case "commits":
				r.Data = fmt.Sprint(cat.Commits())
			}
			return nil
		}(); {
		case errors.Is(err, io.EOF):
		case err != nil:
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	failing.Store(false)
	for _, m := range mounts {
		for end := time.Now().Add(5 * time.Second); ; { // a thread that has just ended may count as a user still
			err := m.Unmount()
			if err == nil {
				break
			}
			if time.Now().After(end) {
				return err
			}
		}
	}
	for _, end := range closers {
		if err := end(); err != nil {
			return err
		}
	}
	return spool.Close(ctx)
}

// A mount is a mount of a store in the memory of another process.
type mount struct {
	t      testing.TB
	dir    string // of a collection
	name   string // of that
	top    string // the mount point
	second string // that of the other mount; "": there is none
	far    bool   // orders are for the client of another process
	cmd    *exec.Cmd
	in     *json.Encoder
	out    *json.Decoder
}

var defaults = fusefs.Options{CommitOnClose: true, WriteCache: true}

// newMount mounts, and makes a collection.
func newMount(t testing.TB, change ...func(*fusefs.Options)) *mount {
	t.Helper()
	return mountStore(t, false, 0, change...)
}

// mountStore is newMount for a store that may be mounted twice, and whose disk may be
// small: of so many bytes, if not 0.
func mountStore(t testing.TB, twice bool, small int, change ...func(*fusefs.Options)) *mount {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this machine has no /dev/fuse")
	}
	top := t.TempDir()
	s := served{Mountpoint: filepath.Join(top, "mnt"), Spool: filepath.Join(top, "spool"), Options: defaults}
	s.UID, s.GID = uint32(os.Getuid()), uint32(os.Getgid())
	s.Layout = fusefs.Layout{Entries: []fusefs.Entry{{Name: "home", Target: "/home"}, {Name: "by_id", Target: "/by_id"}}}
	for _, f := range change {
		f(&s.Options)
	}
	if twice {
		s.Second = filepath.Join(top, "second")
		if err := os.Mkdir(s.Second, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if small > 0 {
		s.IdleSeal = 100 * time.Millisecond // else blocks wait for more to come, and what they hold for them
		if err := os.Mkdir(s.Spool, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("small", s.Spool, "tmpfs", 0, fmt.Sprintf("size=%d", small)); err != nil {
			t.Skip("a small disk needs a user who may mount: ", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(s.Spool, 0); err != nil {
				t.Error(err)
			}
		})
	}
	if err := os.Mkdir(s.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	conf, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	m := &mount{t: t, top: s.Mountpoint, dir: s.Mountpoint + "/home/c", name: "c", second: s.Second}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), serveEnv+"="+string(conf))
	m.cmd.Stderr = os.Stderr
	w, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.in, m.out = json.NewEncoder(w), json.NewDecoder(r)
	t.Cleanup(func() {
		_ = w.Close()
		if err := m.cmd.Wait(); err != nil {
			t.Errorf("the serving process: %v", err)
			_ = exec.Command("umount", "-l", m.top).Run()
		}
	})
	var ready reply
	if err := m.out.Decode(&ready); err != nil {
		t.Fatalf("the serving process did not mount: %v", err)
	}
	if !s.ReadOnly {
		if err := os.Mkdir(m.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// do has the serving process do something.
func (m *mount) do(op, name, data string, n ...int) string {
	m.t.Helper()
	data, err := m.try(op, name, data, n...)
	if err != nil {
		m.t.Fatal(err)
	}
	return data
}

// try is do for what may fail.
func (m *mount) try(op, name, data string, n ...int) (string, error) {
	m.t.Helper()
	o := order{Op: op, Name: name, Data: data, Far: m.far}
	if len(n) > 0 {
		o.N = n[0]
	}
	if err := m.in.Encode(o); err != nil {
		m.t.Fatal(err)
	}
	var r reply
	if err := m.out.Decode(&r); err != nil {
		m.t.Fatalf("%s %s: %v", op, name, err)
	}
	if r.Err != "" {
		return "", fmt.Errorf("%s %s: %s", op, name, r.Err)
	}
	return r.Data, nil
}

// another is m with orders for the client of another process.
func (m *mount) another() *mount {
	a := *m
	a.far = true
	return &a
}

func (m *mount) write(name, data string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(data), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mount) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *mount) names() string {
	m.t.Helper()
	es, err := os.ReadDir(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		runtime.Gosched()
	}
}

// forget makes the kernel forget what it may.
func (m *mount) forget() error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// within waits until ok, for as long as may pass until a change of others is seen.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Second); !ok(); {
		if time.Now().After(end) {
			t.Errorf("not within 1 s: %s", what)
			return
		}
		runtime.Gosched()
	}
}
