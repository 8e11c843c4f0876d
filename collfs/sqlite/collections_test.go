package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/collfs/query"
)

// getCollection is query.Get for collections, as the database has them.
func getCollection(now time.Time) query.Get[query.Collection] {
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return func(c query.Collection, attr string) any {
		switch attr {
		case "uuid":
			return string(c.UUID)
		case "current_version_uuid":
			return string(c.Current)
		case "owner_uuid":
			return string(c.Owner)
		case "name":
			return c.Name
		case "description":
			return text(c.Description)
		case "properties":
			return c.Properties
		case "version":
			return c.Version
		case "file_count":
			return c.Files
		case "file_size_total":
			return c.Bytes
		case "created_at":
			return c.CreatedAt
		case "modified_at":
			return c.ModifiedAt
		case "trash_at":
			return c.TrashAt
		case "delete_at":
			return c.DeleteAt
		case "is_trashed":
			return c.Trashed(now)
		case "modified_by_user_uuid":
			return text(string(c.ModifiedBy))
		case "preserve_version":
			return c.Preserve
		case "replication_desired":
			if c.Replication == 0 {
				return nil
			}
			return c.Replication
		case "storage_classes_desired":
			if c.Classes == nil {
				return []string{"default"}
			}
			return c.Classes
		}
		return nil
	}
}

// someCollections makes collections that differ in many ways.
func someCollections(t *testing.T, s *Store, owner collfs.UUID) {
	t.Helper()
	for i, props := range []string{"", `{}`, `{"k":"v","n":7}`, `{"k":"V*","n":-2.5,"yes":true}`, `{"list":["a","b"],"n":"7"}`, `{"k":null,"a.b":"dotted"}`} {
		op := collfs.RecordOp{Kind: collfs.CreateCollection, UUID: s.NewCollectionUUID(), Owner: owner, Name: fmt.Sprintf("c%d_100%%[x]*", i)}
		if props != "" {
			op.Properties = []byte(props)
		}
		if i%2 == 1 {
			op.Desc = fmt.Sprintf("Description %d", i)
		}
		commitTx(t, s, collfs.Tx{Records: []collfs.RecordOp{op}})
		replication, classes, preserve, who := i, []string{"default", "hot"}, i == 3, owner
		change := query.CollectionChange{Replication: &replication}
		if i > 2 {
			change = query.CollectionChange{Classes: &classes, Preserve: &preserve, ModifiedBy: &who}
		}
		if err := s.ChangeCollection(t.Context(), op.UUID, change); err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			commitTx(t, s, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: op.UUID}}})
		}
	}
}

func commitTx(t *testing.T, s *Store, tx collfs.Tx) []collfs.Record {
	t.Helper()
	recs, err := s.Commit(context.Background(), tx)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

// What the database finds is what the rules of package query say.
func TestTheDatabaseFiltersLikeMemory(t *testing.T) {
	s := openStore(t, Config{})
	u, err := s.CreateUser(t.Context(), "ann", "", "", false)
	if err != nil {
		t.Fatal(err)
	}
	someCollections(t, s, u.UUID)
	all, _, err := s.QueryCollections(t.Context(), query.Query{Limit: 100}, query.Scope{Trash: true})
	if err != nil || len(all) != 6 {
		t.Fatalf("QueryCollections = %d, %v; want 6", len(all), err)
	}
	middle := all[3]
	for _, f := range []string{
		`[]`,
		`[["uuid","=",` + quote(middle.UUID) + `]]`,
		`[["uuid","!=",` + quote(middle.UUID) + `]]`,
		`[["uuid",">",` + quote(middle.UUID) + `],["owner_uuid","=",` + quote(u.UUID) + `]]`,
		`[["uuid","in",[` + quote(middle.UUID) + `,"x"]]]`,
		`[["uuid","not in",[` + quote(middle.UUID) + `]]]`,
		`[["uuid","is_a","arvados#collection"]]`,
		`[["uuid","is_a",["arvados#group"]]]`,
		`[["current_version_uuid","=",` + quote(middle.UUID) + `]]`,
		`[["name","like","c1%"]]`, `[["name","like","C1%"]]`, `[["name","ilike","C1%"]]`, `[["name","like","c_\\_100\\%[x]*"]]`, `[["name","like","%*"]]`, `[["name","like","c?%"]]`,
		`[["name","=",null]]`, `[["description","=",null]]`, `[["description","!=",null]]`, `[["description","!=","Description 1"]]`,
		`[["description","not in",["Description 1"]]]`, `[["description","in",["Description 1",null]]]`, `[["description","not in",["Description 1",null]]]`,
		`[["description","like","%"]]`, `[["description",">","Description 2"]]`,
		`[["version","=",1]]`, `[["version",">",1]]`, `[["version","<",1.5]]`, `[["version","in",[1,2]]]`, `[["file_count","<=",0]]`,
		`[["is_trashed","=",true]]`, `[["is_trashed","!=",true]]`, `[["is_trashed","in",[false]]]`, `[["preserve_version","=",true]]`,
		`[["trash_at","=",null]]`, `[["trash_at","!=",null]]`, `[["trash_at",">","2001-01-01T00:00:00Z"]]`,
		`[["created_at","=",` + quote(middle.CreatedAt.UTC()) + `]]`, `[["created_at","<",` + quote(middle.CreatedAt.UTC()) + `]]`, `[["modified_at",">=",` + quote(middle.ModifiedAt.UTC()) + `]]`,
		`[["created_at","in",[` + quote(middle.CreatedAt.UTC()) + `]]]`,
		`[["modified_by_user_uuid","=",` + quote(u.UUID) + `]]`, `[["modified_by_user_uuid","=",null]]`, `[["replication_desired","=",2]]`, `[["replication_desired","=",null]]`,
		`[["storage_classes_desired","contains","hot"]]`, `[["storage_classes_desired","contains","default"]]`,
		`[["properties.k","=","v"]]`, `[["properties.k","!=","v"]]`, `[["properties.k","=",null]]`, `[["properties.k","!=",null]]`, `[["properties.k","like","_"]]`, `[["properties.k","like","V*"]]`,
		`[["properties.k","ilike","V%"]]`, `[["properties.n","=",7]]`, `[["properties.n","=","7"]]`, `[["properties.n","<",0]]`, `[["properties.n",">","5"]]`, `[["properties.n",">=",7]]`,
		`[["properties.n","in",[7,-2.5]]]`, `[["properties.n","not in",[7]]]`, `[["properties.k","exists",true]]`, `[["properties.k","exists",false]]`, `[["properties","exists","n"]]`,
		`[["properties.list","contains","b"]]`, `[["properties.list","contains","c"]]`, `[["properties.k","contains","v"]]`, `[["properties.yes","=",true]]`, `[["properties.a.b","=","dotted"]]`,
		`[["properties","contains",{"list":"a"}]]`,
	} {
		filters, err := query.ReadFilters([]byte(f), query.CollectionAttrs)
		if err != nil {
			t.Errorf("ReadFilters(%s): %v", f, err)
			continue
		}
		q := query.Query{Filters: filters, Limit: 100, Count: true, Order: []query.Order{{Attr: "uuid"}}}
		rows, n, err := s.QueryCollections(t.Context(), q, query.Scope{Trash: true})
		want, _ := query.Run(q, all, getCollection(s.now()))
		if err != nil || n != len(want) || !slices.Equal(namesOf(rows), namesOf(want)) {
			t.Errorf("%s finds %v (%d), %v; want %v", f, namesOf(rows), n, err, namesOf(want))
		}
	}
	for _, o := range []string{"name desc", "description, uuid", "description desc, uuid", "created_at desc", "replication_desired, name", "replication_desired desc, name", "is_trashed, uuid"} {
		order, err := query.ReadOrder(o, query.CollectionAttrs)
		if err != nil {
			t.Fatal(err)
		}
		q := query.Query{Order: order, Limit: 3, Offset: 2}
		rows, _, err := s.QueryCollections(t.Context(), q, query.Scope{Trash: true})
		want, _ := query.Run(q, all, getCollection(s.now()))
		if err != nil || !slices.Equal(namesOf(rows), namesOf(want)) {
			t.Errorf("by %s: %v, %v; want %v", o, namesOf(rows), err, namesOf(want))
		}
	}
}

func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func namesOf(rows []query.Collection) (names []string) {
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names
}

func TestListsHaveWhatTheirReadersMayRead(t *testing.T) {
	s := openStore(t, Config{})
	var users []collfs.UUID
	for _, name := range []string{"ann", "bob", "eve"} {
		u, err := s.CreateUser(t.Context(), name, "", "", false)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u.UUID)
	}
	ann, bob, eve := users[0], users[1], users[2]
	top, sub := s.NewProjectUUID(), s.NewProjectUUID()
	commitTx(t, s, collfs.Tx{Records: []collfs.RecordOp{
		{Kind: collfs.CreateProject, UUID: top, Owner: ann, Name: "top"}, {Kind: collfs.CreateProject, UUID: sub, Owner: top, Name: "sub"},
	}})
	var last collfs.UUID
	for name, owner := range map[string]collfs.UUID{"home": ann, "top": top, "sub": sub, "bobs": bob} {
		id := s.NewCollectionUUID()
		if name == "home" {
			last = id
		}
		commitTx(t, s, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: owner, Name: "in " + name}}})
	}
	for target, user := range map[collfs.UUID]collfs.UUID{top: bob, last: eve} {
		if err := s.Grant(t.Context(), user, target, collfs.CanRead); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		readers []collfs.UUID
		want    string
	}{
		{nil, "[in bobs in home in sub in top]"},
		{[]collfs.UUID{ann}, "[in home in sub in top]"},
		{[]collfs.UUID{bob}, "[in bobs in sub in top]"},
		{[]collfs.UUID{eve}, "[in home]"},
		{[]collfs.UUID{eve, bob}, "[in bobs in home in sub in top]"},
		{[]collfs.UUID{}, "[]"},
	} {
		q := query.Query{Limit: 10, Count: true, Order: []query.Order{{Attr: "name"}}}
		rows, n, err := s.QueryCollections(t.Context(), q, query.Scope{Readers: c.readers})
		if err != nil || fmt.Sprint(namesOf(rows)) != c.want || n != len(rows) {
			t.Errorf("%v see %v (%d), %v; want %s", c.readers, namesOf(rows), n, err, c.want)
		}
	}
}

func TestVersionsHaveUUIDsThatStay(t *testing.T) {
	s := openStore(t, Config{Dir: oldStore(t, "")})
	const id = "abcde-4zz18-000000000000001"
	q := query.Query{Limit: 10, Order: []query.Order{{Attr: "version"}}}
	rows, _, err := s.QueryCollections(t.Context(), q, query.Scope{Old: true})
	if err != nil || len(rows) != 2 || rows[0].Current != id || rows[1].UUID != id || !rows[0].Old() || rows[1].Old() {
		t.Fatalf("versions are %+v, %v", rows, err)
	}
	if want := s.versionUUID(id, 1); rows[0].UUID != want || len(want) != 27 {
		t.Errorf("version 1 is %s; want %s", rows[0].UUID, want)
	}
	found, err := s.FindCollection(t.Context(), rows[0].UUID)
	if err != nil || found.Version != 1 || found.Current != id {
		t.Errorf("FindCollection(%s) = %+v, %v", rows[0].UUID, found, err)
	}
}

func TestAKeptManifestGoesWithItsRevision(t *testing.T) {
	s := openStore(t, Config{})
	id := newCollection(t, s, newUser(t, s, "ann", false), "c")
	commitTx(t, s, collfs.Tx{Changes: []collfs.Change{{Collection: id, Ops: mkdir("d")}}})
	text := []byte("./d d41d8cd98f00b204e9800998ecf8427e+0 0:0:\\056 0:0:.\n")
	if err := s.KeepManifest(t.Context(), id, 1, text); err != nil {
		t.Fatal(err)
	}
	got, rec, err := s.Manifest(t.Context(), id, 0)
	if err != nil || string(got) != string(text) || rec.PDH != collfs.PDH(manifest.PDH(text)) {
		t.Errorf("Manifest = %q of %s, %v; want %q", got, rec.PDH, err, text)
	}
	if err := s.KeepManifest(t.Context(), id, 9, []byte("x")); err != nil {
		t.Errorf("KeepManifest for another revision: %v", err)
	}
	if got, _, err := s.Manifest(t.Context(), id, 0); err != nil || string(got) != string(text) {
		t.Errorf("Manifest = %q, %v; want %q still", got, err, text)
	}
	recs := commitTx(t, s, collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: 1, Ops: mkdir("e"), Keep: true}}})
	if got, _, err := s.Manifest(t.Context(), id, 0); err != nil || string(got) == string(text) || recs[0].Version != 2 {
		t.Errorf("Manifest after a change = %q, %v", got, err)
	}
	for what, get := range map[string]func() ([]byte, error){
		"Manifest of version 1":    func() ([]byte, error) { text, _, err := s.Manifest(t.Context(), id, 1); return text, err },
		"ManifestAt of revision 1": func() ([]byte, error) { return s.ManifestAt(t.Context(), id, 1) },
	} {
		if got, err := get(); err != nil || string(got) != string(text) {
			t.Errorf("%s = %q, %v; want %q", what, got, err, text)
		}
	}
	// Versions that are gone take their texts with them.
	if err := s.KeepManifest(t.Context(), id, 2, []byte("")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExpireVersions(t.Context(), s.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.readers.row(t.Context(), `SELECT count(*) FROM sent_manifest`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d texts are kept, %v; want 1", n, err)
	}
}
