package mounting

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"keepdav/davfs/fusefs"
)

// TalkName is the name of our conversation on the control socket.
const TalkName = "mount"

// How the kernel's write-back cache is used.
const (
	WriteCacheAuto = "auto"
	WriteCacheOn   = "on"
	WriteCacheOff  = "off"
)

// Subtype is of what kind our mounts are, if nobody says otherwise: fuse.keep.
const Subtype = "keep"

// Everything shows all that a user may see.
func Everything() (l fusefs.Layout) {
	for _, name := range []string{"by_id", "home", "shared", "users"} {
		l.Entries = append(l.Entries, fusefs.Entry{Name: name, Target: "/" + name})
	}
	return l
}

// DefaultReadAhead is how much the kernel reads ahead, in KiB: what fits a pipe
// together with its header.
const DefaultReadAhead = 960

// A Request says what is to be mounted, and how.
type Request struct {
	Dir            string // the mount point, for people
	DirBytes       []byte `json:",omitempty"`
	User           string // whose site it is
	Layout         fusefs.Layout
	ReadOnly       bool
	AllowOther     bool
	Posix          bool
	CommitOnClose  bool
	WriteCache     string
	ReadAhead      int // KiB; 0: as the kernel likes
	DirectoryCache int64
	UID, GID       uint32
	Source         string // shown in the first column of df
	SourceBytes    []byte `json:",omitempty"`
	Subtype        string
	StorageClasses []string      // that private collections ask for
	Crunchstat     time.Duration // 0: never
	Debug          bool
}

// options are what fusefs is told, apart from the device and who is listening.
func (r *Request) options() fusefs.Options {
	return fusefs.Options{
		ReadOnly: r.ReadOnly, AllowOther: r.AllowOther, Posix: r.Posix, CommitOnClose: r.CommitOnClose,
		WriteCache: r.WriteCache == WriteCacheOn, ReadAhead: r.ReadAhead, DirectoryCache: r.DirectoryCache,
		UID: r.UID, GID: r.GID, FSName: r.Source, Subtype: r.Subtype,
		Layout: r.Layout, StorageClasses: r.StorageClasses, Debug: r.Debug, CrunchstatInterval: r.Crunchstat,
	}
}

// Check says what cannot be served whatever the store has.
func (r *Request) Check() error {
	for _, e := range r.Layout.Entries {
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/") || !utf8.ValidString(e.Name) {
			return fmt.Errorf("%q is no name for a directory at the mount point", e.Name)
		}
	}
	switch r.WriteCache {
	case WriteCacheAuto, WriteCacheOn, WriteCacheOff:
	default:
		return fmt.Errorf("the write cache is %q: it can be auto, on or off", r.WriteCache)
	}
	return nil
}

// Dirty is what waits to be written down.
type Dirty struct {
	Bytes       int64 `json:"bytes"`
	Collections int   `json:"collections"`
}

// toServer is what the process of the command says.
type toServer struct {
	Request *Request `json:"request,omitempty"` // first of all
	Serve   string   `json:"serve,omitempty"`   // the mount's descriptor comes with it; its device, see fusemount.Entry
	Flush   bool     `json:"flush,omitempty"`   // write everything down
	Close   bool     `json:"close,omitempty"`   // it is unmounted; write the rest down
}

// fromServer is what the serving process says. Failures come as text: what
// they mean is for people.
type fromServer struct {
	Prepared   bool   `json:"prepared,omitempty"` // nothing speaks against the request
	Ready      bool   `json:"ready,omitempty"`    // the kernel is served
	Ended      bool   `json:"ended,omitempty"`    // the kernel has let go of it
	Leave      bool   `json:"leave,omitempty"`    // the server wants to stop; as the first answer: it takes no mounts
	Dirty      *Dirty `json:"dirty,omitempty"`    // while it writes down
	Flushed    bool   `json:"flushed,omitempty"`  // Flush is done, or failed
	Closed     bool   `json:"closed,omitempty"`   // Close is done, or failed
	Crunchstat string `json:"crunchstat,omitempty"`
	Error      string `json:"error,omitempty"`
	ErrorBytes []byte `json:"error_base64,omitempty"`
}

func (f *fromServer) err() error {
	if f.Error == "" {
		return nil
	}
	return errors.New(f.Error)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
