package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/maint"
	"keepdav/web/browse"
)

type fsckCmd struct {
	Quick   bool `help:"Check references and sizes, but don't read the blocks."`
	Repair  bool `help:"Take lost blocks back out of STORE/trash, where gc puts what it takes away."`
	Workers int  `default:"2" help:"Blocks read at once."`
}

func (c *fsckCmd) Help() string {
	return `Reads every byte of the store and verifies the MD5 of every block, that each file of each
collection and version refers to blocks that are there, and the database. It names the files
that damage concerns. The exit code is 3 when something is wrong (and was not repaired).

Reading a file in a damaged block fails; no wrong bytes are given out. Nothing is ever deleted: if you
have the block elsewhere (it is a file named by its MD5), put it back into STORE/blocks while
no program has the store open.`
}

// errDamage says that fsck found something wrong.
var errDamage = errors.New("the store is damaged")

func (c *fsckCmd) Run(ctx context.Context, root *cli) error {
	r, err := call[maint.Report](ctx, root, "fsck", maint.CheckOptions{Quick: c.Quick, Repair: c.Repair, Workers: c.Workers})
	if err != nil {
		return err
	}
	err = show(root, r, func(w io.Writer) {
		for _, p := range r.Problems {
			fmt.Fprintln(w, printable(p.String()))
		}
		if r.More > 0 {
			fmt.Fprintf(w, "and %d more problems\n", r.More)
		}
		fmt.Fprintf(w, "%d collections and %d versions with %d files: %d references to %d blocks\n", r.Collections, r.Versions, r.Files, r.References, r.Blocks)
		fmt.Fprintf(w, "%d stored blocks verified (%s), %d in the making, %d that nothing refers to (%s)\n", r.Verified, browse.Size(r.Bytes), r.Open,
			r.Unreferenced, browse.Size(r.UnreferencedBytes))
		if r.Sound() {
			fmt.Fprintln(w, "the store is sound")
		}
	})
	if err == nil && !r.Sound() {
		return errDamage
	}
	return err
}

func checkStore(ctx context.Context, s *store, a maint.CheckOptions, tell func(control.Progress)) (maint.Report, error) {
	tell = throttled(tell)
	a.Tell = func(what string, done, total, bytes int64) {
		tell(control.Progress{What: what, Done: done, Total: total, Bytes: bytes})
	}
	return s.Maint.Check(ctx, a)
}
