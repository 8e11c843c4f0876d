package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"keepdav/collfs"
	"keepdav/web/browse"
)

type statCmd struct {
	siteFlags
	Collection string `arg:"" optional:"" help:"Show this collection instead of the store."`
	PDH        bool   `name:"pdh" help:"With a collection: compute its portable data hash, which stores all of it first."`
}

func (c *statCmd) Help() string { return nameHelp }

type statArgs struct {
	As, Name  string
	NameBytes []byte `json:",omitempty"`
	PDH       bool
}

func (c *statCmd) Run(ctx context.Context, root *cli) error {
	if c.Collection != "" {
		f, err := call[collectionStat](ctx, root, "stat.collection", statArgs{As: c.As, Name: siteName(c.Collection), PDH: c.PDH})
		if err != nil {
			return err
		}
		return show(root, f, f.text)
	}
	f, err := call[storeStat](ctx, root, "stat", none{})
	if err != nil {
		return err
	}
	return show(root, f, f.text)
}

// storeStat has the figures of a store.
type storeStat struct {
	Dir         string `json:"dir"`
	DirBytes    []byte `json:"dir_base64,omitempty"`
	Serving     string `json:"serving,omitempty"` // the URL, when a server has it open
	Users       int    `json:"users"`
	Collections int    `json:"collections"`
	Trashed     int    `json:"trashed_collections"`
	Files       int64  `json:"files"`
	Bytes       int64  `json:"bytes"`
	Blocks      int64  `json:"blocks"`
	BlockBytes  int64  `json:"block_bytes"`
	OpenBlocks  int64  `json:"open_blocks"` // not stored yet
	OpenBytes   int64  `json:"open_bytes"`
	TrashBlocks int64  `json:"trash_blocks"`
	TrashBytes  int64  `json:"trash_bytes"`
	DiskFree    int64  `json:"disk_free"`
	DiskTotal   int64  `json:"disk_total"`
}

func (f storeStat) text(w io.Writer) {
	t := newTable(w, "store", f.Dir)
	if f.Serving != "" {
		t.row("served at", f.Serving)
	}
	t.row("users", f.Users)
	t.row("collections", fmt.Sprintf("%d (and %d in the trash)", f.Collections, f.Trashed))
	t.row("files", fmt.Sprintf("%d with %s", f.Files, browse.Size(f.Bytes)))
	t.row("stored blocks", fmt.Sprintf("%d with %s", f.Blocks, browse.Size(f.BlockBytes)))
	t.row("blocks in the making", fmt.Sprintf("%d with %s", f.OpenBlocks, browse.Size(f.OpenBytes)))
	t.row("blocks in the trash", fmt.Sprintf("%d with %s", f.TrashBlocks, browse.Size(f.TrashBytes)))
	t.row("disk", fmt.Sprintf("%s free of %s", browse.Size(f.DiskFree), browse.Size(f.DiskTotal)))
	t.end()
}

// collectionStat has the figures of a collection.
type collectionStat struct {
	UUID      collfs.UUID `json:"uuid"`
	Name      string      `json:"name"`
	NameBytes []byte      `json:"name_base64,omitempty"`
	Owner     collfs.UUID `json:"owner_uuid"`
	Version   int         `json:"version"`
	Revision  int64       `json:"revision"`
	PDH       collfs.PDH  `json:"portable_data_hash,omitempty"`
	Files     int64       `json:"files"`
	Bytes     int64       `json:"bytes"`
	Blocks    int         `json:"blocks"`
	Unstored  int         `json:"blocks_not_stored_yet"`
	Created   time.Time   `json:"created_at"`
	Modified  time.Time   `json:"modified_at"`
}

func (f collectionStat) text(w io.Writer) {
	t := newTable(w, "collection", f.Name)
	t.row("uuid", f.UUID)
	t.row("owner", f.Owner)
	if f.PDH != "" {
		t.row("portable data hash", f.PDH)
	}
	t.row("files", fmt.Sprintf("%d with %s", f.Files, browse.Size(f.Bytes)))
	t.row("blocks", fmt.Sprintf("%d, %d of them not stored yet", f.Blocks, f.Unstored))
	t.row("version", fmt.Sprintf("%d (commit %d)", f.Version, f.Revision))
	t.row("made", f.Created.Local().Format(time.DateTime))
	t.row("changed", f.Modified.Local().Format(time.DateTime))
	t.end()
}
