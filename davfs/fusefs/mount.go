package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"keepdav/collfs"
	"keepdav/davfs"
)

// Options say how a site is mounted.
type Options struct {
	ReadOnly       bool
	AllowOther     bool   // other users may use the mount; the kernel checks the mode bits then
	Posix          bool   // owner, group and special files are kept, and the mode bits are checked
	CommitOnClose  bool   // else fsync, and unmounting, commit
	WriteCache     bool   // the kernel collects writes
	ReadAhead      int    // KiB that the kernel reads ahead, if it allows that to be changed; 0: its default
	DirectoryCache int64  // bytes for what is known of inodes that nobody uses; 0: 128 MiB
	UID, GID       uint32 // who owns everything
	FSName         string // what mount tables show as the source; "": keepdav
	Subtype        string // fuse.SUBTYPE is the type in mount tables; "": keepdav
	Device         int    // descriptor of a /dev/fuse that is mounted already; -1: mount it
	Layout         Layout
	Log            zerolog.Logger `json:"-"`
	Debug          bool           // logs each request
	Waiting        func() int64   `json:"-"` // how many bytes are written and not stored as blocks yet; may be nil

	StorageClasses     []string      // that the records of private collections ask for
	CrunchstatInterval time.Duration // figures are written to Crunchstat this often; 0: never
	Crunchstat         io.Writer     `json:"-"`
}

// A Layout says what the mount point shows: the directory of the site that is
// called Root, or, if that is "", Entries.
type Layout struct {
	Root    string
	PDHOnly bool // of the Root /by_id, as of an Entry
	Entries []Entry
}

// An Entry is a name in the mount point and what it leads to.
type Entry struct {
	Name    string
	Target  string // a name of the site
	PDHOnly bool   // of /by_id: only portable data hashes are found
	Tmp     bool   // instead of Target, a private collection without a record
}

// How long the kernel may rely on what it was told, unless it is told otherwise.
const (
	longTime   = time.Hour        // inside collections, whose changes we are told of
	shortTime  = time.Second      // of a file that is being written
	folderTime = time.Second      // above them, where rights come and go without a notice
	absentTime = 30 * time.Second // that there is nothing called so in a collection
)

// maxRequest is the most data in one request of the kernel: the most that it does.
const maxRequest = 1 << 20

const defaultDirectoryCache = 128 << 20

// A Mounted is a site that is mounted.
type Mounted struct {
	site   *davfs.FS
	files  *collfs.FS
	opt    Options
	dir    string
	server *fuse.Server
	view   *collfs.View
	work   context.Context // for what must not end when a program is interrupted
	table  table
	open   handles
	notes  *notifier
	prune  func(ids []uint64) fuse.Status // asks the kernel to forget inodes
	stats  counters
	served sync.WaitGroup
	ended  chan struct{} // closed when the last request was served
	tmps   tmps
	gone   atomic.Bool
}

// Mount mounts site at dir and returns when the kernel can use it.
func Mount(dir string, site *davfs.FS, o Options) (*Mounted, error) {
	if o.DirectoryCache == 0 {
		o.DirectoryCache = defaultDirectoryCache
	}
	if o.FSName == "" {
		o.FSName = "keepdav"
	}
	if o.Subtype == "" {
		o.Subtype = "keepdav"
	}
	m := &Mounted{site: site, files: site.Files(), opt: o, dir: dir, work: context.Background(), tmps: make(tmps), ended: make(chan struct{})}
	m.notes = newNotifier(m)
	m.view = m.files.NewView(m.notice)
	if err := m.start(); err != nil {
		if m.server == nil {
			m.end()
		}
		m.served.Wait()
		return nil, err
	}
	return m, nil
}

func (m *Mounted) start() error {
	if err := m.plantRoot(); err != nil {
		return fmt.Errorf("mount %s: %w", m.dir, err)
	}
	at := m.dir
	if m.opt.Device >= 0 {
		at = "/dev/fd/" + strconv.Itoa(m.opt.Device)
	}
	server, err := fuse.NewServer(&raw{RawFileSystem: fuse.NewDefaultRawFileSystem(), m: m}, at, m.fuseOptions())
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.dir, err)
	}
	m.server, m.prune = server, server.PruneNotify
	m.notes.start(server)
	m.served.Go(func() {
		server.Serve()
		m.gone.Store(true)
		close(m.ended)
		m.end()
	})
	if m.opt.CrunchstatInterval > 0 && m.opt.Crunchstat != nil {
		m.served.Go(func() { m.crunchstat(m.opt.Crunchstat, m.opt.CrunchstatInterval, m.ended) })
	}
	if m.opt.Device < 0 {
		if err := server.WaitMount(); err != nil {
			_ = server.Unmount()
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	m.tuneReadAhead()
	return nil
}

func (m *Mounted) fuseOptions() *fuse.MountOptions {
	o := &fuse.MountOptions{
		AllowOther: m.opt.AllowOther, FsName: m.opt.FSName, Name: m.opt.Subtype,
		DirectMount: m.opt.Device < 0, // go-fuse would mount over the device itself
		Debug:       m.opt.Debug, Logger: log.New(logWriter{m.opt.Log}, "", 0),
		MaxWrite: maxRequest, MaxReadAhead: maxRequest, MaxBackground: 64, CongestionThreshold: 48,
		MaxInflightRequestBytes:  256 << 20,
		DisableSplice:            true, // what is read comes from memory
		ExplicitDataCacheControl: true, // pages stay until we say otherwise
		EnableSymlinkCaching:     true,
		DisabledCapabilities:     fuse.CAP_PASSTHROUGH,
		ExtraCapabilities:        fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_HANDLE_KILLPRIV_V2,
		PanicHandler:             m.panicked,
	}
	if m.opt.WriteCache && !m.opt.ReadOnly {
		o.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
	}
	if m.opt.ReadOnly {
		o.Options = append(o.Options, "ro")
		o.DirectMountFlags = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_RDONLY
		o.Options = nil
	}
	if m.opt.Posix {
		flags := uintptr(0)
		if m.opt.ReadOnly {
			flags |= syscall.MS_RDONLY
		}
		if flags == 0 {
			flags = syscall.MS_NOATIME // any flag: none means the defaults, which forbid devices
		}
		o.DirectMountFlags = flags
	}
	if m.opt.AllowOther || m.opt.Posix {
		o.Options = append(o.Options, "default_permissions")
	}
	return o
}

// logWriter gives go-fuse's lines to a log.
type logWriter struct{ log zerolog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug().Msg(string(p))
	return len(p), nil
}

// panicked answers a request whose handler panicked: a bug, but not a reason for
// all others to lose their mount.
func (m *Mounted) panicked(v any) fuse.Status {
	m.stats.panics.Add(1)
	m.opt.Log.Error().Interface("panic", v).Msg("a request failed by a bug of this program")
	return fuse.EIO
}

// tuneReadAhead has the kernel read more ahead, if it is allowed to change that.
func (m *Mounted) tuneReadAhead() {
	if m.opt.ReadAhead <= 0 {
		return
	}
	if err := setReadAhead(m.dir, m.opt.ReadAhead); err != nil {
		m.opt.Log.Debug().Err(err).Msg("read-ahead is left as it is")
	}
}

// setReadAhead sets how much the kernel reads ahead of what is mounted at dir, in
// KiB, if that is a FUSE mount: dir may be something else where this process looks.
func setReadAhead(dir string, kib int) error {
	const fuseMagic = 0x65735546
	var fs syscall.Statfs_t
	var st syscall.Stat_t
	if err := errors.Join(syscall.Statfs(dir, &fs), syscall.Lstat(dir, &st)); err != nil {
		return err
	}
	if fs.Type != fuseMagic {
		return errors.New("the mount point is elsewhere")
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(name, []byte(strconv.Itoa(kib)), 0)
}

// Wait returns when the mount is gone, whoever unmounted it, and nothing of it is in
// use any more. What is dirty stays with the collections, for Flush.
func (m *Mounted) Wait() { m.served.Wait() }

// Unmount unmounts. It fails, with EBUSY, while a program uses the mount.
func (m *Mounted) Unmount() error {
	if m.gone.Load() {
		return nil
	}
	if err := m.server.Unmount(); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	m.served.Wait()
	return nil
}

// end frees everything, after the last request.
func (m *Mounted) end() {
	m.view.Close()
	m.notes.close()
	m.open.closeAll()
	m.dropAll()
	m.closeTmps()
}

// Flush commits everything that is dirty, in all collections of the store.
func (m *Mounted) Flush(ctx context.Context, durable bool) error {
	return m.files.CommitAll(ctx, durable)
}
