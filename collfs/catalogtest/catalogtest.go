// Package catalogtest says what a collfs.Catalog and a collfs.Folders have to
// do: each sentence of their comments is a case. Cases return errors, so that the
// suite can be tried on catalogs that are broken on purpose.
//
// A catalog's test is a call of Run. Start reading at contents.go.
package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// An Env is a catalog without collections, and what the cases need besides.
type Env struct {
	Catalog  collfs.Catalog
	Folders  collfs.Folders // nil: the catalog has no projects, their cases are left out
	Blocks   collfs.Blocks
	NewUUID  func(kind string) collfs.UUID // "4zz18", "j7d0g"
	User     collfs.UUID                   // a user who isn't an admin, and the user's home
	Stranger collfs.UUID                   // another one
	Name     string                        // the login name of User
	Grant    func(user, item collfs.UUID, level collfs.Level) error
	Advance  func(time.Duration) // moves the clock of the catalog; nil: cases that need it are left out
}

// A Case is one thing that a catalog has to do.
type Case struct {
	Name       string
	Check      func(ctx context.Context, e *Env) error
	NeedsClock bool
	NeedsUsers bool // Folders and Grant
}

// Cases lists everything that a catalog has to do.
func Cases() []Case {
	var all []Case
	all = append(all, contentCases...)
	all = append(all, recordCases...)
	all = append(all, eventCases...)
	return append(all, folderCases...)
}

// Run checks the catalogs made by open, one fresh one a case.
func Run(t *testing.T, open func(*testing.T) *Env) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			e := open(t)
			if c.NeedsClock && e.Advance == nil || c.NeedsUsers && e.Folders == nil {
				t.Skip("the catalog has no such thing")
			}
			if err := c.Check(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
}

// create makes a collection in the user's home.
func (e *Env) create(ctx context.Context, name string) (collfs.UUID, error) {
	id := e.NewUUID("4zz18")
	_, err := e.Catalog.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{
		{Kind: collfs.CreateCollection, UUID: id, Owner: e.User, Name: name},
	}})
	return id, wrap("create", err)
}

// project makes a project.
func (e *Env) project(ctx context.Context, owner collfs.UUID, name string) (collfs.UUID, error) {
	id := e.NewUUID("j7d0g")
	return id, wrap("create project", e.records(ctx, collfs.RecordOp{Kind: collfs.CreateProject, UUID: id, Owner: owner, Name: name}))
}

func (e *Env) records(ctx context.Context, ops ...collfs.RecordOp) error {
	_, err := e.Catalog.Commit(ctx, collfs.Tx{Records: ops})
	return err
}

// put is an operation that makes a file; its content is known by n.
func put(path string, n byte) collfs.Op {
	return collfs.Op{
		Kind: collfs.OpPut, Path: path, Attr: collfs.Attr{Mode: 0o600, Mtime: int64(n), Extra: map[string]string{"xattr:k": "v"}},
		Content: collfs.Content{ID: collfs.ContentID{n}, Size: int64(n), Segments: []keepio.Segment{
			{Block: keepio.NewStoredBlock([16]byte{n}, 1000), Off: 1, Len: uint32(n)},
		}},
	}
}

// change commits ops to a collection that is at revision base.
func (e *Env) change(ctx context.Context, id collfs.UUID, base int64, files, bytes int64, ops ...collfs.Op) (collfs.Record, error) {
	recs, err := e.Catalog.Commit(ctx, collfs.Tx{Durable: true, Changes: []collfs.Change{
		{Collection: id, Base: base, Ops: ops, Files: files, Bytes: bytes},
	}})
	if err != nil {
		return collfs.Record{}, err
	}
	if len(recs) != 1 {
		return collfs.Record{}, fmt.Errorf("commit of one change returned %d records", len(recs))
	}
	return recs[0], nil
}

// holds checks that a version of a collection has exactly these files.
func (e *Env) holds(ctx context.Context, id collfs.UUID, version int, want map[string]byte) error {
	_, saved, err := e.Catalog.Load(ctx, id, version)
	if err != nil {
		return wrap("load", err)
	}
	tree, err := collfs.Load(saved, e.Blocks)
	if err != nil {
		return wrap("load", err)
	}
	got := make(map[string]byte)
	err = tree.Walk(func(path string, i collfs.NodeInfo, c collfs.Content) error {
		if i.Dir {
			return nil
		}
		got[path] = i.ID[0]
		op := put(path, i.ID[0])
		if len(c.Segments) != 1 || c.Segments[0].Off != 1 || c.Segments[0].Len != op.Content.Segments[0].Len || c.Segments[0].Block == nil {
			return fmt.Errorf("%s has segments %v", path, c.Segments)
		}
		if i.Attr.Mode != op.Attr.Mode || i.Attr.Mtime != op.Attr.Mtime || i.Attr.Extra["xattr:k"] != "v" {
			return fmt.Errorf("%s has attributes %v", path, i.Attr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("collection holds %v; want %v", got, want)
	}
	return nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// want checks that err matches target; nil is matched by nil.
func want(what string, err, target error) error {
	if !errors.Is(err, target) {
		return fmt.Errorf("%s = %v; want %v", what, err, target)
	}
	return nil
}

// all returns the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var errNotExist = fs.ErrNotExist
