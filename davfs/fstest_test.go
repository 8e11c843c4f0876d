package davfs_test

import (
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"keepdav/davfs"
	"keepdav/davfs/fstest"
)

// Each of these file systems breaks one clause, in the way that is easy to get
// wrong. A suite that never failed has proved nothing.
var broken = map[string]struct {
	wrap func(davfs.FileSystem) davfs.FileSystem
	want string // a case that must fail
}{
	"links cut uploads":        {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{anySize: true}} }, "ShortBodyIsRefused"},
	"ignores checks of Put":    {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{noCheck: true}} }, "CheckDecidesOverPut"},
	"checks Put only at first": {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{earlyCheck: true}} }, "CheckIsAskedAtCommit"},
	"lists in any order":       {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{reversed: true}} }, "ListIsSortedAndWhole"},
	"wraps ErrNotExist":        {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{wrapped: true}} }, "MissingFileIsBareErrNotExist"},
	"makes parents":            {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{parents: true}} }, "PutWithoutParentNamesTheParent"},
	"always overwrites":        {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{overwrite: true}} }, "MoveOverNeedsOverwrite"},
	"forgets shallow":          {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{deep: true}} }, "ShallowCopyIsEmpty"},
	"removes before it moves":  {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{removeFirst: true}} }, "MoveOfNothingIsRefused"},
	"loses attributes":         {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{noAttr: true}} }, "AttributesAreKept"},
	"counts all":               {func(f davfs.FileSystem) davfs.FileSystem { return brokenFS{f, hooks{countAll: true}} }, "CountStopsAtItsLimit"},
}

type hooks struct {
	anySize, noCheck, earlyCheck, reversed, wrapped, parents, overwrite, deep, removeFirst, noAttr, countAll bool
}

type brokenFS struct {
	davfs.FileSystem
	h hooks
}

func (b brokenFS) Put(ctx context.Context, name string, o davfs.PutOptions) (davfs.Upload, error) {
	if b.h.anySize {
		o.Size = -1
	}
	if b.h.earlyCheck && o.Check != nil {
		i, err := b.Stat(ctx, name)
		if err := o.Check(i, err == nil); err != nil {
			return nil, err
		}
		o.Check = nil
	}
	if b.h.noCheck {
		o.Check = nil
	}
	up, err := b.FileSystem.Put(ctx, name, o)
	if err != nil && b.h.parents {
		_, _ = b.Mkdir(ctx, name[:strings.LastIndexByte(name, '/')], davfs.AttrChange{})
		return b.FileSystem.Put(ctx, name, o)
	}
	return up, err
}

func (b brokenFS) Stat(ctx context.Context, name string) (davfs.Info, error) {
	i, err := b.FileSystem.Stat(ctx, name)
	if pe, ok := err.(*fs.PathError); ok && b.h.wrapped {
		return i, &fs.PathError{Op: "stat", Path: name, Err: pe}
	}
	return i, err
}

func (b brokenFS) List(ctx context.Context, name string) (davfs.Listing, error) {
	l, err := b.FileSystem.List(ctx, name)
	if err != nil || !b.h.reversed {
		return l, err
	}
	all := make([]davfs.Info, 1000)
	n, err := l.Next(all)
	slices.Reverse(all[:n])
	return &reversedListing{l, all[:n]}, err
}

type reversedListing struct {
	davfs.Listing
	rest []davfs.Info
}

func (l *reversedListing) Next(infos []davfs.Info) (int, error) {
	n := copy(infos, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (b brokenFS) Copy(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	o.Overwrite = o.Overwrite || b.h.overwrite
	o.Shallow = o.Shallow && !b.h.deep
	return b.FileSystem.Copy(ctx, src, dst, o)
}

func (b brokenFS) Move(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	if b.h.removeFirst && o.Overwrite && src != dst {
		_ = b.Remove(ctx, dst, nil)
	}
	o.Overwrite = o.Overwrite || b.h.overwrite
	return b.FileSystem.Move(ctx, src, dst, o)
}

func (b brokenFS) SetAttr(ctx context.Context, name string, c davfs.AttrChange) (davfs.Info, error) {
	if b.h.noAttr {
		return b.Stat(ctx, name)
	}
	return b.FileSystem.SetAttr(ctx, name, c)
}

func (b brokenFS) Count(ctx context.Context, name string, limit int) (int, error) {
	if b.h.countAll {
		limit = 1 << 30
	}
	return b.FileSystem.Count(ctx, name, limit)
}

func TestSuiteFindsWhatIsBroken(t *testing.T) {
	for name, b := range broken {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			i := slices.IndexFunc(fstest.Cases, func(c fstest.Case) bool { return c.Name == b.want })
			r := newRig(t)
			r.mkdir("/home/c")
			if fstest.Cases[i].Check(r.ctx, b.wrap(r.FS), "/home/c") != nil {
				return
			}
			t.Errorf("%s passes on a file system that %s", b.want, name)
		})
	}
}

// A reader that fails once must not be taken for one that ended: net/http's
// bodies say io.EOF after they said that the body was cut.
type cutOnce struct {
	data string
	cut  bool
}

func (c *cutOnce) Read(p []byte) (int, error) {
	if c.cut {
		return 0, io.EOF
	}
	c.cut = true
	return copy(p, c.data), io.ErrUnexpectedEOF
}

func TestBodyThatSaysEOFAfterItWasCutIsCut(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	for _, name := range []string{"/home/c/f", "/home/c/._f"} {
		up, err := r.Put(r.ctx, name, davfs.PutOptions{Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer up.Abort()
		if _, err := up.ReadFrom(&cutOnce{data: "half"}); err != io.ErrUnexpectedEOF {
			t.Errorf("ReadFrom = %v; want io.ErrUnexpectedEOF", err)
		}
		if _, _, err := up.Commit(r.ctx); err == nil {
			t.Errorf("Commit of %s after a cut body: no error", name)
		}
		r.wantGone(name)
	}
}
