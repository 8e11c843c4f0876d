package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/maint"
	"keepdav/web/browse"
)

// gcFlags are how long things are kept; serve has them too.
type gcFlags struct {
	Grace        time.Duration `default:"336h" env:"KEEPDAV_GRACE" group:"Garbage" help:"A block goes when two looks that far apart found it unreferenced. Keep clients rely on 336h: for so long they may read what they were told of, and name what they have sent."`
	KeepVersions time.Duration `default:"720h" env:"KEEPDAV_KEEP_VERSIONS" group:"Garbage" help:"How long old versions of collections are kept, 720h at most."`
	KeepTrash    time.Duration `default:"336h" env:"KEEPDAV_KEEP_TRASH" group:"Garbage" help:"How long deleted collections are kept, 336h at most."`
	KeepBlocks   time.Duration `default:"24h" env:"KEEPDAV_KEEP_BLOCKS" group:"Garbage" help:"How long blocks stay in STORE/trash before they are deleted."`
}

// Validate refuses what the store would not keep.
func (f gcFlags) Validate() error {
	switch {
	case f.Grace < 0 || f.KeepVersions < 0 || f.KeepTrash < 0 || f.KeepBlocks < 0:
		return errors.New("nothing can be kept for less than no time")
	case f.KeepVersions > 720*time.Hour:
		return errors.New("--keep-versions: the store keeps versions for 720h at most")
	case f.KeepTrash > 336*time.Hour:
		return errors.New("--keep-trash: the store keeps what was deleted for 336h at most")
	}
	return nil
}

func (f gcFlags) options() maint.CollectOptions {
	return maint.CollectOptions{Grace: f.Grace, KeepVersions: f.KeepVersions, KeepTrash: f.KeepTrash, KeepBlocks: f.KeepBlocks, Repack: true}
}

type gcCmd struct {
	gcFlags
	Now    bool `help:"Wait for nothing: old versions, deleted collections and unreferenced blocks go at once."`
	DryRun bool `help:"Change nothing; say what would be done."`
	Repack bool `default:"true" negatable:"" help:"Copy what is still used out of blocks that are mostly garbage."`
}

func (c *gcCmd) Help() string {
	return `Blocks belong to whatever refers to them: collections, their versions, collections in the
trash, files that somebody has open, uploads under way. What nothing refers to is marked; what was marked
before --grace and still is unreferenced goes to STORE/trash, and is deleted there after --keep-blocks.

It is safe while the server works, which does the same by itself every --gc-every.`
}

func (c *gcCmd) Run(ctx context.Context, root *cli) error {
	o := c.options()
	o.Repack, o.DryRun = c.Repack, c.DryRun
	if c.Now {
		o.Grace, o.KeepVersions, o.KeepTrash, o.KeepBlocks = 0, 0, 0, 0
	}
	r, err := call[maint.Collected](ctx, root, "gc", o)
	if err != nil {
		return err
	}
	return show(root, r, func(w io.Writer) {
		would := map[bool]string{true: "would be "}[c.DryRun]
		fmt.Fprintf(w, "%d versions and %d deleted collections %sexpired\n", r.Versions, r.Collections, would)
		if r.Repacked > 0 {
			fmt.Fprintf(w, "%s copied out of blocks that were mostly garbage\n", browse.Size(r.Repacked))
		}
		fmt.Fprintf(w, "%d blocks in use (%s), %d without references (%s)\n", r.Used, browse.Size(r.UsedBytes), r.Unreferenced, browse.Size(r.UnreferencedBytes))
		fmt.Fprintf(w, "%d blocks %sput in the trash (%s), %d %sdeleted from it (%s)\n", r.Trashed, would, browse.Size(r.TrashedBytes), r.Deleted, would, browse.Size(r.DeletedBytes))
	})
}

func collectGarbage(ctx context.Context, s *store, a maint.CollectOptions, tell func(control.Progress)) (maint.Collected, error) {
	tell = throttled(tell)
	a.Tell = func(what string, done, total, bytes int64) {
		tell(control.Progress{What: what, Done: done, Total: total, Bytes: bytes})
	}
	return s.Maint.Collect(ctx, a)
}
