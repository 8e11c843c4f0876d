package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/web/browse"
)

type versionsCmd struct {
	List    versionsListCmd    `cmd:"" help:"List the versions of a collection that are kept."`
	Restore versionsRestoreCmd `cmd:"" help:"Make a collection of an old version, beside the present one."`
}

// versionInfo is a version as commands show it.
type versionInfo struct {
	Version  int        `json:"version"`
	Current  bool       `json:"current"`
	PDH      collfs.PDH `json:"portable_data_hash,omitempty"`
	Files    int64      `json:"files"`
	Bytes    int64      `json:"bytes"`
	Modified time.Time  `json:"modified_at"`
}

type versionsListCmd struct {
	siteFlags
	Collection string `arg:"" help:"Collection."`
}

func (c *versionsListCmd) Help() string {
	return nameHelp + "\n\nEvery WebDAV client sees version N, read-only, at /by_id/UUID@N/."
}

func (c *versionsListCmd) Run(ctx context.Context, root *cli) error {
	versions, err := call[[]versionInfo](ctx, root, "versions.list", siteArgs{As: c.As, Name: siteName(c.Collection)})
	if err != nil {
		return err
	}
	return show(root, versions, func(w io.Writer) {
		t := newTable(w, "VERSION", "CHANGED", "FILES", "SIZE")
		for _, v := range versions {
			name := fmt.Sprint(v.Version)
			if v.Current {
				name += " (now)"
			}
			t.row(name, v.Modified.Local().Format(time.DateTime), v.Files, browse.Size(v.Bytes))
		}
		t.end()
	})
}

func listVersions(ctx context.Context, s *store, a siteArgs, _ func(control.Progress)) ([]versionInfo, error) {
	id, err := s.recordAt(ctx, a.As, a.Name, isCollection)
	if err != nil {
		return nil, err
	}
	records, err := s.SQL.Versions(ctx, id)
	if err != nil {
		return nil, err
	}
	infos := make([]versionInfo, len(records))
	for i, r := range records {
		infos[i] = versionInfo{Version: r.Version, Current: i == 0, PDH: r.PDH, Files: r.Files, Bytes: r.Bytes, Modified: r.ModifiedAt}
	}
	return infos, nil
}

type versionsRestoreCmd struct {
	siteFlags
	Collection string `arg:"" help:"Collection."`
	Version    int    `arg:"" help:"Number of the version."`
	Name       string `help:"Name of the new collection. Default: that of the old one with the number of the version."`
}

func (c *versionsRestoreCmd) Help() string {
	return nameHelp + "\n\nThe present state is not touched: take over from the new collection what you need, or rename both."
}

type restoreArgs struct {
	As, Name, NewName       string
	NameBytes, NewNameBytes []byte `json:",omitempty"`
	Version                 int
}

func (c *versionsRestoreCmd) Run(ctx context.Context, root *cli) error {
	r, err := call[recordInfo](ctx, root, "versions.restore", restoreArgs{As: c.As, Name: siteName(c.Collection), NewName: c.Name, Version: c.Version})
	if err != nil {
		return err
	}
	return show(root, r, func(w io.Writer) { fmt.Fprintf(w, "collection %q made (%s)\n", r.Name, r.UUID) })
}

func restoreVersion(ctx context.Context, s *store, a restoreArgs, _ func(control.Progress)) (recordInfo, error) {
	id, err := s.recordAt(ctx, a.As, a.Name, isCollection)
	if err != nil {
		return recordInfo{}, err
	}
	rec, err := s.SQL.Record(ctx, id)
	if err != nil {
		return recordInfo{}, err
	}
	name := a.NewName
	if name == "" {
		name = fmt.Sprintf("%s (version %d)", rec.Name, a.Version)
	}
	if err := s.mayMake(ctx, a.As, rec.Owner, name); err != nil {
		return recordInfo{}, err
	}
	old, err := s.Files.OpenVersion(ctx, id, a.Version)
	if err != nil {
		return recordInfo{}, err
	}
	defer old.Release()
	made, err := s.Files.Extract(ctx, old, "", rec.Owner, name, collfs.TransferOptions{})
	return recordInfo{UUID: made.UUID, Name: made.Name}, err
}
