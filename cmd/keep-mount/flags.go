package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/flags"
	"keepdav/cmd/internal/settings"
	"keepdav/cmd/internal/version"
)

// storeFlags say what is mounted, and as whom.
type storeFlags struct {
	Store   string `placeholder:"DIR" default:"" env:"KEEPDAV_STORE" type:"path" help:"Directory of a store on this machine, whatever ARVADOS_API_HOST says. Default: ${store}."`
	Cluster bool   `help:"A cluster, or a keep-dav elsewhere: the one that ARVADOS_API_HOST and ARVADOS_API_TOKEN name, or a settings.conf (default when ARVADOS_API_HOST is set, or there is no store)."`
	User    string `default:"admin" env:"KEEPDAV_AS" placeholder:"NAME" help:"Whose /home and rights are meant, of a store. Default: ${default}. On a cluster the token says."`
}

// modeFlags say what the mount point shows.
type modeFlags struct {
	All        bool   `xor:"mode" group:"What is shown" help:"by_id, home, shared and users (default)."`
	Custom     bool   `xor:"mode" group:"What is shown" help:"Only what --mount-… flags name (default when there are any)."`
	Collection string `xor:"mode" group:"What is shown" placeholder:"ID" help:"One collection, by its UUID or portable data hash."`
	Home       bool   `xor:"mode" group:"What is shown" help:"The home project of the user."`
	Project    string `xor:"mode" group:"What is shown" placeholder:"UUID" help:"One project."`
	Shared     bool   `xor:"mode" group:"What is shown" help:"What others share with the user."`
	ByID       bool   `name:"by-id" xor:"mode" group:"What is shown" help:"Collections and projects, each found by its UUID or portable data hash, none listed."`
	ByPDH      bool   `name:"by-pdh" xor:"mode" group:"What is shown" help:"Collections, each found by its portable data hash, none listed."`
	ByTag      bool   `name:"by-tag" xor:"mode" group:"What is shown" help:"Not offered."`

	MountHome   []string `sep:"none" placeholder:"PATH" group:"What is shown" help:"The home project as the directory PATH of the mount point. All --mount-… flags can be repeated."`
	MountShared []string `sep:"none" placeholder:"PATH" group:"What is shown" help:"What others share."`
	MountTmp    []string `sep:"none" placeholder:"PATH" group:"What is shown" help:"A private collection that is in no project and ends with the mount."`
	MountByID   []string `sep:"none" name:"mount-by-id" placeholder:"PATH" group:"What is shown" help:"See --by-id."`
	MountByPDH  []string `sep:"none" name:"mount-by-pdh" placeholder:"PATH" group:"What is shown" help:"See --by-pdh."`
	MountByTag  []string `sep:"none" name:"mount-by-tag" placeholder:"PATH" group:"What is shown" help:"Not offered."`

	Filters string `group:"What is shown" placeholder:"JSON" help:"Not offered."`
}

// accessFlags say who may do what.
type accessFlags struct {
	ReadOnly   bool `xor:"write" group:"Access" help:"Nothing can be changed (default)."`
	ReadWrite  bool `xor:"write" group:"Access" help:"Allow changes."`
	AllowOther bool `group:"Access" help:"Let other users of this machine in, as the permission bits say."`
	Posix      bool `group:"Access" help:"Keep owners, groups and special files, and check permission bits."`
}

// writeFlags say when what is written is kept.
type writeFlags struct {
	Commit     string `default:"close" placeholder:"WHEN" enum:"close,fsync" group:"Writing" help:"When a file that was written is committed: close, or fsync (and at the end). Default: ${default}."`
	WriteCache string `default:"auto" placeholder:"HOW" enum:"auto,on,off" group:"Writing" help:"Let the kernel collect writes until a file is closed: auto, on or off. auto: when this mount is the only way into the store."`
	ReadAhead  int    `default:"${read_ahead}" placeholder:"KIB" group:"Writing" help:"How much the kernel reads ahead, in KiB, when root mounts; 0: as the kernel likes. Default: ${default}."`
}

// runFlags say how the program runs.
type runFlags struct {
	Foreground bool          `group:"Running" help:"Stay in the foreground."`
	Logfile    string        `group:"Running" type:"path" placeholder:"FILE" help:"Where to say what happens. Default: standard error, and nowhere in the background."`
	Debug      bool          `group:"Running" help:"Log each request of the kernel."`
	Crunchstat flags.Seconds `name:"crunchstat-interval" default:"0" placeholder:"SECONDS" group:"Running" help:"Write figures to standard error, or the log file, this often; 0: never."`
	Subtype    string        `default:"keep" placeholder:"NAME" group:"Running" help:"The mount is of type fuse.SUBTYPE; --unmount-all goes by it. Default: ${default}."`
	Fsns       string        `hidden:"" help:"What mount tables show as the source. Default: the store."`

	Replace        bool          `group:"Unmounting" help:"Unmount what is at the mount point first, if that is a FUSE mount."`
	Unmount        bool          `xor:"unmount" group:"Unmounting" help:"Unmount: write everything down first, and wait for that."`
	UnmountAll     bool          `xor:"unmount" group:"Unmounting" help:"Unmount all mounts of our type at or below the directory."`
	UnmountTimeout flags.Seconds `default:"2.0" placeholder:"SECONDS" group:"Unmounting" help:"How long programs that use the mount are waited for; then it goes while they have files open. Data that is not written down is always waited for. Default: ${default}."`
}

// cacheFlags say how much is remembered.
type cacheFlags struct {
	DirectoryCache flags.Bytes `default:"128MiB" placeholder:"SIZE" group:"Caches" help:"Memory for collections that are loaded and not in use. Default: ${default}."`
	FileCache      flags.Bytes `default:"0" placeholder:"SIZE" group:"Caches" help:"Room for blocks of a cluster, on the disk or in memory; 0: a tenth of the disk, or 256MiB of memory. (A store on this machine is read where it is.)"`
	DiskCache      bool        `xor:"cache" group:"Caches" help:"Keep blocks of a cluster on the disk (default)."`
	RAMCache       bool        `name:"ram-cache" xor:"cache" group:"Caches" help:"Keep them in memory, until the mount ends."`
	DiskCacheDir   string      `type:"path" placeholder:"DIR" group:"Caches" help:"Where to keep them on the disk; other clients may use it, too. Default: ${cache}."`
}

// clusterFlags say how a cluster is used.
type clusterFlags struct {
	RefreshTime           flags.Seconds `default:"15" placeholder:"SECONDS" group:"Cluster" help:"How often a cluster is asked for changes, where it does not tell them. Default: ${default}."`
	DisableEventListening bool          `group:"Cluster" help:"Ask a cluster for changes, as often as --refresh-time says, even if it would tell them."`
	Retries               int           `default:"10" placeholder:"N" group:"Cluster" help:"How often what fails is tried again, at growing intervals, before a program hears of it. Default: ${default}."`
	Patience              flags.Seconds `hidden:"" help:"How long a request to the API is tried; 0: as --retries says."`
	StorageClasses        string        `placeholder:"CLASSES" group:"Cluster" help:"Storage classes of new blocks, separated by commas. Default: those of the cluster."`
	StateDir              string        `env:"KEEPDAV_STATE" type:"path" placeholder:"DIR" group:"Cluster" help:"For what is written and not on the cluster yet. Default: ${state}."`
	AcceptLostUpdates     bool          `group:"Cluster" help:"Write to a cluster that keeps no versions of collections, where others may overwrite what is written here."`
	Encoding              string        `default:"utf-8" placeholder:"NAME" group:"Cluster" help:"utf-8 is the only one. Names keep all their bytes."`
}

type mountCmd struct {
	storeFlags
	modeFlags
	accessFlags
	writeFlags
	runFlags
	cacheFlags
	clusterFlags

	Exec        bool        `group:"Running" placeholder:"CMD…" help:"Last of all flags: run a command while it is mounted, then unmount and return its exit code."`
	ShowVersion versionFlag `name:"version" help:"Print the version of this program."`

	Dir string `arg:"" optional:"" name:"mountpoint" type:"path" help:"Mount point: an existing directory."`

	command []string           // after --exec
	cluster *settings.Settings // of the cluster; nil: a store is meant
	source  string             // shown by mount tables; "": the store
	as      string             // of a line of fstab: the user, whatever User is
}

func (c *mountCmd) Help() string {
	return `Examples:
  keep-mount ~/keep                                    all you may see, read-only
  keep-mount --read-write --home ~/keep                your home project, to work in
  keep-mount --collection UUID /mnt --exec make -C /mnt
  keep-mount --unmount ~/keep                          also: fusermount3 -u, umount

Commands: status, stress, bench, fstab, version. A directory that is called like one is written ./status. SIGTERM or SIGINT unmount; a second one makes
it leave at once.`
}

// versionFlag prints the version and ends the program.
type versionFlag bool

// BeforeReset acts before anything else is looked at.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	version.Get().Text(app.Stdout, "keep-mount")
	app.Exit(0)
	return nil
}

// errTags is about what mounts do not show.
const errTags = "is not offered: a project shows what lies in it, by its name"

// Validate refuses what cannot be done, or would mean nothing.
func (c *mountCmd) Validate() error {
	custom := len(c.MountHome) + len(c.MountShared) + len(c.MountTmp) + len(c.MountByID) + len(c.MountByPDH) + len(c.MountByTag)
	mode := c.mode()
	switch {
	case c.Dir == "":
		return errors.New("a mount point is expected: keep-mount DIR")
	case len(c.modes()) > 1: // of a line of fstab; the parser sees to flags
		return fmt.Errorf("only one of %s can be shown", strings.Join(c.modes(), ", "))
	case c.ByTag:
		return errors.New("--by-tag " + errTags)
	case len(c.MountByTag) > 0:
		return errors.New("--mount-by-tag " + errTags)
	case c.Filters != "":
		return errors.New("--filters " + errTags)
	case custom > 0 && mode != "" && mode != "--custom":
		return fmt.Errorf("%s cannot be combined with --mount-… flags: those make a directory of their own (--custom)", mode)
	case c.Custom && custom == 0:
		return errors.New("--custom shows what --mount-… flags name, and there are none")
	case !strings.EqualFold(c.Encoding, "utf-8") && !strings.EqualFold(c.Encoding, "utf8"):
		return fmt.Errorf("--encoding %s: names are UTF-8, and keep all their bytes", c.Encoding)
	case c.Cluster && c.Store != "":
		return errors.New("--cluster and --store (or KEEPDAV_STORE): only one of them can be mounted")
	case c.RAMCache && c.DiskCacheDir != "":
		return errors.New("--disk-cache-dir is of no use with --ram-cache")
	case c.Retries < 0 || c.ReadAhead < 0:
		return errors.New("--retries and --read-ahead cannot be less than 0")
	case c.Subtype == "" || strings.ContainsAny(c.Subtype, ", \t\n/"):
		return fmt.Errorf("--subtype %q is no name", c.Subtype)
	case c.command != nil && (c.Unmount || c.UnmountAll):
		return errors.New("--exec is for mounting")
	case c.WriteCache == "on" && !c.ReadWrite:
		return errors.New("--write-cache=on is of no use without --read-write")
	}
	_, err := c.layout()
	return err
}

// storeDir is the directory of the store.
func (c *mountCmd) storeDir() string {
	if c.Store == "" {
		return embedded.DefaultDir()
	}
	return c.Store
}

func (c *mountCmd) patience() time.Duration { return time.Duration(c.UnmountTimeout) }
