package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/apiserver"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/apiserver/apitest"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// A node is a process that works on the cluster.
type node struct {
	*collfs.FS
	catalog *apiserver.Catalog
	spool   *keepio.Spool
	notices chan collfs.Notice
}

// keep is the Keep of a cluster.
type keep struct {
	store memstore.Store
	id    atomic.Uint64
}

func (e *env) node(k *keep, change ...func(*apiserver.Config)) *node {
	e.t.Helper()
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: e.t.TempDir() + "/open", Store: &k.store, NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(k.id.Add(1)), nil },
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = spool.Close(context.Background()) })
	n := &node{spool: spool, notices: make(chan collfs.Notice, 10_000)}
	n.catalog = e.catalog("", append([]func(*apiserver.Config){func(c *apiserver.Config) {
		c.Blocks, c.StoreBlocks, c.Zero = spool, spool.Store, spool.Zero
	}}, change...)...)
	n.FS = collfs.NewFS(collfs.Config{Catalog: n.catalog, Spool: spool, HashSeed: 7, Cluster: "zzzzz"})
	n.Subscribe(func(x collfs.Notice) { n.notices <- x })
	e.t.Cleanup(func() { _ = n.Close(context.Background()) })
	return n
}

// create makes a collection on the server, not through a catalog.
func (e *env) create(name string) string {
	e.t.Helper()
	var got api.Collection
	err := e.client(e.token).Send(e.t.Context(), http.MethodPost, "collections", api.Params{
		"collection": map[string]any{"name": name, "owner_uuid": e.user, "manifest_text": ""},
	}, &got)
	if err != nil {
		e.t.Fatal(err)
	}
	return got.UUID
}

func (e *env) open(n *node, id string) *collfs.Collection {
	e.t.Helper()
	c, err := n.Open(e.t.Context(), collfs.UUID(id))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(c.Release)
	return c
}

func stage(c *collfs.Collection, content string) (*collfs.Stage, error) {
	s, err := c.NewStage(int64(len(content)))
	if err != nil {
		return nil, err
	}
	_, err = s.Write(context.Background(), []byte(content))
	return s, err
}

func put(t testing.TB, c *collfs.Collection, path, content string) {
	t.Helper()
	s, err := stage(c, content)
	if err == nil {
		_, _, err = c.Link(s, path, collfs.LinkOptions{})
	}
	if err == nil {
		err = c.Commit(context.Background(), true)
	}
	if err != nil {
		t.Fatalf("put %s: %v", path, err)
	}
}

func read(c *collfs.Collection, path string) (string, error) {
	r, err := c.OpenRead(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	p := make([]byte, r.Info().Size)
	k, err := r.ReadAt(context.Background(), p, 0)
	if err == io.EOF {
		err = nil
	}
	return string(p[:k]), err
}

// eventually waits for what events of the server bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not after a long time", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// foreign is a client that replaces all of a collection by what it read before, with
// its own change.
type foreign struct {
	e    *env
	api  *api.Client
	uuid string
	text string // as it was read
}

func (e *env) foreign(uuid string) *foreign {
	return &foreign{e: e, api: e.client(e.token), uuid: uuid}
}

func (f *foreign) load() {
	f.e.t.Helper()
	var got api.Collection
	if err := f.api.Get(f.e.t.Context(), "collections/"+f.uuid, nil, &got); err != nil {
		f.e.t.Fatal(err)
	}
	f.text = got.ManifestText
}

// save replaces all by what was loaded, changed.
func (f *foreign) save(change func(root *apitest.Node)) {
	f.e.t.Helper()
	root, err := apitest.ParseTree(f.text)
	if err != nil {
		f.e.t.Fatal(err)
	}
	change(root)
	text := root.Print()
	signed := ""
	_ = manifest.Scan(text, func(s *manifest.Stream) error {
		for i, l := range s.Locators {
			s.Locators[i] = f.e.server.Sign(f.e.token, l.Hash(), uint32(l.Size()))
		}
		signed += string(s.AppendTo(nil))
		return nil
	})
	err = f.api.Send(context.Background(), http.MethodPatch, "collections/"+f.uuid, api.Params{"collection": map[string]any{"manifest_text": signed}}, nil)
	if err != nil {
		f.e.t.Fatal(err)
	}
}

// block is a file of a foreign client.
func block(n byte) *apitest.Node {
	return &apitest.Node{Segments: []manifest.Segment{{Locator: keepio.MakeLocator([16]byte{n, 0xf0}, 10), Length: 10}}}
}

func names(c *collfs.Collection) (out []string) {
	t, _ := c.Manifest(context.Background())
	root, _ := apitest.ParseTree(string(t))
	var walk func(n *apitest.Node, at string)
	walk = func(n *apitest.Node, at string) {
		if n.Kids == nil {
			out = append(out, at)
		}
		for name, k := range n.Kids {
			walk(k, strings.TrimPrefix(at+"/"+name, "/"))
		}
	}
	walk(root, "")
	slices.Sort(out)
	return out
}

func TestFilesOfOneProcessAreSeenByTheOther(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	id := e.create("c")
	one, two := e.node(k), e.node(k)
	a, b := e.open(one, id), e.open(two, id)
	put(t, a, "f", "hello")
	eventually(t, "the file of the other process", func() bool { text, err := read(b, "f"); return err == nil && text == "hello" })
	put(t, b, "f", "changed")
	eventually(t, "the change of the other process", func() bool { text, _ := read(a, "f"); return text == "changed" })
	if n := one.Conflicts() + two.Conflicts(); n != 0 {
		t.Errorf("%d conflicts of edits one after the other; want none", n)
	}
}

func TestOneCommitIsOneUpdate(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	id := e.create("c")
	n := e.node(k)
	c := e.open(n, id)
	eventually(t, "the event bus", func() bool { return e.server.Buses() == 1 })
	put(t, c, "f", "1")
	before, gets := e.server.Requests("PATCH collections"), e.server.Requests("GET collections")
	put(t, c, "g", "2")
	if got := e.server.Requests("PATCH collections") - before; got != 1 {
		t.Errorf("a commit made %d updates; want 1", got)
	}
	if got := e.server.Requests("GET collections") - gets; got > 1 {
		t.Errorf("a commit asked %d times; want at most once", got)
	}
}

func TestChangesOfOthersBeforeACommitAreMerged(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "ours", "1")
	f := e.foreign(id)
	f.load()
	f.save(func(root *apitest.Node) { root.Kids["theirs"] = block(1) })
	put(t, c, "ours", "2")
	if got := names(c); !slices.Equal(got, []string{"ours", "theirs"}) {
		t.Errorf("files = %v; want ours and theirs, and no conflict", got)
	}
}

// between calls change once, after the next look at a collection and before the
// update that follows.
func (e *env) between(change func()) {
	var done atomic.Bool
	e.server.SetHook(func(r *http.Request, _ []byte) apitest.Fault {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/collections/") && done.CompareAndSwap(false, true) {
			change()
		}
		return apitest.Fault{}
	})
}

func TestWhatComesBetweenLookAndUpdateIsKept(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "1")
	put(t, c, "g", "1")
	f := e.foreign(id)
	f.load()
	e.between(func() {
		f.save(func(root *apitest.Node) { root.Kids["f"], root.Kids["new"] = block(1), block(2) })
	})
	put(t, c, "f", "2")
	eventually(t, "what came between", func() bool { return slices.Contains(names(c), "new") })
	got := names(c)
	if len(got) != 4 || got[0] != "f" || !strings.HasPrefix(got[1], "f~") || !strings.HasSuffix(got[1], "~conflict~") || got[2] != "g" || got[3] != "new" {
		t.Errorf("files = %v; want f, theirs of it as a conflict, g and new", got)
	}
}

func TestWhatOursReplacedUnseenIsKept(t *testing.T) {
	for _, c := range []struct {
		marked bool // by an update of ours
		lost   bool // the reply of the update
		again  bool // and somebody changes something else before we look what has become of it
	}{{}, {marked: true}, {marked: true, lost: true}, {marked: true, lost: true, again: true}} {
		e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
		id := e.create("c")
		opened := e.open(e.node(k), id)
		if c.marked {
			put(t, opened, "g", "1")
		}
		f := e.foreign(id)
		f.load()
		var done, over atomic.Bool
		e.server.SetHook(func(r *http.Request, _ []byte) apitest.Fault {
			if c.again && over.CompareAndSwap(true, false) {
				f.load()
				f.save(func(root *apitest.Node) { root.Kids["h"] = block(2) })
			}
			if r.Method != http.MethodPatch || !strings.Contains(r.URL.Path, "/collections/") || !done.CompareAndSwap(false, true) {
				return apitest.Fault{}
			}
			f.save(func(root *apitest.Node) { root.Kids["f"] = block(1) })
			over.Store(true)
			return apitest.Fault{Lose: c.lost}
		})
		put(t, opened, "f", "ours")
		eventually(t, fmt.Sprintf("theirs as a conflict, %+v", c), func() bool {
			return slices.ContainsFunc(names(opened), func(s string) bool { return strings.HasPrefix(s, "f~") })
		})
	}
}

func TestWhatIsOverwrittenUnseenComesBackAsAConflict(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	n := e.node(k)
	c := e.open(n, id)
	put(t, c, "old", "1")
	f := e.foreign(id)
	f.load()
	put(t, c, "ours", "precious")
	f.save(func(root *apitest.Node) { root.Kids["theirs"] = block(1) })
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := names(c)
	if len(got) != 3 || got[0] != "old" || !strings.HasPrefix(got[1], "ours~") || got[2] != "theirs" {
		t.Fatalf("files = %v; want old, ours as a conflict, theirs", got)
	}
	if text, err := read(c, got[1]); text != "precious" {
		t.Errorf("what came back has %q, %v", text, err)
	}
	// A user deletes it: it stays deleted, whoever looks.
	if err := errors.Join(c.Remove(got[1], nil), c.Commit(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	other := e.open(e.node(k), id)
	put(t, other, "more", "x")
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(c); !slices.Equal(got, []string{"more", "old", "theirs"}) {
		t.Errorf("files = %v after the conflict was deleted", got)
	}
}

func TestWhatSomebodyDeletesIsNotBroughtBack(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "a", "1")
	put(t, c, "b", "2")
	f := e.foreign(id)
	f.load()
	f.save(func(root *apitest.Node) { delete(root.Kids, "b") })
	e.server.Advance(time.Minute) // so that the server keeps this state, too
	f.load()
	f.save(func(root *apitest.Node) { root.Kids["theirs"] = block(1) })
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(c); !slices.Equal(got, []string{"a", "theirs"}) {
		t.Errorf("files = %v; want a and theirs", got)
	}
}

func TestLostRepliesAreNotDoneTwice(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "1")
	lose := true
	e.server.SetHook(func(r *http.Request, _ []byte) apitest.Fault {
		if r.Method == http.MethodPatch && lose {
			lose = false
			return apitest.Fault{Lose: true}
		}
		return apitest.Fault{}
	})
	before := len(e.server.Manifests(id))
	put(t, c, "g", "2")
	if got := len(e.server.Manifests(id)) - before; got != 1 {
		t.Errorf("%d versions were made; want 1", got)
	}
	if got := names(c); !slices.Equal(got, []string{"f", "g"}) {
		t.Errorf("files = %v", got)
	}
}

func TestRequestsThatNeverArriveAreTriedAgain(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	var n atomic.Int32
	e.server.SetHook(func(r *http.Request, _ []byte) apitest.Fault {
		if r.Method == http.MethodPatch && n.Add(1) == 1 {
			return apitest.Fault{Drop: true}
		}
		return apitest.Fault{}
	})
	s, err := stage(c, "x")
	if err == nil {
		_, _, err = c.Link(s, "f", collfs.LinkOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), true); err != nil {
		t.Errorf("commit whose request got lost = %v", err)
	}
	if text := e.server.Manifest(id); !strings.Contains(text, ":f") {
		t.Errorf("the server has %q; want f in it", text)
	}
}

func TestLargeUpdatesAreSplit(t *testing.T) {
	e, k := newEnv(t, apitest.Options{MaxRequestSize: 20_000}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	for i := range 500 {
		s, err := stage(c, fmt.Sprint("content ", i))
		if err == nil {
			_, _, err = c.Link(s, fmt.Sprintf("a rather long name of a file %03d", i), collfs.LinkOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Commit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if root, err := apitest.ParseTree(e.server.Manifest(id)); err != nil || len(root.Kids) != 500 {
		t.Errorf("the server has %d files, %v; want 500", len(root.Kids), err)
	}
	if e.server.Requests("PATCH collections") < 2 {
		t.Error("it was not split")
	}
}

func TestWithoutVersionsWritingHasToBeAskedFor(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoVersioning: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	s, err := stage(c, "x")
	if err == nil {
		_, _, err = c.Link(s, "f", collfs.LinkOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), true); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("commit = %v; want ErrReadOnly", err)
	}
	put(t, e.open(e.node(k, func(c *apiserver.Config) { c.AcceptLostUpdates = true }), id), "g", "x")
}

// Several processes and a client that overwrites work on one collection at random.
// In the end every acknowledged content is in the collection or in a version of it,
// and all processes see the same.
func TestRandomEditsOfSeveralProcessesLoseNothing(t *testing.T) {
	for _, withForeign := range []bool{false, true} {
		t.Run(fmt.Sprint("Foreign", withForeign), func(t *testing.T) {
			e, k := newEnv(t, apitest.Options{}), new(keep)
			id := e.create("c")
			nodes := []*node{e.node(k), e.node(k)}
			var mu sync.Mutex
			deleted := make(map[string]bool) // contents that somebody replaced or deleted, knowing them
			var put []string
			var wg sync.WaitGroup
			for i, n := range nodes {
				c := e.open(n, id)
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(1, uint64(i)))
					for step := range 25 {
						edit(t, rnd, n, c, fmt.Sprintf("%d-%d", i, step), &mu, deleted, &put)
					}
				})
			}
			if withForeign {
				wg.Go(func() {
					f := e.foreign(id)
					for i := range 8 {
						f.load()
						f.save(func(root *apitest.Node) { root.Kids[fmt.Sprint("foreign", i%3)] = block(byte(i + 1)) })
					}
				})
			}
			wg.Wait()
			settle(t, nodes, id)
			all := strings.Join(e.server.Manifests(id), "\n")
			for _, content := range put {
				if !inAny(k, nodes[0], all, content) {
					t.Errorf("%q was acknowledged and is in no version", content)
				}
			}
			if withForeign {
				return
			}
			present := contents(t, nodes[0], id)
			for _, content := range put {
				if !deleted[content] && !present[content] {
					t.Errorf("%q was acknowledged and not deleted, and is not in the collection", content)
				}
			}
		})
	}
}

var errOther = errors.New("is not what was read")

// edit makes one change and commits it.
func edit(t *testing.T, rnd *rand.Rand, n *node, c *collfs.Collection, tag string, mu *sync.Mutex, deleted map[string]bool, acked *[]string) {
	path := fmt.Sprintf("d%d/f%d", rnd.IntN(2), rnd.IntN(4))
	if rnd.IntN(4) == 0 {
		path = fmt.Sprint("g", rnd.IntN(3))
	}
	// What is replaced or deleted must be what was read just before.
	seen := func(path string) (text string, check collfs.Check) {
		r, err := c.OpenRead(path)
		id := collfs.ContentID{}
		if err == nil {
			defer func() { _ = r.Close() }()
			p := make([]byte, r.Info().Size)
			_, _ = r.ReadAt(context.Background(), p, 0)
			text, id = string(p), r.Info().ID
		}
		return text, func(target collfs.NodeInfo, _ bool) error {
			if target.ID != id {
				return errOther
			}
			mu.Lock()
			defer mu.Unlock()
			deleted[text] = true
			return nil
		}
	}
	content := ""
	var err error
	switch rnd.IntN(5) {
	case 0:
		_, check := seen(path)
		err = c.Remove(path, check)
	case 1:
		to := fmt.Sprint("g", rnd.IntN(3))
		_, check := seen(to)
		_, err = c.Rename(path, to, collfs.CopyOptions{Replace: collfs.ReplacePOSIX, Check: check})
	default:
		if strings.HasPrefix(path, "d") {
			if _, err := c.Mkdir(path[:2], collfs.Attr{}, nil); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		}
		content = "content " + tag
		var s *collfs.Stage
		if s, err = stage(c, content); err == nil {
			_, check := seen(path)
			_, _, err = c.Link(s, path, collfs.LinkOptions{Check: check})
		}
	}
	if err != nil && !errors.Is(err, errOther) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, collfs.ErrIsDir) {
		t.Errorf("edit of %s: %v", path, err)
	}
	if err := c.Commit(context.Background(), true); err != nil {
		t.Errorf("commit of %s: %v", path, err)
		return
	}
	if content != "" && err == nil {
		mu.Lock()
		defer mu.Unlock()
		*acked = append(*acked, content)
	}
}

// settle waits until all nodes see the same.
func settle(t *testing.T, nodes []*node, id string) {
	t.Helper()
	eventually(t, "all see the same", func() bool {
		var first []string
		for i, n := range nodes {
			c, err := n.Open(t.Context(), collfs.UUID(id))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Refresh(t.Context())
			got := names(c)
			c.Release()
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = got
			} else if !slices.Equal(first, got) {
				return false
			}
		}
		return true
	})
}

func contents(t *testing.T, n *node, id string) map[string]bool {
	c, err := n.Open(t.Context(), collfs.UUID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	all := make(map[string]bool)
	for _, name := range names(c) {
		if text, err := read(c, name); err == nil {
			all[text] = true
		}
	}
	return all
}

// inAny reports whether some manifest has the content.
func inAny(k *keep, n *node, manifests, content string) bool {
	found := false
	for text := range strings.Lines(manifests) {
		_ = manifest.Scan(text, func(s *manifest.Stream) error {
			for _, f := range s.Files {
				spans, err := s.Resolve(nil, f.Pos, f.Size)
				if err != nil || f.Size != int64(len(content)) || len(spans) != 1 {
					continue
				}
				l := s.Locators[spans[0].Block]
				buf := make([]byte, f.Size)
				_, _ = n.spool.ReadBlock(context.Background(), n.spool.ByHash(l.Hash(), uint32(l.Size())), buf, spans[0].Offset)
				found = found || string(buf) == content
			}
			return nil
		})
	}
	return found
}

func TestAttributesFollowTheirFilesAndContents(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "1")
	put(t, c, "gone", "2")
	put(t, c, "other", "3")
	set := func(path, value string) {
		_, err := c.SetAttr(path, func(i collfs.NodeInfo) (collfs.Attr, error) {
			i.Attr.Mode, i.Attr.Mtime, i.Attr.Extra = 0o640, 12345, map[string]string{"xattr:k": value}
			return i.Attr, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"f", "gone", "other"} {
		set(path, path)
	}
	_, err := c.Rename("f", "moved", collfs.CopyOptions{})
	_, err2 := c.Copy("moved", "copy", collfs.CopyOptions{})
	if err := errors.Join(err, err2, c.Remove("gone", nil), c.Commit(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	pdh := e.server.Manifest(id)
	f := e.foreign(id)
	f.load()
	f.save(func(root *apitest.Node) { root.Kids["other"], root.Kids["gone"] = block(1), block(2) })
	fresh := e.open(e.node(k), id) // a process that knows nothing
	for path, want := range map[string]string{"moved": "f", "copy": "f", "other": "", "gone": ""} {
		i, err := fresh.Stat(path)
		if err != nil || i.Attr.Extra["xattr:k"] != want || (i.Attr.Mode == 0o640) != (want != "") || (i.Attr.Mtime == 12345) != (want != "") {
			t.Errorf("%s has %+v, %v; want the attributes of %q", path, i.Attr, err, want)
		}
	}
	if !strings.Contains(pdh, ":moved") {
		t.Errorf("manifest %q", pdh)
	}
}

func TestAttributesAloneDoNotChangeTheManifest(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "1")
	before := e.server.Manifest(id)
	_, err := c.SetAttr("f", func(i collfs.NodeInfo) (collfs.Attr, error) { i.Attr.Mode = 0o600; return i.Attr, nil })
	if err := errors.Join(err, c.Commit(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	if after := e.server.Manifest(id); after != before {
		t.Errorf("the manifest has changed: %q, %q", before, after)
	}
	i, err := e.open(e.node(k), id).Stat("f")
	if err != nil || i.Attr.Mode != 0o600 {
		t.Errorf("another process sees mode %o, %v", i.Attr.Mode, err)
	}
}

func TestIdsOfContentsStayOverALoad(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "1")
	before, err := c.Stat("f")
	if err != nil {
		t.Fatal(err)
	}
	f := e.foreign(id)
	f.load()
	f.save(func(root *apitest.Node) { root.Kids["new"], root.Kids["g"] = block(1), root.Kids["f"] })
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"f", "g"} {
		if after, err := c.Stat(path); err != nil || after.ID != before.ID {
			t.Errorf("id of %s = %x, %v; want %x", path, after.ID, err, before.ID)
		}
	}
}

func TestAMarkThatIsNotConfirmedIsSetAgain(t *testing.T) {
	e, k := newEnv(t, apitest.Options{DropsMarks: true, NoWebsocket: true}), new(keep)
	id := e.create("c")
	c := e.open(e.node(k), id)
	put(t, c, "f", "precious")
	f := e.foreign(id)
	f.load()
	f.save(func(root *apitest.Node) { root.Kids["f"] = block(1) })
	ours := slices.ContainsFunc(e.server.Manifests(id), func(text string) bool { return strings.Contains(text, "0:8:f") })
	if !ours {
		t.Errorf("what was acknowledged is in no version: %q", e.server.Manifests(id))
	}
}

func TestDataMovesBetweenCollections(t *testing.T) {
	e, k := newEnv(t, apitest.Options{}), new(keep)
	one, two := e.create("one"), e.create("two")
	n := e.node(k)
	a, b := e.open(n, one), e.open(n, two)
	if _, err := a.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, a, "d/f", "1")
	put(t, a, "g", "2")
	ctx := t.Context()
	if _, err := n.Transfer(ctx, a, "g", b, "g", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatalf("Transfer: %v", err)
	}
	rec, err := n.Extract(ctx, a, "d", e.user, "three", collfs.TransferOptions{Move: true})
	if err != nil || rec.Name != "three" {
		t.Fatalf("Extract = %+v, %v", rec, err)
	}
	if got, want := names(a), []string(nil); !slices.Equal(got, want) {
		t.Errorf("one has %v; want %v", got, want)
	}
	entries, err := n.catalog.List(ctx, e.user)
	if err != nil || len(entries) != 3 || entries[1].Name != "three" || entries[1].Collection.UUID != rec.UUID {
		t.Errorf("List = %+v, %v", entries, err)
	}
	c := e.open(n, string(rec.UUID))
	if text, err := read(c, "f"); err != nil || text != "1" {
		t.Errorf("the new collection has %q, %v", text, err)
	}
	put(t, c, "h", "3")
	if _, err := n.Absorb(ctx, c, b, "three", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatalf("Absorb: %v", err)
	}
	if got, want := names(b), []string{"g", "three/f", "three/h"}; !slices.Equal(got, want) {
		t.Errorf("two has %v; want %v", got, want)
	}
	if entries, err := n.catalog.List(ctx, e.user); err != nil || len(entries) != 2 {
		t.Errorf("List after Absorb = %+v, %v", entries, err)
	}
}
