package apiserver_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/apiserver"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/apiserver/apitest"
)

func (e *env) make(c *apiserver.Catalog, name string) collfs.UUID {
	e.t.Helper()
	id := newUUID("4zz18")
	_, err := c.Commit(e.t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: e.user, Name: name}}})
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}

func (e *env) change(c *apiserver.Catalog, id collfs.UUID, base int64, ops ...collfs.Op) (collfs.Record, error) {
	recs, err := c.Commit(e.t.Context(), collfs.Tx{Durable: true, Changes: []collfs.Change{{Collection: id, Base: base, Ops: ops}}})
	if err != nil {
		return collfs.Record{}, err
	}
	return recs[0], nil
}

func (e *env) load(c *apiserver.Catalog, id collfs.UUID, version int) (collfs.Record, *collfs.Tree) {
	e.t.Helper()
	rec, saved, err := c.Load(e.t.Context(), id, version)
	if err != nil {
		e.t.Fatal(err)
	}
	tree, err := collfs.Load(saved, e.blocks)
	if err != nil {
		e.t.Fatal(err)
	}
	return rec, tree
}

// file is an operation that makes a file of n bytes.
func (e *env) file(path string, n byte) collfs.Op {
	return collfs.Op{Kind: collfs.OpPut, Path: path, Content: collfs.Content{
		ID: collfs.ContentID{n}, Size: int64(n), Segments: segments(e.blocks, n),
	}}
}

func TestNamesThatAreNotUTF8AreRefused(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "c")
	if _, err := e.change(c, id, 0, e.file("\xff", 1)); !errors.Is(err, collfs.ErrNameInvalid) {
		t.Errorf("commit = %v; want ErrNameInvalid", err)
	}
}

func TestCommittedChangesAreLoaded(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "c")
	mkdir := collfs.Op{Kind: collfs.OpMkdir, Path: "d"}
	rec, err := e.change(c, id, 0, e.file("a", 1), mkdir, e.file("d/ü \n:\\", 2))
	if err != nil || rec.Revision != 1 || rec.Files != 2 || rec.Bytes != 3 || rec.UUID != id {
		t.Fatalf("record = %+v, %v", rec, err)
	}
	if _, err := e.change(c, id, 1, collfs.Op{Kind: collfs.OpDelete, Path: "a"}, collfs.Op{Kind: collfs.OpRename, Src: "d", Path: "e"}); err != nil {
		t.Fatal(err)
	}
	_, tree := e.load(c, id, 0)
	if i, err := tree.Stat("e/ü \n:\\"); err != nil || i.ID != (collfs.ContentID{2}) || tree.Files() != 1 {
		t.Errorf("the file is %+v, %v", i, err)
	}
	_, other := e.load(e.catalog(""), collfs.UUID(e.real(id)), 0)
	if i, err := other.Stat("e/ü \n:\\"); err != nil || i.Size != 2 {
		t.Errorf("another process sees %+v, %v", i, err)
	}
}

// real returns what the server calls the only collection there is.
func (e *env) real(collfs.UUID) string {
	e.t.Helper()
	var page struct {
		Items []api.Collection `json:"items"`
	}
	if err := e.client(e.token).Get(e.t.Context(), "collections", nil, &page); err != nil || len(page.Items) == 0 {
		e.t.Fatal(err)
	}
	return page.Items[0].UUID
}

func TestOldVersionsStay(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "c")
	for i := range 3 {
		rec, err := e.change(c, id, int64(i), e.file("f", byte(i+1)))
		if err != nil || rec.Version != i+2 {
			t.Fatalf("version %d, %v after %d commits; want one for each, and one for the creation", rec.Version, err, i+1)
		}
	}
	for i := range 3 {
		rec, tree := e.load(c, id, i+2)
		if is, err := tree.Stat("f"); err != nil || is.Size != int64(i+1) || rec.Version != i+2 || rec.UUID != id {
			t.Errorf("version %d has %+v, %v, record %+v", i+2, is, err, rec)
		}
	}
	if _, _, err := c.Load(t.Context(), id, 9); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of a version that never was = %v", err)
	}
}

func TestDeleteNowNeedsTrash(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "c")
	op := func(kind collfs.RecordOpKind) error {
		_, err := c.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: kind, UUID: id}}})
		return err
	}
	if err := op(collfs.DeleteNow); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("delete of what is not in the trash = %v", err)
	}
	if err := errors.Join(op(collfs.Trash), op(collfs.DeleteNow)); err != nil {
		t.Error(err)
	}
	if e.server.Requests("DELETE collections") != 1 {
		t.Error("the server was not asked to delete it")
	}
}

func TestAccessFollowsProjects(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	bob, token := e.server.AddUser("bob", false)
	mine, theirs := e.catalog(""), e.catalog(token)
	p, id := newUUID("j7d0g"), newUUID("4zz18")
	_, err := mine.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{
		{Kind: collfs.CreateProject, UUID: p, Owner: e.user, Name: "p"}, {Kind: collfs.CreateCollection, UUID: id, Owner: p, Name: "c"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := mine.List(t.Context(), p)
	if err != nil || len(entries) != 1 || entries[0].Collection.UUID != id {
		t.Fatalf("List = %+v, %v", entries, err)
	}
	var real []api.Group
	for g, err := range api.Pages(t.Context(), e.client(e.token), "groups", nil, nil, func(g *api.Group) string { return g.UUID }) {
		if err != nil {
			t.Fatal(err)
		}
		real = append(real, *g)
	}
	project := collfs.UUID(real[0].UUID)
	check := func(c *apiserver.Catalog, id collfs.UUID, want collfs.Level) {
		t.Helper()
		if got, err := c.Access(t.Context(), "", id); err != nil || got != want {
			t.Errorf("access = %v, %v; want %v", got, err, want)
		}
	}
	check(mine, id, collfs.CanManage)
	check(mine, e.user, collfs.CanManage)
	check(theirs, e.user, collfs.NoAccess)
	if _, err := theirs.Access(t.Context(), bob, project); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("access to what may not be seen = %v; want ErrNotExist", err)
	}
	e.server.Grant(bob, project, collfs.CanRead)
	check(theirs, project, collfs.CanRead)
	shared, err := theirs.Shared(t.Context(), bob)
	if err != nil || len(shared) != 1 || shared[0].Name != "p" {
		t.Errorf("Shared = %+v, %v", shared, err)
	}
	e.server.Grant(bob, project, collfs.CanWrite)
	check(theirs, project, collfs.CanWrite)
	e.server.Freeze(project)
	check(theirs, project, collfs.CanRead)
	check(mine, id, collfs.CanRead)
	if _, err := e.change(mine, id, 0, e.file("f", 1)); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("commit to a frozen project = %v; want ErrReadOnly", err)
	}
}

func TestContentIsFoundByItsHash(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	_, token := e.server.AddUser("bob", false)
	c := e.catalog("")
	id := e.make(c, "c")
	rec, err := e.change(c, id, 0, e.file("f", 1))
	if err != nil {
		t.Fatal(err)
	}
	found, version, err := c.FindPDH(t.Context(), e.user, rec.PDH)
	if err != nil || found != collfs.UUID(rec.PDH) || version == 0 {
		t.Fatalf("FindPDH = %v, %v, %v", found, version, err)
	}
	if _, err := e.change(c, id, 1, e.file("f", 2)); err != nil {
		t.Fatal(err)
	}
	if _, tree := e.load(c, found, version); tree.Bytes() != 1 {
		t.Errorf("what was found has %d bytes by now", tree.Bytes())
	}
	if level, err := c.Access(t.Context(), e.user, found); err != nil || level != collfs.CanRead {
		t.Errorf("access = %v, %v", level, err)
	}
	if _, err := e.change(c, found, 1, e.file("f", 2)); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("change = %v; want ErrReadOnly", err)
	}
	_, _, hidden := e.catalog(token).FindPDH(t.Context(), "", rec.PDH)
	_, _, none := c.FindPDH(t.Context(), "", "00000000000000000000000000000000+1")
	if !errors.Is(hidden, fs.ErrNotExist) || !errors.Is(none, fs.ErrNotExist) {
		t.Errorf("FindPDH of what may not be read = %v, of nothing = %v", hidden, none)
	}
}

func TestChangesAreNotToldWithoutTheExtension(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "c")
	if _, _, kept, err := c.Since(t.Context(), id, 0); kept || err != nil {
		t.Errorf("Since = kept %v, %v; want not kept", kept, err)
	}
}

func TestSlashesInNamesAreShownAsTheClusterSays(t *testing.T) {
	e := newEnv(t, apitest.Options{SlashName: "⁄"})
	e.create("a/b")
	c := e.catalog("")
	entries, err := c.List(t.Context(), e.user)
	if err != nil || len(entries) != 1 || entries[0].Name != "a⁄b" {
		t.Fatalf("List = %+v, %v", entries, err)
	}
	if _, err := c.Lookup(t.Context(), e.user, "a⁄b"); err != nil {
		t.Error(err)
	}
	e.make(c, "x⁄y")
	if !slices.Contains(e.serverNames(), "x/y") {
		t.Errorf("the server has %v", e.serverNames())
	}
}

func (e *env) serverNames() (out []string) {
	for k, err := range api.Pages(e.t.Context(), e.client(e.token), "collections", nil, nil, func(k *api.Collection) string { return k.UUID }) {
		if err != nil {
			e.t.Fatal(err)
		}
		out = append(out, k.Name)
	}
	return out
}

func TestListsAreReadInPages(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	for i := range 25 {
		e.create(fmt.Sprint("c", i))
	}
	n, seen := 0, make(map[string]bool)
	for k, err := range api.Pages(t.Context(), e.client(e.token), "collections", api.Params{"limit": 10}, nil, func(k *api.Collection) string { return k.UUID }) {
		if err != nil {
			t.Fatal(err)
		}
		n, seen[k.Name] = n+1, true
	}
	if n != 25 || len(seen) != 25 {
		t.Errorf("%d items, %d of them different; want 25", n, len(seen))
	}
}

func TestAMoveThatFailsInTheMiddleIsACopy(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	src := e.make(c, "src")
	if _, err := e.change(c, src, 0, e.file("f", 1)); err != nil {
		t.Fatal(err)
	}
	dst := e.make(c, "dst")
	patches := 0
	e.server.SetHook(func(r *http.Request, _ []byte) apitest.Fault {
		if r.Method == http.MethodPatch {
			if patches++; patches == 2 {
				return apitest.Fault{Status: http.StatusForbidden}
			}
		}
		return apitest.Fault{}
	})
	_, err := c.Commit(t.Context(), collfs.Tx{Durable: true, Changes: []collfs.Change{
		{Collection: dst, Ops: []collfs.Op{e.file("f", 1)}}, {Collection: src, Base: 1, Ops: []collfs.Op{{Kind: collfs.OpDelete, Path: "f"}}},
	}})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("move = %v", err)
	}
	for _, id := range []collfs.UUID{src, dst} {
		if _, tree := e.load(c, id, 0); tree.Files() != 1 {
			t.Errorf("%s has %d files; want 1", id, tree.Files())
		}
	}
}

func TestWhatWasMadeIsUndoneIfALaterPartFails(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	c := e.catalog("")
	id := e.make(c, "old")
	_, err := c.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{
		{Kind: collfs.Trash, UUID: id}, {Kind: collfs.CreateCollection, UUID: newUUID("4zz18"), Owner: e.user, Name: "old"},
		{Kind: collfs.Move, UUID: newUUID("4zz18"), Owner: e.user, Name: "x"},
	}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commit = %v", err)
	}
	if rec, err := c.Record(t.Context(), id); err != nil || !rec.TrashAt.IsZero() || rec.Name != "old" {
		t.Errorf("record after the failure: %+v, %v", rec, err)
	}
	if entries, err := c.List(t.Context(), e.user); err != nil || len(entries) != 1 {
		t.Errorf("List = %+v, %v", entries, err)
	}
}

func TestEventsAreFollowedOverBreaks(t *testing.T) {
	for _, polled := range []bool{false, true} {
		t.Run(map[bool]string{false: "Bus", true: "Log"}[polled], func(t *testing.T) {
			e := newEnv(t, apitest.Options{NoWebsocket: polled})
			id := e.create("c")
			c := e.catalog("", func(conf *apiserver.Config) { conf.Poll = 10 * time.Millisecond })
			events := make(chan collfs.Event, 1000)
			defer c.Watch(func(ev collfs.Event) { events <- ev })()
			if _, _, err := c.Load(t.Context(), collfs.UUID(id), 0); err != nil {
				t.Fatal(err)
			}
			f := e.foreign(id)
			next := func(revision int64) {
				t.Helper()
				for end := time.After(20 * time.Second); ; {
					select {
					case ev := <-events:
						if string(ev.UUID) == id && ev.Kind == collfs.ContentChanged && ev.Revision >= revision {
							return
						}
					case <-end:
						t.Fatalf("no event of revision %d", revision)
					}
				}
			}
			f.load()
			f.save(func(root *apitest.Node) { root.Kids["a"] = block(1) })
			next(2)
			e.server.DropBuses()
			f.save(func(root *apitest.Node) { root.Kids["a"] = block(2) }) // perhaps nobody listens
			next(3)
			err := f.api.Send(t.Context(), http.MethodPatch, "collections/"+id, api.Params{"collection": map[string]any{"name": "d"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for end := time.After(20 * time.Second); ; {
				select {
				case ev := <-events:
					if ev.Kind == collfs.RecordChanged && ev.Name == "d" && ev.OldName == "c" {
						return
					}
				case <-end:
					t.Fatal("no event of the new name")
				}
			}
		})
	}
}

func TestErrorsSayNoToken(t *testing.T) {
	e := newEnv(t, apitest.Options{})
	secret := "v2/zzzzz-gj3su-000000000000000/averysecretsecretthatnobodyknows"
	_, err := e.catalog(secret).Record(t.Context(), newUUID("4zz18"))
	if !errors.Is(err, api.ErrToken) || !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "averysecret") || !strings.Contains(err.Error(), "token is not valid") {
		t.Errorf("error = %v", err)
	}
	e.server.SetHook(func(*http.Request, []byte) apitest.Fault { return apitest.Fault{Drop: true} })
	c := e.client(secret, func(c *api.Config) { c.Patience = time.Nanosecond })
	if err := c.Get(t.Context(), "users/current", api.Params{"api_token": secret}, nil); err == nil || strings.Contains(err.Error(), "averysecret") {
		t.Errorf("error = %v", err)
	}
}
