package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/settings"
	"keepdav/cmd/internal/version"
	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// clusterCopyFlags are those of import-cluster and export-cluster.
type clusterCopyFlags struct {
	From    string `arg:"" help:"A collection, a project or /home, there where it comes from."`
	To      string `arg:"" optional:"" help:"What it becomes. Default: the same name."`
	As      string `default:"admin" placeholder:"NAME" help:"User of the store. Default: ${default}. On the cluster the token says."`
	Workers int    `default:"4" help:"Blocks that are copied at once. Default: ${default}."`
	DryRun  bool   `help:"Only tell what would be copied."`
}

type importClusterCmd struct{ clusterCopyFlags }
type exportClusterCmd struct{ clusterCopyFlags }

const clusterCopyHelp = `The cluster is the one that ARVADOS_API_HOST and ARVADOS_API_TOKEN name, or a settings.conf; the store has to be named
with --store. What is the same on both sides, by its portable data hash, is passed over, so a copy that was cut short can
be made again. A collection that is there already and is another one becomes what it is copied from; what it was is kept
as a version. Projects are copied with all below them.`

func (importClusterCmd) Help() string { return clusterCopyHelp }
func (exportClusterCmd) Help() string { return clusterCopyHelp }

func (c *importClusterCmd) Run(ctx context.Context, root *cli) error { return c.run(ctx, root, false) }
func (c *exportClusterCmd) Run(ctx context.Context, root *cli) error { return c.run(ctx, root, true) }

// clusterCopyArgs say what is copied between the store and a cluster.
type clusterCopyArgs struct {
	From, To, As string
	Export       bool // from the store to the cluster
	Workers      int
	DryRun       bool
	API          string
	Token        string
	Insecure     bool
	Services     []string
}

func (c *clusterCopyFlags) run(ctx context.Context, root *cli, export bool) error {
	set, err := settings.Load(os.LookupEnv)
	if err == nil {
		err = set.NeedToken()
	}
	if err != nil {
		return err
	}
	a := clusterCopyArgs{
		From: path.Clean("/" + c.From), To: path.Clean("/" + c.To), As: c.As, Export: export, Workers: c.Workers, DryRun: c.DryRun,
		API: set.API.String(), Token: set.Token, Insecure: set.Insecure, Services: set.KeepServices,
	}
	if c.To == "" {
		a.To = a.From
	}
	result, err := call[clusterCopied](ctx, root, "cluster.copy", a)
	if err != nil {
		return err
	}
	return show(root, result, func(w io.Writer) {
		verb := "copied"
		if c.DryRun {
			verb = "would be copied"
		}
		fmt.Fprintf(w, "%d collections %s, %d are the same already, %d blocks, %d bytes, %.1f s\n", result.Copied, verb, result.Same, result.Blocks, result.Bytes, result.Seconds)
	})
}

// clusterCopied is what was copied.
type clusterCopied struct {
	Copied  int64   `json:"copied"`
	Same    int64   `json:"same"`
	Blocks  int64   `json:"blocks"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// A side is where collections are copied from or to.
type side struct {
	files   *collfs.FS
	site    *davfs.FS
	catalog collfs.Catalog
	spool   *keepio.Spool
	write   func(ctx context.Context, data []byte) ([16]byte, error) // a block
}

// A clusterCopier copies collections from one side to the other.
type clusterCopier struct {
	from, to side
	workers  int
	dry      bool
	tell     func(control.Progress)

	mu     sync.Mutex // guards the fields below
	there  map[[16]byte]bool
	result clusterCopied
}

func copyCluster(ctx context.Context, s *store, a clusterCopyArgs, tell func(control.Progress)) (_ clusterCopied, err error) {
	start := time.Now()
	api, err := url.Parse(a.API)
	if err != nil {
		return clusterCopied{}, errors.New("the API host is no URL")
	}
	site, err := s.SiteOf(ctx, a.As)
	if err != nil {
		return clusterCopied{}, err
	}
	m, err := cluster.New(cluster.Config{
		Settings: settings.Settings{API: api, Insecure: a.Insecure, KeepServices: a.Services, From: "ARVADOS_API_HOST"},
		Agent:    "keep-dav/" + version.Get().Version, Log: commandLog(),
	})
	if err != nil {
		return clusterCopied{}, err
	}
	defer m.Close()
	session, err := m.Session(ctx, a.Token)
	if err != nil {
		return clusterCopied{}, err
	}
	defer func() { err = errors.Join(err, session.Close(context.WithoutCancel(ctx))) }()
	here := side{s.Files, site, s.Gate, s.Spool, s.Blocks.WriteBlock}
	there := side{session.Files, session.FS(), session.Catalog(), session.Spool, session.WriteBlock}
	c := &clusterCopier{from: there, to: here, workers: min(max(a.Workers, 1), 64), dry: a.DryRun, tell: throttled(tell), there: map[[16]byte]bool{}}
	if a.Export {
		c.from, c.to = here, there
	}
	err = c.copy(ctx, a.From, a.To)
	c.result.Seconds = time.Since(start).Seconds()
	return c.result, err
}

// copy copies what is called from to to, with all below it.
func (c *clusterCopier) copy(ctx context.Context, from, to string) error {
	info, err := c.from.site.Stat(ctx, from)
	switch {
	case err != nil:
		return err
	case !info.Dir || info.Path != "":
		return fmt.Errorf("%s: only whole collections and projects can be copied", from)
	case strings.Contains(string(info.Collection), "-4zz18-"):
		if err := c.collection(ctx, info.Collection, to); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		return nil
	}
	if err := c.project(ctx, to); err != nil {
		return err
	}
	var names []string
	loose := false
	err = eachEntry(ctx, c.from.site, from, func(i davfs.Info) error {
		if loose = loose || !i.Dir; i.Dir {
			names = append(names, i.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if loose { // they lie in a collection of this name
		names = append(names, looseFiles)
	}
	for _, name := range names {
		if err := c.copy(ctx, path.Join(from, name), path.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// looseFiles is the collection of files that were put directly into a project.
const looseFiles = "Loose files"

// project makes a project, if it is not there.
func (c *clusterCopier) project(ctx context.Context, name string) error {
	_, err := c.to.site.Stat(ctx, name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || c.dry {
		if c.dry && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	up, err := c.to.site.Stat(ctx, path.Dir(name))
	if err != nil {
		return err
	}
	_, err = c.to.catalog.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{
		Kind: collfs.CreateProject, UUID: c.to.files.NewUUID("j7d0g"), Owner: up.Collection, Name: path.Base(name),
	}}})
	return err
}

// collection copies one collection, unless the other side has the same.
func (c *clusterCopier) collection(ctx context.Context, id collfs.UUID, to string) error {
	src, err := c.from.files.Open(ctx, id)
	if err != nil {
		return err
	}
	defer src.Release()
	want, err := src.PDH(ctx)
	if err != nil {
		return err
	}
	target, err := c.to.site.Stat(ctx, to)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case missing && c.dry:
		c.count(func(r *clusterCopied) { r.Copied++ })
		return nil
	case missing:
		if target, err = c.to.site.Mkdir(ctx, to, davfs.AttrChange{}); err != nil {
			return err
		}
	case !target.Dir || target.Path != "" || !strings.Contains(string(target.Collection), "-4zz18-"):
		return fmt.Errorf("%s is there and is no collection: %w", to, fs.ErrExist)
	}
	dst, err := c.to.files.Open(ctx, target.Collection)
	if err != nil {
		return err
	}
	defer dst.Release()
	got, err := dst.PDH(ctx)
	if err != nil {
		return err
	}
	if got == want && !missing {
		c.count(func(r *clusterCopied) { r.Same++ })
		return nil
	}
	c.count(func(r *clusterCopied) { r.Copied++ })
	if c.dry {
		return nil
	}
	return c.content(ctx, src, dst, want)
}

// content makes dst what src is, and checks that it is.
func (c *clusterCopier) content(ctx context.Context, src, dst *collfs.Collection, want collfs.PDH) error {
	blocks := map[[16]byte]uint32{}
	rec, tree, err := src.Checkpoint(ctx, func(hash [16]byte, size uint32) { blocks[hash] = size })
	if err != nil {
		return err
	}
	if err := c.blocks(ctx, blocks); err != nil {
		return err
	}
	is, err := collfs.DecodeTree(tree, c.to.spool)
	if err != nil {
		return err
	}
	_, err = dst.ApplyWith(ctx, collfs.ApplyOptions{Keep: true}, func(t *collfs.Tree) ([]collfs.Op, error) {
		return collfs.Turn(t, is, time.Now().UnixNano())
	})
	if err != nil {
		return err
	}
	if len(rec.Properties) > 0 || rec.Description != "" {
		_, err = c.to.catalog.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{
			Kind: collfs.Update, UUID: dst.UUID(), Properties: rec.Properties, Desc: rec.Description,
		}}})
		if err != nil {
			return err
		}
	}
	got, err := dst.PDH(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the copy is %s, and %s was expected: somebody has changed one of them meanwhile, copy again", got, want)
	}
	return nil
}

// blocks copies blocks, several at once, each verified by its MD5.
func (c *clusterCopier) blocks(ctx context.Context, blocks map[[16]byte]uint32) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.workers)
	for hash, size := range blocks {
		c.mu.Lock()
		done := c.there[hash]
		c.there[hash] = true
		c.mu.Unlock()
		if !done && size > 0 {
			g.Go(func() error { return c.block(ctx, hash, size) })
		}
	}
	return g.Wait()
}

func (c *clusterCopier) block(ctx context.Context, hash [16]byte, size uint32) error {
	data := make([]byte, size)
	n, err := c.from.spool.ReadBlock(ctx, c.from.spool.ByHash(hash, size), data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	got, err := c.to.write(ctx, data[:n])
	if err == nil && got != hash {
		err = fmt.Errorf("block %x+%d: %w", hash, size, keepio.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	c.count(func(r *clusterCopied) {
		r.Blocks++
		r.Bytes += int64(size)
	})
	return nil
}

// count changes the result and tells how far it is.
func (c *clusterCopier) count(f func(*clusterCopied)) {
	c.mu.Lock()
	f(&c.result)
	r := c.result
	c.mu.Unlock()
	c.tell(control.Progress{What: "collections", Done: r.Copied + r.Same, Bytes: r.Bytes})
}
