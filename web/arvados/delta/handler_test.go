package delta

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

func TestAllOfATreeTravels(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	here := e.open(e.fs)
	put(t, here, "f", "content")
	attr := collfs.Attr{Mode: 0o4755, Mtime: 123456789, Posix: &collfs.Posix{HasOwner: true, UID: 7, GID: 8, Atime: 9}, Extra: map[string]string{"xattr:user.k": "v\x00\xff"}}
	if _, err := here.SetAttr("f", func(collfs.NodeInfo) (collfs.Attr, error) { return attr, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Mkdir("d", collfs.Attr{Mode: 0o700, Mtime: 5}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Hardlink("f", "d/link", nil); err != nil {
		t.Fatal(err)
	}
	_, there, _ := e.mount(1000)
	for _, when := range []string{"tree", "changes"} {
		if got, want := files(t, there), files(t, here); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: files = %v; want %v", when, got, want)
		}
		for path := range files(t, here) {
			path = strings.TrimSuffix(path, "/")
			got, err := there.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if want, _ := here.Stat(path); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is %+v; want %+v", when, path, got, want)
			}
		}
		if when == "changes" {
			break
		}
		if _, err := here.Rename("d/link", "moved", collfs.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		put(t, here, "f", "other content")
		commit(t, here)
		if err := there.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACommitBringsSmallFilesAlong(t *testing.T) {
	e := newEnv(t)
	_, there, _ := e.mount(1000)
	for _, name := range []string{"a", "b", "c"} {
		put(t, there, name, "content of "+name)
		commit(t, there)
	}
	if n := e.touched.Load(); n != 0 {
		t.Errorf("%d blocks were stored for three small files", n)
	}
	here := e.open(e.fs)
	if got, want := files(t, here), map[string]string{"a": "content of a", "b": "content of b", "c": "content of c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("files = %v; want %v", got, want)
	}
	blocks := make(map[[16]byte]bool)
	if _, _, err := here.Checkpoint(t.Context(), func(hash [16]byte, _ uint32) { blocks[hash] = true }); err != nil || len(blocks) != 1 {
		t.Errorf("there are %d blocks, %v; want one", len(blocks), err)
	}
	put(t, there, "large", strings.Repeat("much", 1<<20))
	commit(t, there)
	if n := e.touched.Load(); n != 1 {
		t.Errorf("%d blocks were stored for a large file", n)
	}
	if got := get(t, here, "large"); len(got) != 4<<20 {
		t.Errorf("large has %d bytes", len(got))
	}
}

func TestALostReplyIsOneCommit(t *testing.T) {
	e := newEnv(t)
	_, there, _ := e.mount(1000)
	put(t, there, "a", "a")
	e.lose.Store(2)
	commit(t, there)
	rec, err := there.Record(t.Context())
	if err != nil || rec.Revision != 1 {
		t.Fatalf("revision %d, %v; want 1", rec.Revision, err)
	}
	put(t, there, "b", "b")
	commit(t, there)
	if got := files(t, e.open(e.fs)); len(got) != 2 {
		t.Errorf("files = %v", got)
	}
	// Somebody else may come between, and the server may have started anew.
	k := wire.Commit{Collection: e.id, Base: 2, Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}}, ID: collfs.ContentID{1}}
	client := e.client(writer, nil).client
	if rec, err := client.Commit(t.Context(), k); err != nil || rec.Revision != 3 {
		t.Fatalf("Commit() = revision %d, %v", rec.Revision, err)
	}
	put(t, there, "c", "c")
	commit(t, there)
	e.handler = New(Config{FS: e.newFS(e.catalog, e.local), Access: e, Signer: e, Touch: e.touch})
	if rec, err := client.Commit(t.Context(), k); err != nil || rec.Revision != 3 {
		t.Errorf("Commit() again = revision %d, %v; want 3", rec.Revision, err)
	}
	k.ID[0]++
	if _, err := client.Commit(t.Context(), k); !errors.Is(err, collfs.ErrStale) {
		t.Errorf("Commit() of another on that base = %v; want ErrStale", err)
	}
}

func TestAStaleCommitIsToldTheRevision(t *testing.T) {
	e := newEnv(t)
	here := e.open(e.fs)
	for _, name := range []string{"a", "b"} {
		put(t, here, name, name)
		commit(t, here)
	}
	status, body := e.post(t, writer, wire.Header{Base: 1, ID: anID}, nil, nil, collfs.Op{Kind: collfs.OpMkdir, Path: "d"})
	if status != http.StatusConflict || !strings.Contains(body, `"revision":2`) {
		t.Errorf("answer is %d %s; want 409 with revision 2", status, body)
	}
}

const anID = "0123456789abcdef0123456789abcdef"

// post sends a commit.
func (e *env) post(t testing.TB, token string, head wire.Header, locs []keepio.Locator, data []byte, ops ...collfs.Op) (status int, body string) {
	t.Helper()
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	w.Header(head)
	if len(locs) > 0 {
		w.Section(wire.LocatorSection, wire.AppendLocators(nil, locs))
	}
	if data != nil {
		w.Section(wire.DataSection, data)
	}
	w.Section(wire.ChangeSection, collfs.AppendOps(nil, ops))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return e.do(t, http.MethodPost, token, "commit", &buf)
}

func (e *env) do(t testing.TB, method, token, what string, body io.Reader) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.srv.URL+"/keepdav/v1/collections/"+string(e.id)+"/"+what, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := e.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

func TestWhoMayWhat(t *testing.T) {
	e := newEnv(t)
	mkdir := collfs.Op{Kind: collfs.OpMkdir, Path: "d"}
	for _, c := range []struct {
		token              string
		tree, post, change int
	}{
		{"", 401, 401, 401},
		{"unknown", 401, 401, 401},
		{nobody, 404, 404, 404},
		{reader, 200, 403, 200},
		{writer, 200, 200, 200},
	} {
		if status, _ := e.do(t, http.MethodGet, c.token, "tree", nil); status != c.tree {
			t.Errorf("%s: tree is %d; want %d", c.token, status, c.tree)
		}
		if status, _ := e.do(t, http.MethodGet, c.token, "changes?since=0", nil); status != c.change {
			t.Errorf("%s: changes are %d; want %d", c.token, status, c.change)
		}
		if status, _ := e.post(t, c.token, wire.Header{ID: anID}, nil, nil, mkdir); status != c.post {
			t.Errorf("%s: commit is %d; want %d", c.token, status, c.post)
		}
	}
	if status, _ := e.do(t, http.MethodGet, writer, "changes?since=99", nil); status != http.StatusGone {
		t.Errorf("changes since a revision that never was: %d; want 410", status)
	}
	if status, _ := e.do(t, http.MethodGet, writer, "changes?since=x", nil); status != http.StatusBadRequest {
		t.Errorf("changes since no revision: %d; want 400", status)
	}
	if _, err := e.catalog.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: e.id}}}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"tree", "changes?since=0"} {
		if status, _ := e.do(t, http.MethodGet, writer, what, nil); status != http.StatusNotFound {
			t.Errorf("%s of what is in the trash: %d; want 404", what, status)
		}
	}
	if status, body := e.post(t, writer, wire.Header{Base: 1, ID: anID[1:] + "0"}, nil, nil, collfs.Op{Kind: collfs.OpMkdir, Path: "e"}); status != http.StatusNotFound {
		t.Errorf("commit to what is in the trash: %d %s; want 404", status, body)
	}
}

func TestCommitsAreChecked(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	hash, err := e.store.WriteBlock(ctx, []byte("a block of the store"))
	if err != nil {
		t.Fatal(err)
	}
	loc := keepio.MakeLocator(hash, 20)
	stored := keepio.NewStoredBlock(hash, 20)
	absent := keepio.NewStoredBlock([16]byte{1}, 20)
	putOp := func(b *keepio.Block, n uint32) collfs.Op {
		return collfs.Op{Kind: collfs.OpPut, Path: "f", Content: collfs.Content{ID: collfs.ContentID{1}, Size: int64(n), Segments: []keepio.Segment{{Block: b, Len: n}}}}
	}
	good := wire.Header{ID: anID}
	data := []byte("it comes along")
	along := keepio.NewStoredBlock(md5.Sum(data), uint32(len(data)))
	for name, c := range map[string]struct {
		head wire.Header
		locs []keepio.Locator
		data []byte
		ops  []collfs.Op
		want int
	}{
		"no signature":                      {good, []keepio.Locator{loc}, nil, []collfs.Op{putOp(stored, 20)}, 403},
		"signature of another token":        {good, []keepio.Locator{e.Sign(loc, reader)}, nil, []collfs.Op{putOp(stored, 20)}, 403},
		"no locator":                        {good, nil, nil, []collfs.Op{putOp(stored, 20)}, 403},
		"block is not there":                {good, []keepio.Locator{e.Sign(keepio.MakeLocator([16]byte{1}, 20), writer)}, nil, []collfs.Op{putOp(absent, 20)}, 422},
		"another size":                      {good, []keepio.Locator{e.Sign(keepio.MakeLocator(hash, 19), writer)}, nil, []collfs.Op{putOp(keepio.NewStoredBlock(hash, 19), 19)}, 422},
		"past the end of the block":         {good, []keepio.Locator{e.Sign(loc, writer)}, nil, []collfs.Op{putOp(stored, 21)}, 400},
		"other data":                        {good, nil, []byte("something else"), []collfs.Op{putOp(along, 3)}, 403},
		"no id of the commit":               {wire.Header{}, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}}, 400},
		"negative base":                     {wire.Header{Base: -1, ID: anID}, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}}, 400},
		"no operations":                     {good, nil, nil, nil, 400},
		"operation that is not for clients": {good, nil, nil, []collfs.Op{{Kind: collfs.OpCommit, Content: collfs.Content{ID: collfs.ContentID{1}}}}, 422},
		"name":                              {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: ".."}}, 422},
		"long name":                         {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: strings.Repeat("n", 256)}}, 422},
		"missing directory":                 {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "x/y"}}, 422},
		"second does not apply":             {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}, {Kind: collfs.OpMkdir, Path: "d"}}, 422},
		"kind of file":                      {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d", Attr: collfs.Attr{Posix: &collfs.Posix{Type: 1}}}}, 422},
		"attributes":                        {good, nil, nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d", Attr: collfs.Attr{Extra: map[string]string{"k": strings.Repeat("v", collfs.MaxExtra+1)}}}}, 422},
		"file without an id":                {good, nil, nil, []collfs.Op{{Kind: collfs.OpPut, Path: "f"}}, 422},
		"directory with content":            {good, nil, data, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d", Content: collfs.Content{Segments: []keepio.Segment{{Block: along, Len: 2}}}}}, 422},
	} {
		status, body := e.post(t, writer, c.head, c.locs, c.data, c.ops...)
		if status != c.want {
			t.Errorf("%s: %d %s; want %d", name, status, body, c.want)
		}
		if strings.Contains(body, "+A") {
			t.Errorf("%s: a signature is told: %s", name, body)
		}
	}
	if rec, _ := e.catalog.Record(ctx, e.id); rec.Revision != 0 {
		t.Fatalf("something was committed: revision %d", rec.Revision)
	}
	ops := []collfs.Op{putOp(stored, 20), {Kind: collfs.OpPut, Path: "g", Content: collfs.Content{ID: collfs.ContentID{2}, Size: 9, Segments: []keepio.Segment{{Block: along, Off: 3, Len: 5}, {Len: 4}}}}}
	status, body := e.post(t, writer, good, []keepio.Locator{e.Sign(loc, writer)}, data, ops...)
	if status != 200 {
		t.Fatalf("good commit: %d %s", status, body)
	}
	if got, want := files(t, e.open(e.fs)), map[string]string{"f": "a block of the store", "g": "comes\x00\x00\x00\x00"}; !reflect.DeepEqual(got, want) {
		t.Errorf("files = %q; want %q", got, want)
	}
}

func TestMalformedAndLargeCommitsAreRefused(t *testing.T) {
	e := newEnv(t)
	e.handler.conf.MaxMessage = 1000
	for body, want := range map[string]int{"": 400, "KDdelta1": 400, "nonsense": 400, "KDdelta1\x00": 400, "KDdelta1\x01\x02{]\x00": 400, strings.Repeat("x", 1001): 413} {
		if status, text := e.do(t, http.MethodPost, writer, "commit", strings.NewReader(body)); status != want {
			t.Errorf("%.20q: %d %s; want %d", body, status, text, want)
		}
	}
	long := io.MultiReader(strings.NewReader("KDdelta1\x01\x02{}\x04"), bytes.NewReader([]byte{0xd0, 0x0f}), strings.NewReader(strings.Repeat("x", 2000))) // of no announced length
	if status, text := e.do(t, http.MethodPost, writer, "commit", long); status != 413 {
		t.Errorf("long: %d %s; want 413", status, text)
	}
}

func TestKeepKeepsAVersion(t *testing.T) {
	e := newEnv(t)
	here := e.open(e.fs)
	put(t, here, "f", "before")
	commit(t, here)
	if status, body := e.post(t, writer, wire.Header{Base: 1, ID: anID, Keep: true}, nil, nil, collfs.Op{Kind: collfs.OpDelete, Path: "f"}); status != 200 {
		t.Fatal(status, body)
	}
	old, err := e.fs.OpenVersion(t.Context(), e.id, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	if got := get(t, old, "f"); got != "before" {
		t.Errorf("version 1 has %q", got)
	}
}

func TestErrorsOfTheServerForClients(t *testing.T) {
	e := newEnv(t)
	client := e.client(writer, nil, func(c *wire.Config) { c.RetryFor = 1 }).client
	k := wire.Commit{Collection: e.id, Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}}}
	for _, c := range []struct {
		fault memcatalog.Outcome
		want  []error
	}{
		{memcatalog.Outcome{Err: keepio.ErrFull}, []error{keepio.ErrFull}},
		{memcatalog.Outcome{Err: keepio.ErrUnavailable}, []error{keepio.ErrUnavailable, collfs.ErrUnknownOutcome}},
	} {
		e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome { return c.fault }
		_, err := client.Commit(t.Context(), k)
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%v: Commit() = %v; want %v", c.fault.Err, err, want)
			}
		}
	}
	e.catalog.Fault = nil
	k.Ops = append(k.Ops, collfs.Op{Kind: collfs.OpDelete, Path: "x"})
	_, err := client.Commit(t.Context(), k)
	if pe, ok := errors.AsType[*fs.PathError](err); !ok || pe.Path != "x" || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Commit() of what does not apply = %v", err)
	}
	for token, want := range map[string]error{reader: fs.ErrPermission, nobody: fs.ErrNotExist, "unknown": fs.ErrPermission} {
		if _, err := e.client(token, nil).client.Commit(t.Context(), k); !errors.Is(err, want) {
			t.Errorf("Commit() with another token = %v; want %v", err, want)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("error tells the token: %v", err)
		}
	}
	e.srv.Close()
	if _, err := client.Commit(t.Context(), k); !errors.Is(err, keepio.ErrUnavailable) || errors.Is(err, collfs.ErrUnknownOutcome) {
		t.Errorf("Commit() without a server = %v; want ErrUnavailable, and that it did not happen", err)
	}
}
