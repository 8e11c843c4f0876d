package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/web/browse"
)

type trashCmd struct {
	List    trashListCmd    `cmd:"" help:"List deleted collections and projects that can be brought back."`
	Restore trashRestoreCmd `cmd:"" help:"Bring one back to where it was."`
	Delete  trashDeleteCmd  `cmd:"" help:"Delete one for good."`
}

// trashInfo is something in the trash as commands show it.
type trashInfo struct {
	UUID      collfs.UUID `json:"uuid"`
	Name      string      `json:"name"`
	NameBytes []byte      `json:"name_base64,omitempty"`
	Owner     collfs.UUID `json:"owner_uuid"`
	Files     int64       `json:"files"`
	Bytes     int64       `json:"bytes"`
	Trashed   time.Time   `json:"trashed_at"`
	Deleted   time.Time   `json:"delete_at,omitzero"`
}

type trashListCmd struct{}

func (c *trashListCmd) Run(ctx context.Context, root *cli) error {
	all, err := call[[]trashInfo](ctx, root, "trash.list", none{})
	if err != nil {
		return err
	}
	return show(root, all, func(w io.Writer) {
		t := newTable(w, "UUID", "NAME", "FILES", "SIZE", "DELETED", "KEPT UNTIL")
		for _, i := range all {
			until := "-"
			if !i.Deleted.IsZero() {
				until = i.Deleted.Local().Format(time.DateTime)
			}
			t.row(i.UUID, i.Name, i.Files, browse.Size(i.Bytes), i.Trashed.Local().Format(time.DateTime), until)
		}
		t.end()
	})
}

func listTrash(ctx context.Context, s *store, _ none, _ func(control.Progress)) ([]trashInfo, error) {
	entries, err := s.SQL.Trash(ctx)
	if err != nil {
		return nil, err
	}
	infos := []trashInfo{}
	for _, e := range entries {
		i := trashInfo{Name: e.Name}
		if c := e.Collection; c != nil {
			i.UUID, i.Owner, i.Files, i.Bytes, i.Trashed, i.Deleted = c.UUID, c.Owner, c.Files, c.Bytes, c.TrashAt, c.DeleteAt
		} else if p := e.Project; p != nil {
			i.UUID, i.Owner, i.Trashed = p.UUID, p.Owner, p.TrashAt
		}
		infos = append(infos, i)
	}
	return infos, nil
}

type trashArgs struct {
	UUID collfs.UUID
}

type trashRestoreCmd struct {
	UUID string `arg:"" help:"UUID, as trash list shows it."`
}

func (c *trashRestoreCmd) Run(ctx context.Context, root *cli) error {
	r, err := call[recordInfo](ctx, root, "trash.restore", trashArgs{collfs.UUID(c.UUID)})
	if err != nil {
		return err
	}
	return show(root, r, func(w io.Writer) { fmt.Fprintf(w, "%s is back as %q\n", r.UUID, r.Name) })
}

func restoreTrash(ctx context.Context, s *store, a trashArgs, _ func(control.Progress)) (recordInfo, error) {
	all, err := listTrash(ctx, s, none{}, nil)
	if err != nil {
		return recordInfo{}, err
	}
	// If the name is taken meanwhile, it comes back under another one.
	op := collfs.RecordOp{Kind: collfs.Untrash, UUID: a.UUID, Unique: true}
	if i := slices.IndexFunc(all, func(t trashInfo) bool { return t.UUID == a.UUID }); i >= 0 {
		if op.Name, err = s.freeName(ctx, all[i].Owner, all[i].Name); err != nil {
			return recordInfo{}, err
		}
	}
	if _, err := s.Gate.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{op}}); err != nil {
		return recordInfo{}, err
	}
	e, err := s.SQL.Entry(ctx, a.UUID)
	return recordInfo{UUID: a.UUID, Name: e.Name}, err
}

// freeName is name, or the first of "name (2)", "name (3)", … that nothing in a
// project has. The catalog sees to that for projects and collections; a file
// in the project would be hidden.
func (s *store) freeName(ctx context.Context, project collfs.UUID, name string) (string, error) {
	users, err := s.SQL.ListUsers(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(users, func(u collfs.User) bool { return u.Admin && u.Active })
	if i < 0 { // nobody sees all
		return name, nil
	}
	fsys, free := s.user(users[i]), name
	for n := 2; ; n++ {
		switch _, err := fsys.Stat(ctx, path.Join("/by_id", string(project), free)); {
		case errors.Is(err, fs.ErrNotExist):
			return free, nil
		case err != nil:
			return "", err
		}
		free = fmt.Sprintf("%s (%d)", name, n)
	}
}

type trashDeleteCmd struct {
	UUID string `arg:"" help:"UUID, as trash list shows it."`
}

func (c *trashDeleteCmd) Run(ctx context.Context, root *cli) error {
	r, err := call[recordInfo](ctx, root, "trash.delete", trashArgs{collfs.UUID(c.UUID)})
	if err != nil {
		return err
	}
	return show(root, r, func(w io.Writer) { fmt.Fprintf(w, "%s is gone; gc frees its room\n", r.UUID) })
}

func deleteTrash(ctx context.Context, s *store, a trashArgs, _ func(control.Progress)) (recordInfo, error) {
	_, err := s.Gate.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.DeleteNow, UUID: a.UUID}}})
	return recordInfo{UUID: a.UUID}, err
}
