package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// faultySpool fails Sync and Freeze when told.
type faultySpool struct {
	*keepio.Spool
	failSync   atomic.Bool
	failFreeze atomic.Bool
}

var errInjected = errors.New("injected")

func (s *faultySpool) Sync(ctx context.Context, blocks []*keepio.Block) error {
	if s.failSync.Load() {
		return errInjected
	}
	return s.Spool.Sync(ctx, blocks)
}

func (s *faultySpool) Freeze(name string, blocks []*keepio.Block) ([]keepio.Extent, error) {
	if s.failFreeze.Load() {
		return nil, errInjected
	}
	return s.Spool.Freeze(name, blocks)
}

// faults injects the outcomes of the next commits.
type faults struct{ next atomic.Int32 }

const (
	faultNone = iota
	faultFail
	faultUnclearDone
	faultUnclearNot
	faultLast
)

func (f *faults) outcome(context.Context, collfs.Tx) memcatalog.Outcome {
	switch f.next.Swap(faultNone) {
	case faultFail:
		return memcatalog.Outcome{Err: errInjected}
	case faultUnclearDone:
		return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: true}
	case faultUnclearNot:
		return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome}
	}
	return memcatalog.Outcome{}
}

var modelNames = []string{"a", "b", "c", "d"}

// model is what a collection should hold: directories end in a slash, and names of
// one file have one number.
type model map[string]int

func (m model) isDir(p string) bool { _, ok := m[p+"/"]; return ok || p == "" }
func (m model) isFile(p string) bool {
	_, ok := m[p]
	return ok && p != "" && !strings.HasSuffix(p, "/")
}
func (m model) exists(p string) bool { return m.isDir(p) || m.isFile(p) }

func (m model) parentOK(p string) bool {
	i := strings.LastIndexByte(p, '/')
	return i < 0 || m.isDir(p[:i])
}

// below returns the keys at p and below.
func (m model) below(p string) (ks []string) {
	for k := range m {
		if k == p || strings.HasPrefix(k, p+"/") {
			ks = append(ks, k)
		}
	}
	return ks
}

func (m model) removeAll(p string) {
	for _, k := range m.below(p) {
		delete(m, k)
	}
}

// machine is the model test of one collection.
type machine struct {
	*rapid.T
	catalog collfs.Catalog
	now     func() time.Time
	spool   *faultySpool
	faults  *faults
	id      collfs.UUID
	fs      *collfs.FS
	c       *collfs.Collection
	m       model
	content map[int]string // of files, also of those without a name
	handles []*modelHandle
	n       int
}

type modelHandle struct {
	h    *collfs.Handle
	file int
}

// newFile gives a name to a new file.
func (s *machine) newFile(p, content string) {
	if s.content == nil {
		s.content = make(map[int]string)
	}
	s.n++
	s.m[p] = s.n
	s.content[s.n] = content
}

// names returns the names of a file.
func (s *machine) names(file int) (out []string) {
	for p, f := range s.m {
		if f == file {
			out = append(out, p)
		}
	}
	return out
}

// contents returns the content of each name.
func (s *machine) contents() map[string]string {
	out := make(map[string]string)
	for p, file := range s.m {
		out[p] = s.content[file]
	}
	return out
}

func drawPath(t *rapid.T, label string) string {
	depth := rapid.IntRange(1, 3).Draw(t, label+" depth")
	var names []string
	for range depth {
		names = append(names, rapid.SampledFrom(modelNames).Draw(t, label))
	}
	return strings.Join(names, "/")
}

func (s *machine) openFS() {
	s.fs = collfs.NewFS(collfs.Config{Catalog: s.catalog, Spool: s.spool, Now: s.now, HashSeed: 42})
	var err error
	if s.c, err = s.fs.Open(context.Background(), s.id); err != nil {
		s.Fatal(err)
	}
}

// checkReplay checks that what is in memory is what the catalog's operations make.
func (s *machine) checkReplay() {
	if err := s.c.Commit(context.Background(), false); err != nil {
		s.Fatalf("Commit() = %v", err)
	}
	f := collfs.NewFS(collfs.Config{Catalog: s.catalog, Spool: s.spool, Now: s.now, HashSeed: 42})
	defer f.Close(context.Background())
	c, err := f.Open(context.Background(), s.id)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Release()
	live, replayed := stats(s, s.c), stats(s, c)
	for path, want := range live {
		if !reflect.DeepEqual(replayed[path], want) {
			s.Fatalf("%q is %+v after a replay; it was %+v", path, replayed[path], want)
		}
	}
	one, err1 := s.c.Record(context.Background())
	two, err2 := c.Record(context.Background())
	if err1 != nil || err2 != nil || one.Files != two.Files || one.Bytes != two.Bytes {
		s.Fatalf("sums are %d, %d after a replay; they were %d, %d", two.Files, two.Bytes, one.Files, one.Bytes)
	}
	if len(live) != len(replayed) {
		s.Fatalf("%d names after a replay; there were %d", len(replayed), len(live))
	}
}

// stats describes everything in a collection.
func stats(t fataler, c *collfs.Collection) map[string]collfs.NodeInfo {
	out := make(map[string]collfs.NodeInfo)
	var visit func(dir string)
	visit = func(dir string) {
		l, err := c.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out[dir] = l.Self()
		infos := make([]collfs.NodeInfo, 100)
		n := l.Next(infos)
		for _, i := range infos[:n] {
			path := strings.TrimPrefix(dir+"/"+i.Name, "/")
			if out[path] = i; i.Dir {
				visit(path)
			}
		}
	}
	visit("")
	return out
}

func (s *machine) closeFS() {
	for _, h := range s.handles {
		if err := h.h.Close(context.Background()); err != nil {
			s.Fatalf("close: %v", err)
		}
	}
	s.handles = nil
	s.checkReplay()
	s.c.Release()
	if err := s.fs.Close(context.Background()); err != nil {
		s.Fatalf("close: %v", err)
	}
}

func (s *machine) text() string {
	s.n++
	return fmt.Sprintf("<%d>", s.n) + strings.Repeat("x", rapid.IntRange(0, 40).Draw(s.T, "length"))
}

func (s *machine) check(what string, err error, want bool) bool {
	if (err == nil) != want {
		s.Fatalf("%s = %v; want success %v", what, err, want)
	}
	return err == nil
}

func (s *machine) Put(t *rapid.T) {
	p := drawPath(t, "path")
	text := s.text()
	st, err := s.c.NewStage(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Abort()
	if _, err := st.ReadFrom(context.Background(), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	for _, h := range s.handles { // what a handle writes after its file was replaced is another test's
		if s.m.isFile(p) && h.file == s.m[p] {
			return
		}
	}
	_, _, err = s.c.Link(st, p, collfs.LinkOptions{})
	if s.check("Link "+p, err, s.m.parentOK(p) && !s.m.isDir(p)) {
		if s.m.isFile(p) {
			s.content[s.m[p]] = text
		} else {
			s.newFile(p, text)
		}
	}
}

func (s *machine) Hardlink(t *rapid.T) {
	src, dst := drawPath(t, "src"), drawPath(t, "dst")
	info, err := s.c.Hardlink(src, dst, nil)
	if s.check(fmt.Sprintf("Hardlink %s %s", src, dst), err, s.m.isFile(src) && s.m.parentOK(dst) && !s.m.exists(dst)) {
		s.m[dst] = s.m[src]
		if want := len(s.names(s.m[src])); int(info.Links) != want || info.Name != dst[strings.LastIndexByte(dst, '/')+1:] {
			t.Fatalf("Hardlink %s %s = %+v; want %d links", src, dst, info, want)
		}
	}
}

func (s *machine) SetAttr(t *rapid.T) {
	p := drawPath(t, "path")
	a := collfs.Attr{Mode: uint32(rapid.IntRange(0, 0o7777).Draw(t, "mode")), Mtime: int64(rapid.IntRange(0, 3).Draw(t, "mtime"))}
	_, err := s.c.SetAttr(p, func(collfs.NodeInfo) (collfs.Attr, error) { return a, nil })
	s.check("SetAttr "+p, err, s.m.exists(p))
}

func (s *machine) Mkdir(t *rapid.T) {
	p := drawPath(t, "path")
	_, err := s.c.Mkdir(p, collfs.Attr{}, nil)
	if s.check("Mkdir "+p, err, s.m.parentOK(p) && !s.m.exists(p)) {
		s.m[p+"/"] = 0
	}
}

func (s *machine) Remove(t *rapid.T) {
	p := drawPath(t, "path")
	err := s.c.Remove(p, nil)
	if s.check("Remove "+p, err, s.m.exists(p) && len(s.m.below(p)) == 1) {
		s.m.removeAll(p)
	}
}

func (s *machine) RemoveAll(t *rapid.T) {
	p := drawPath(t, "path")
	if s.check("RemoveAll "+p, s.c.RemoveAll(p, nil), s.m.exists(p)) {
		s.m.removeAll(p)
	}
}

func (s *machine) transfer(t *rapid.T, rename bool) {
	src, dst := drawPath(t, "src"), drawPath(t, "dst")
	o := collfs.CopyOptions{Replace: rapid.SampledFrom([]collfs.Replace{collfs.ReplaceNothing, collfs.ReplacePOSIX, collfs.ReplaceAny}).Draw(t, "replace")}
	inside := src == dst || strings.HasPrefix(dst, src+"/") || strings.HasPrefix(src, dst+"/")
	free := o.Replace == collfs.ReplaceAny || !s.m.exists(dst)
	if o.Replace == collfs.ReplacePOSIX {
		free = free || s.m.isDir(src) == s.m.isDir(dst) && len(s.m.below(dst)) == 1
		if s.m.exists(src) && (src == dst || s.m.isFile(src) && s.m.isFile(dst) && s.m[src] == s.m[dst]) {
			if _, err := s.c.Rename(src, dst, o); err != nil {
				t.Fatalf("Rename %s to another name of the same file, %s: %v", src, dst, err)
			}
			return
		}
	}
	want := s.m.exists(src) && s.m.parentOK(dst) && !inside && free
	var err error
	if rename {
		_, err = s.c.Rename(src, dst, o)
	} else {
		_, err = s.c.Copy(src, dst, o)
	}
	if !s.check(fmt.Sprintf("transfer %s %s", src, dst), err, want) {
		return
	}
	was := maps.Clone(s.m)
	s.m.removeAll(dst)
	copies := make(map[int]int)
	for _, k := range was.below(src) {
		to := dst + k[len(src):]
		switch file := was[k]; {
		case rename || file == 0:
			s.m[to] = file
		case copies[file] != 0:
			s.m[to] = copies[file]
		default:
			s.newFile(to, s.content[file])
			copies[file] = s.n
		}
	}
	if rename {
		s.m.removeAll(src)
	}
}

func (s *machine) Rename(t *rapid.T) { s.transfer(t, true) }
func (s *machine) Copy(t *rapid.T)   { s.transfer(t, false) }

func (s *machine) OpenHandle(t *rapid.T) {
	p := drawPath(t, "path")
	flags := os.O_RDWR | rapid.SampledFrom([]int{0, os.O_CREATE, os.O_CREATE | os.O_EXCL, os.O_TRUNC, os.O_APPEND}).Draw(t, "flags")
	want := s.m.isFile(p) && flags&os.O_EXCL == 0 || !s.m.exists(p) && s.m.parentOK(p) && flags&os.O_CREATE != 0
	h, _, err := s.c.OpenFile(p, collfs.OpenOptions{Flags: flags})
	if !s.check("OpenFile "+p, err, want) {
		return
	}
	if !s.m.exists(p) {
		s.newFile(p, "")
	}
	if flags&os.O_TRUNC != 0 {
		s.content[s.m[p]] = ""
	}
	s.handles = append(s.handles, &modelHandle{h: h, file: s.m[p]})
}

func (s *machine) pick(t *rapid.T) *modelHandle {
	if len(s.handles) == 0 {
		t.Skip("no handles")
	}
	return s.handles[rapid.IntRange(0, len(s.handles)-1).Draw(t, "handle")]
}

func (s *machine) Write(t *rapid.T) {
	h := s.pick(t)
	text := s.text()
	off := rapid.IntRange(0, 60).Draw(t, "offset")
	old := s.content[h.file]
	at, err := int64(off), error(nil)
	if rapid.Bool().Draw(t, "append") {
		at, err = h.h.Append(context.Background(), []byte(text))
		if int(at) != len(old) {
			t.Fatalf("Append() = %d; want %d", at, len(old))
		}
	} else {
		// O_APPEND is chosen at open: find out by the size.
		_, err = h.h.WriteAt(context.Background(), []byte(text), int64(off))
		if size := h.h.Info().Size; size == int64(len(old)+len(text)) && off != len(old) && off < len(old) {
			at = int64(len(old))
		} else if size == int64(len(old)+len(text)) {
			at = int64(len(old))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	b := []byte(old)
	if need := int(at) + len(text); need > len(b) {
		b = append(b, make([]byte, need-len(b))...)
	}
	copy(b[at:], text)
	s.content[h.file] = string(b)
}

func (s *machine) Truncate(t *rapid.T) {
	h := s.pick(t)
	size := rapid.IntRange(0, 60).Draw(t, "size")
	if err := h.h.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	b := []byte(s.content[h.file])
	b = append(b, make([]byte, max(0, size-len(b)))...)[:size]
	s.content[h.file] = string(b)
}

func (s *machine) CloseHandle(t *rapid.T) {
	h := s.pick(t)
	if err := h.h.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.handles = slices.DeleteFunc(s.handles, func(x *modelHandle) bool { return x == h })
}

func (s *machine) Commit(t *rapid.T) {
	if err := s.c.Commit(context.Background(), rapid.Bool().Draw(t, "durable")); err != nil {
		t.Fatalf("Commit() = %v", err)
	}
}

// FailedCommit commits with a fault: it must succeed or leave everything as it is.
func (s *machine) FailedCommit(t *rapid.T) {
	where := rapid.IntRange(0, 2).Draw(t, "where")
	fault := int32(faultNone)
	if where == 2 {
		fault = int32(rapid.IntRange(faultNone+1, faultLast-1).Draw(t, "fault"))
	}
	commit := func() error {
		s.spool.failSync.Store(where == 0)
		s.spool.failFreeze.Store(where == 1)
		s.faults.next.Store(fault)
		defer func() {
			s.spool.failSync.Store(false)
			s.spool.failFreeze.Store(false)
			s.faults.next.Store(faultNone)
		}()
		return s.c.Commit(context.Background(), true)
	}
	dirty := s.c.Dirty()
	err := commit()
	if err != nil && !errors.Is(err, errInjected) && !errors.Is(err, collfs.ErrUnknownOutcome) {
		t.Fatalf("Commit() = %v", err)
	}
	// What was dirty may have been a file without a name, which nobody commits. What
	// failed then is to make durable what was committed before, and is tried again.
	if err != nil && dirty && !s.c.Dirty() && commit() == nil {
		t.Fatal("a commit failed, nothing is dirty, and nothing was tried again")
	}
}

func (s *machine) Reload(*rapid.T) {
	s.closeFS()
	s.openFS()
}

func (s *machine) Manifest(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "often") > 0 {
		t.Skip("stores blocks")
	}
	text, err := s.c.Manifest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := collfs.ParseManifest(text, s.spool)
	if err != nil {
		t.Fatalf("ParseManifest(%q) = %v", text, err)
	}
	again, err := tree.AppendManifest(nil, nil)
	if err != nil || string(again) != string(text) {
		t.Fatalf("Print(Parse(x)) = %q, %v; want %q", again, err, text)
	}
	got := make(map[string]bool)
	_ = tree.Walk(func(path string, i collfs.NodeInfo, _ collfs.Content) error {
		if path != "" {
			got[path+map[bool]string{true: "/"}[i.Dir]] = true
		}
		return nil
	})
	for k := range s.m {
		if !got[k] {
			t.Fatalf("manifest lacks %q", k)
		}
	}
	if len(got) != len(s.m) {
		t.Fatalf("manifest has %d names; want %d", len(got), len(s.m))
	}
}

func (s *machine) Check(t *rapid.T) {
	got := readAll(t, s.c)
	if want := s.contents(); !reflect.DeepEqual(got, want) {
		t.Fatalf("files = %q\nwant    %q", got, want)
	}
	if err := s.c.CheckSums(); err != nil {
		t.Fatal(err)
	}
	bytes := int64(0)
	for p, i := range stats(t, s.c) {
		want := 1
		if !i.Dir {
			want = len(s.names(s.m[p]))
		}
		if int(i.Links) != want {
			t.Fatalf("%q has %d links; want %d", p, i.Links, want)
		}
		bytes += i.Size
	}
	if rec, err := s.c.Record(context.Background()); err != nil || rec.Bytes != bytes {
		t.Fatalf("the collection has %d bytes, %v; want %d", rec.Bytes, err, bytes)
	}
	for _, h := range s.handles {
		want := s.content[h.file]
		buf := make([]byte, 200)
		n, err := h.h.ReadAt(context.Background(), buf, 0)
		if string(buf[:n]) != want || err != io.EOF {
			t.Fatalf("handle of %q reads %q, %v; want %q", s.names(h.file), buf[:n], err, want)
		}
		p, ok := h.h.Path()
		if names := s.names(h.file); ok != (len(names) > 0) || ok && !slices.Contains(names, p) || int(h.h.Info().Links) != len(names) {
			t.Fatalf("handle's path = %q, %v, with %d links; want one of %q", p, ok, h.h.Info().Links, names)
		}
	}
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// readAll returns all files and their content.
func readAll(t fataler, c *collfs.Collection) map[string]string {
	out := make(map[string]string)
	var walk func(dir string)
	walk = func(dir string) {
		l, err := c.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		infos := make([]collfs.NodeInfo, 3)
		var names []string
		for n := l.Next(infos); n > 0; n = l.Next(infos) {
			for _, i := range infos[:n] {
				names = append(names, i.Name)
				path := strings.TrimPrefix(dir+"/"+i.Name, "/")
				if i.Dir {
					out[path+"/"] = ""
					walk(path)
					continue
				}
				r, err := c.OpenRead(path)
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, r.Info().Size+1)
				n, err := r.ReadAt(context.Background(), buf, 0)
				if err != io.EOF || int64(n) != r.Info().Size {
					t.Fatalf("read %q = %d, %v; want %d, EOF", path, n, err, r.Info().Size)
				}
				out[path] = string(buf[:n])
				_ = r.Close()
			}
		}
		if !sort.StringsAreSorted(names) {
			t.Fatalf("listing of %q is not in order: %q", dir, names)
		}
	}
	walk("")
	return out
}

func TestCollectionIsLikeAMap(t *testing.T) {
	e := newEnv(t)
	spool := &faultySpool{Spool: e.spool}
	f := new(faults)
	e.catalog.Fault = f.outcome
	rapid.Check(t, func(rt *rapid.T) {
		s := &machine{T: rt, catalog: e.catalog, now: e.clock, spool: spool, faults: f, m: make(model), id: memcatalog.NewUUID("4zz18")}
		_, err := e.catalog.Commit(context.Background(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: s.id, Owner: e.home, Name: string(s.id)}}})
		if err != nil {
			rt.Fatal(err)
		}
		s.openFS()
		defer func() {
			s.c.Release()
			_ = s.fs.Close(context.Background())
		}()
		rt.Repeat(rapid.StateMachineActions(s))
		s.closeFS()
		s.openFS()
		s.Check(rt)
	})
}

// TestMergeLosesNothing has two file systems change one collection, each
// without seeing what the other does until a commit or refresh. In the end both
// see the same, and every content is somewhere that nobody who saw it replaced
// or deleted.
func TestMergeLosesNothing(t *testing.T) {
	t.Run("following change sets", func(t *testing.T) {
		testMergeLosesNothing(t, func(c *memcatalog.Catalog) collfs.Catalog { return quietCatalog{c} })
	})
	t.Run("loading", func(t *testing.T) {
		testMergeLosesNothing(t, func(c *memcatalog.Catalog) collfs.Catalog { return onlyLoads{quietCatalog{c}} })
	})
}

func testMergeLosesNothing(t *testing.T, catalog func(*memcatalog.Catalog) collfs.Catalog) {
	ctx := context.Background()
	e := newEnv(t)
	// Events would refresh when they like; without them runs repeat.
	quiet := catalog(e.catalog)
	f := new(faults)
	e.catalog.Fault = f.outcome
	rapid.Check(t, func(rt *rapid.T) {
		id := memcatalog.NewUUID("4zz18")
		_, err := e.catalog.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: e.home, Name: string(id)}}})
		if err != nil {
			rt.Fatal(err)
		}
		var cs [2]*collfs.Collection
		for i := range cs {
			f := collfs.NewFS(collfs.Config{Catalog: quiet, Spool: e.spool, Now: e.clock, HashSeed: 42})
			defer f.Close(ctx)
			if cs[i], err = f.Open(ctx, id); err != nil {
				rt.Fatal(err)
			}
			defer cs[i].Release()
		}
		alive := make(map[string]bool)
		texts := 0
		gone := func(c *collfs.Collection, path string) {
			for p, content := range readAll(rt, c) {
				if p == path || strings.HasPrefix(p, path+"/") {
					delete(alive, content)
				}
			}
		}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			c := cs[rapid.IntRange(0, 1).Draw(rt, "who")]
			p, q := drawPath(rt, "p"), drawPath(rt, "q")
			switch rapid.SampledFrom([]string{"put", "put", "put", "write", "mkdir", "mkdir", "remove", "rename", "rename", "copy", "link", "link", "exchange", "commit", "refresh"}).Draw(rt, "what") {
			case "put":
				texts++
				text := fmt.Sprint("text ", texts)
				again := texts > 1 && rapid.IntRange(0, 2).Draw(rt, "again") == 0
				if again { // what is in two places may go from one of them
					text = fmt.Sprint("text ", rapid.IntRange(max(1, texts-3), texts-1).Draw(rt, "text"))
					delete(alive, text)
				}
				if i, err := c.Stat(p); err == nil && !i.Dir {
					gone(c, p)
				}
				s, err := c.NewStage(-1)
				if err != nil {
					rt.Fatal(err)
				}
				_, _ = s.Write(ctx, []byte(text))
				if _, _, err := c.Link(s, p, collfs.LinkOptions{}); err == nil && !again {
					alive[text] = true
				}
				s.Abort()
			case "write":
				h, _, err := c.OpenFile(p, collfs.OpenOptions{Flags: os.O_RDWR})
				if err != nil {
					continue
				}
				gone(c, p)
				texts++
				text := fmt.Sprint("text ", texts)
				_ = h.Truncate(0)
				_, _ = h.WriteAt(ctx, []byte(text), 0)
				alive[text] = true
				if err := h.Close(ctx); err != nil {
					rt.Fatal(err)
				}
			case "link":
				_, _ = c.Hardlink(p, q, nil)
			case "exchange":
				_ = c.Exchange(p, q)
			case "mkdir":
				_, _ = c.Mkdir(p, collfs.Attr{}, nil)
			case "remove":
				gone(c, p)
				_ = c.RemoveAll(p, nil)
			case "rename", "copy":
				before := readAll(rt, c)
				do := c.Rename
				if rapid.Bool().Draw(rt, "copy") {
					do = c.Copy
				}
				if _, err := do(p, q, collfs.CopyOptions{Replace: collfs.ReplaceAny}); err == nil {
					for k, content := range before {
						if k == q || strings.HasPrefix(k, q+"/") {
							delete(alive, content)
						}
					}
				}
			case "commit":
				f.next.Store(rapid.Int32Range(faultNone, faultLast-1).Draw(rt, "fault"))
				// A barrier without changes has nothing to find out its outcome by.
				if err := c.Commit(ctx, true); err != nil && !errors.Is(err, errInjected) && !errors.Is(err, collfs.ErrUnknownOutcome) {
					rt.Fatalf("Commit() = %v", err)
				}
				f.next.Store(faultNone)
			case "refresh":
				if err := c.Refresh(ctx); err != nil {
					rt.Fatalf("Refresh() = %v", err)
				}
			}
		}
		for _, i := range []int{0, 1, 0} {
			if err := cs[i].Commit(ctx, true); err != nil {
				rt.Fatalf("Commit() = %v", err)
			}
			if err := cs[i].Refresh(ctx); err != nil {
				rt.Fatalf("Refresh() = %v", err)
			}
		}
		one, two := readAll(rt, cs[0]), readAll(rt, cs[1])
		if !reflect.DeepEqual(one, two) {
			rt.Fatalf("one sees %q\nthe other %q", one, two)
		}
		for _, content := range one {
			delete(alive, content)
		}
		if len(alive) > 0 {
			rt.Fatalf("lost %v; there is %q", alive, one)
		}
	})
}

// quietCatalog has no events.
type quietCatalog struct{ *memcatalog.Catalog }

func (quietCatalog) Watch(func(collfs.Event)) (stop func()) { return func() {} }

// onlyLoads is a catalog that does not tell change sets.
type onlyLoads struct{ collfs.Catalog }
