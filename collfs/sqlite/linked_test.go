package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

func newProject(t testing.TB, s *Store, owner collfs.UUID, name string) collfs.UUID {
	t.Helper()
	id := s.NewProjectUUID()
	_, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateProject, UUID: id, Owner: owner, Name: name, Desc: "of " + name}}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestProjectsAreFoundByQueries(t *testing.T) {
	s := openStore(t, Config{})
	ann, bob := newUser(t, s, "ann", false), newUser(t, s, "bob", false)
	a := newProject(t, s, ann, "a")
	b := newProject(t, s, a, "b")
	c := newProject(t, s, b, "c")
	bobs := newProject(t, s, bob, "x")
	if err := s.Grant(t.Context(), bob, b, collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	// A whole home can be shared, too.
	cid := newUser(t, s, "cid", false)
	if err := s.Grant(t.Context(), cid, ann, collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	eq := func(attr, v string) []query.Filter {
		return []query.Filter{{Attr: attr, Type: query.Text, Op: query.Equal, Operand: v}}
	}
	for _, k := range []struct {
		name    string
		filters []query.Filter
		scope   query.Scope
		want    []collfs.UUID
	}{
		{"All", nil, query.Scope{}, []collfs.UUID{a, b, c, bobs}},
		{"Ann's", nil, query.Scope{Readers: []collfs.UUID{ann}}, []collfs.UUID{a, b, c}},
		{"Bob's", nil, query.Scope{Readers: []collfs.UUID{bob}}, []collfs.UUID{b, c, bobs}},
		{"In a", nil, query.Scope{In: a}, []collfs.UUID{b}},
		{"Below a", nil, query.Scope{Below: a}, []collfs.UUID{b, c}},
		{"Below Ann's home for Bob", nil, query.Scope{Below: ann, Readers: []collfs.UUID{bob}}, []collfs.UUID{b, c}},
		{"Shared with Bob", nil, query.Scope{SharedWith: bob, Readers: []collfs.UUID{bob}}, []collfs.UUID{b}},
		{"Shared with Cid", nil, query.Scope{SharedWith: cid, Readers: []collfs.UUID{cid}}, []collfs.UUID{a}},
		{"Shared with Ann", nil, query.Scope{SharedWith: ann, Readers: []collfs.UUID{ann}}, nil},
		{"Of others, for an administrator", nil, query.Scope{SharedWith: bob}, []collfs.UUID{a}},
		{"By name", eq("name", "c"), query.Scope{}, []collfs.UUID{c}},
		{"By description", eq("description", "of c"), query.Scope{}, []collfs.UUID{c}},
		{"By class", eq("group_class", "filter"), query.Scope{}, nil},
	} {
		rows, n, err := s.QueryProjects(t.Context(), query.Query{Filters: k.filters, Limit: 100, Count: true, Order: []query.Order{{Attr: "name"}}}, k.scope)
		if err != nil {
			t.Fatal(k.name, err)
		}
		var got []collfs.UUID
		for _, p := range rows {
			got = append(got, p.UUID)
		}
		if !slices.Equal(got, k.want) || n != len(k.want) {
			t.Errorf("%s: %v (%d); want %v", k.name, got, n, k.want)
		}
	}
	if p, err := s.FindProject(t.Context(), c); err != nil || p.Owner != b || p.Description != "of c" {
		t.Errorf("FindProject = %+v, %v", p, err)
	}
	if _, err := s.FindProject(t.Context(), ann); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a home is found as a project: %v", err)
	}
}

func TestLinksAreSharesAndTags(t *testing.T) {
	s := openStore(t, Config{})
	ann, bob := newUser(t, s, "ann", false), newUser(t, s, "bob", false)
	p := newProject(t, s, ann, "p")
	share := query.Link{Class: query.PermissionLink, Name: "can_read", Head: p, Tail: bob}
	first, err := s.PutLink(t.Context(), share)
	if err != nil || first.Owner != ann || first.Name != "can_read" {
		t.Fatal(first, err)
	}
	share.Name = "can_manage"
	second, err := s.PutLink(t.Context(), share)
	if err != nil || second.UUID != first.UUID || second.Name != "can_manage" {
		t.Fatal(second, err)
	}
	if level, err := s.Access(t.Context(), bob, p); level != collfs.CanManage || err != nil {
		t.Error(level, err)
	}
	tag, err := s.PutLink(t.Context(), query.Link{Class: query.TagLink, Name: "red", Head: p, Owner: ann})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Links(t.Context(), []query.Filter{{Attr: "head_uuid", Op: query.Equal, Operand: string(p)}})
	if err != nil || len(all) != 2 {
		t.Errorf("Links = %v, %v; want two", all, err)
	}
	if err := s.DeleteLink(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if level, _ := s.Access(t.Context(), bob, p); level != collfs.NoAccess {
		t.Error("the share is there without its link")
	}
	for _, op := range []collfs.RecordOpKind{collfs.Trash, collfs.DeleteNow} {
		if _, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: op, UUID: p}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.FindLink(t.Context(), tag.UUID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tag of what is gone: %v", err)
	}
	if _, err := s.PutLink(t.Context(), query.Link{Class: query.TagLink, Name: "red", Head: p, Owner: ann}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tag for what is gone: %v", err)
	}
}

func TestSharesOfOldStoresHaveLinks(t *testing.T) {
	s := openStore(t, Config{})
	ann, bob := newUser(t, s, "ann", false), newUser(t, s, "bob", false)
	if err := s.Grant(t.Context(), bob, ann, collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), func(w *writer) error { _, err := w.exec(`UPDATE share SET uuid = ''`); return err }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Config{Dir: s.Dir()})
	if l, err := s.FindLink(t.Context(), s.shareUUID(bob, ann)); err != nil || l.Tail != bob {
		t.Error(l, err)
	}
}

func TestNotesAndEventsAreOneLog(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Hour})
	ann := newUser(t, s, "ann", false)
	id := newCollection(t, s, ann, "c")
	commit(t, s, id, mkdir("a")...)
	note, err := s.AddNote(t.Context(), query.Note{Type: "file_download", User: ann, Object: id, Owner: ann, Properties: []byte(`{"path":"x"}`)})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, id, mkdir("b")...)
	check := func(s *Store) {
		t.Helper()
		rows, n, err := s.QueryLog(t.Context(), query.Query{Limit: 10, Count: true, Order: []query.Order{{Attr: "id"}}})
		if err != nil || n != len(rows) {
			t.Fatal(rows, n, err)
		}
		var kinds []string
		last := int64(0)
		for _, l := range rows {
			if l.Seq <= last {
				t.Errorf("entry %d follows %d", l.Seq, last)
			}
			last = l.Seq
			if l.Note != nil {
				kinds = append(kinds, l.Note.Type)
			} else {
				kinds = append(kinds, fmt.Sprint(l.Kind))
			}
		}
		if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "1 ") || !strings.Contains(got, "file_download") {
			t.Errorf("the log has %s", got)
		}
	}
	check(s)
	only, _, err := s.QueryLog(t.Context(), query.Query{Limit: 10, Filters: []query.Filter{{Attr: "event_type", Type: query.Text, Op: query.Equal, Operand: "file_download"}}})
	if err != nil || len(only) != 1 || only[0].Seq != note.Seq || string(only[0].Note.Properties) != `{"path":"x"}` {
		t.Errorf("by type: %+v, %v", only, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Config{Dir: s.Dir()})
	if next, err := s.AddNote(t.Context(), query.Note{Type: "x", User: ann}); err != nil || next.Seq <= note.Seq {
		t.Errorf("after a start: %d, %v", next.Seq, err)
	}
	newCollection(t, s, ann, "d")
	check(s)
}

func TestTheLogIsReadByItsNumbers(t *testing.T) {
	s := openStore(t, Config{})
	var plan []string
	from, args, err := s.selectionOf(logRows, logColumns, []query.Filter{{Attr: "id", Op: query.Greater, Operand: 5.0}}, query.Scope{Trash: true})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.writer.conn.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+from(`id`)+` ORDER BY id LIMIT 10`, args...)
	err = eachRow(func(row scanner) error {
		var a, b, c int
		var text string
		err := row.Scan(&a, &b, &c, &text)
		plan = append(plan, text)
		return err
	})(rows, err)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "; "); strings.Contains(text, "SCAN") || strings.Contains(text, "TEMP B-TREE") {
		t.Errorf("the log is read by %s", text)
	}
}

// Pages of large projects and names in them are found by indexes, whoever else lies in the
// same project.
func TestLargeProjectsAreReadByIndexes(t *testing.T) {
	s := openStore(t, Config{})
	plan := func(rows string, columns map[string]string, filters []query.Filter, order string) string {
		t.Helper()
		from, args, err := s.selectionOf(rows+notInTrash, columns, filters, query.Scope{In: "zzzzz-j7d0g-000000000000000"})
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		rs, err := s.writer.conn.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+from(`uuid`)+order, args...)
		err = eachRow(func(row scanner) error {
			var a, b, c int
			var text string
			err := row.Scan(&a, &b, &c, &text)
			steps = append(steps, text)
			return err
		})(rs, err)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(steps, "; ")
	}
	cursor := []query.Filter{{Attr: "uuid", Type: query.Text, Op: query.Greater, Operand: "x"}}
	named := []query.Filter{{Attr: "name", Type: query.Text, Op: query.Equal, Operand: "x"}}
	for _, c := range []struct {
		rows    string
		columns map[string]string
		filters []query.Filter
		want    string
	}{
		{presentRows, columnOf, cursor, "record_owner (owner=? AND uuid>?)"},
		{projectRows, projectColumns, cursor, "record_projects (owner=? AND uuid>?)"},
		{presentRows, columnOf, named, "record_name (owner=? AND name=?)"},
		{projectRows, projectColumns, named, "record_name (owner=? AND name=?)"},
	} {
		got := plan(c.rows, c.columns, c.filters, ` ORDER BY uuid LIMIT 10`)
		if !strings.Contains(got, c.want) || strings.Contains(got, "SCAN") || strings.Contains(got, "TEMP") && c.filters[0].Attr == "uuid" {
			t.Errorf("plan is %s; want %s", got, c.want)
		}
	}
}
