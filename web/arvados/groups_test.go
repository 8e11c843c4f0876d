package arvados

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"keepdav/collfs"
)

// newGroupsEnv is an env with projects.
func newGroupsEnv(t testing.TB) *env {
	e := newEnv(t)
	e.api.AddGroups(Groups{Catalog: e.sql, Folders: e.sql, Projects: e.sql, Records: e.sql})
	e.api.AddLinks(Links{Store: e.sql, Folders: e.sql, Changed: func() {}})
	e.api.AddLogs(Logs{Store: e.sql, Folders: e.sql})
	return e
}

// Each recorded request about projects is answered as the cluster did.
func TestRecordedRequestsAboutProjects(t *testing.T) {
	e := newGroupsEnv(t)
	var names []string // what was recorded, and what it is here
	mapped := func(s string) string { return strings.NewReplacer(names...).Replace(s) }
	compared := 0
	for i, rec := range readRecorded(t, "api-collections.json") {
		body, _ := rec.Response.Body.(map[string]any)
		if i == 0 {
			names = append(names, body["owner_uuid"].(string), string(e.users["alice"]))
		}
		project := strings.Contains(rec.Request.Path, "/groups")
		if !project && !strings.HasPrefix(rec.Note, "create empty") && rec.Note != "ensure_unique_name" {
			continue
		}
		r := httptest.NewRequest(rec.Request.Method, mapped(rec.Request.Path), strings.NewReader(mapped(string(rec.Request.Body))))
		r.Header.Set("Authorization", "Bearer "+e.tokens["alice"])
		r.Header.Set("Content-Type", "application/json")
		status, _, got := call(t, e.api, r)
		if status != rec.Response.Status {
			t.Errorf("%d %s: status %d %v; want %d", i, rec.Note, status, got["errors"], rec.Response.Status)
			continue
		}
		if id, ok := body["uuid"].(string); ok && rec.Request.Method == "POST" {
			names = append(names, id, got["uuid"].(string), id[12:], got["uuid"].(string)[12:])
		}
		if !project {
			continue
		}
		compared++
		for _, d := range sameShape("", rec.Response.Body, got) {
			t.Errorf("%d %s: %s", i, rec.Note, d)
		}
		for _, field := range []string{"name", "owner_uuid", "uuid", "is_trashed", "group_class", "can_write", "can_manage", "writable_by", "description", "properties", "frozen_by_uuid", "kind", "limit", "offset", "modified_by_user_uuid"} {
			if want, ok := body[field]; ok && mapped(quoted(want)) != quoted(got[field]) {
				t.Errorf("%d %s: %s is %v; want %v", i, rec.Note, field, got[field], want)
			}
		}
		if rec.Note == "project contents" {
			if got := namesOf(got, "name"); len(got) != 3 || got[0] != "sub" {
				t.Errorf("contents are %v; want the project, then two collections", got)
			}
		}
	}
	if compared != 8 {
		t.Errorf("%d answers were compared; want 8", compared)
	}
}

func namesOf(answer map[string]any, attr string) []string { return names(answer, attr) }

func TestWhatMayBeDoneWithProjects(t *testing.T) {
	e := newGroupsEnv(t)
	alice := e.users["alice"]
	secret := e.project(alice, "secret")
	shared := map[string]collfs.UUID{}
	for name, level := range map[string]collfs.Level{"read": collfs.CanRead, "write": collfs.CanWrite, "manage": collfs.CanManage} {
		shared[name] = e.project(alice, name)
		if err := e.sql.Grant(t.Context(), e.users["bob"], shared[name], level); err != nil {
			t.Fatal(err)
		}
	}
	below := e.project(shared["write"], "below")
	own := e.project(e.users["bob"], "own")
	for _, c := range []struct {
		user, method, path, body string
		want                     int
	}{
		{"bob", "GET", "groups/" + string(secret), "", 404},
		{"bob", "PATCH", "groups/" + string(secret), `{"name":"x"}`, 404},
		{"bob", "DELETE", "groups/" + string(secret), "", 404},
		{"bob", "GET", "groups/" + string(secret) + "/contents", "", 404},
		{"bob", "GET", "groups/" + string(alice) + "/contents", "", 404},
		{"bob", "GET", "groups/" + string(alice), "", 404},
		{"alice", "GET", "groups/" + string(alice), "", 404}, // a home is no group
		{"alice", "GET", "groups/" + string(alice) + "/contents", "", 200},
		{"root", "GET", "groups/" + string(secret), "", 200},
		{"bob", "GET", "groups/" + string(shared["read"]), "", 200},
		{"bob", "GET", "groups/" + string(shared["read"]) + "/contents", "", 200},
		{"bob", "PATCH", "groups/" + string(shared["read"]), `{"name":"x"}`, 403},
		{"bob", "DELETE", "groups/" + string(shared["read"]), "", 403},
		{"bob", "POST", "groups/" + string(shared["read"]) + "/trash", "", 403},
		{"bob", "POST", "groups", `{"group":{"name":"n","owner_uuid":"` + string(shared["read"]) + `","group_class":"project"}}`, 403},
		{"bob", "POST", "groups", `{"group":{"name":"n","owner_uuid":"` + string(secret) + `","group_class":"project"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"name":"n","owner_uuid":"` + string(shared["write"]) + `","group_class":"project"}}`, 200},
		{"bob", "POST", "groups", `{"group":{"name":"n","owner_uuid":"` + string(shared["write"]) + `","group_class":"project"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"name":"r","group_class":"role"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"name":"f","group_class":"filter"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"group_class":"project"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"name":"a/b","group_class":"project"}}`, 422},
		{"bob", "POST", "groups", `{"group":{"name":7}}`, 422},
		{"bob", "PATCH", "groups/" + string(shared["write"]), `{"group":{"description":"d","properties":{"a":1}}}`, 200},
		{"bob", "PATCH", "groups/" + string(shared["write"]), `{"group":{"frozen_by_uuid":"` + string(alice) + `"}}`, 422},
		{"bob", "PATCH", "groups/" + string(shared["write"]), `{"group":{"owner_uuid":"` + string(own) + `"}}`, 403}, // out of alice's home
		{"bob", "PATCH", "groups/" + string(below), `{"group":{"owner_uuid":"` + string(own) + `"}}`, 200},
		{"bob", "PATCH", "groups/" + string(own), `{"group":{"owner_uuid":"` + string(below) + `"}}`, 422}, // into itself
		{"bob", "PATCH", "groups/" + string(own), `{"group":{"owner_uuid":"` + string(shared["read"]) + `"}}`, 403},
		{"bob", "PATCH", "groups/" + string(own), `{"group":{"trash_at":"2999-01-01T00:00:00Z"}}`, 422},
		{"bob", "POST", "groups/" + string(own) + "/untrash", "", 422},
		{"bob", "GET", "groups/nonsense", "", 404},
		{"bob", "GET", "groups/zzzzz-j7d0g-000000000000000", "", 404},
		{"bob", "GET", "groups?filters=" + url.QueryEscape(`[["nothing","=",1]]`), "", 422},
		{"bob", "GET", "groups?select=" + url.QueryEscape(`["nothing"]`), "", 422},
	} {
		if status, got := e.do(c.user, c.method, c.path, c.body); status != c.want {
			t.Errorf("%s: %s %s %s = %d %v; want %d", c.user, c.method, c.path, c.body, status, got["errors"], c.want)
		}
	}
	got := e.want("bob", "GET", "groups/"+string(shared["write"]), "")
	if quoted(got["properties"]) != `{"a":1}` || got["description"] != "d" || got["can_write"] != true || got["can_manage"] != false || got["modified_by_user_uuid"] != string(e.users["bob"]) {
		t.Errorf("project = %v", got)
	}
	// What is shared is what lies in nothing else that is.
	list := e.want("bob", "GET", "groups/shared?order=name&include=owner_uuid", "")
	if got := strings.Join(namesOf(list, "name"), " "); got != "manage read write" || list["items_available"] != 3.0 {
		t.Errorf("shared with bob: %s", got)
	}
	if owners := list["included"].([]any); len(owners) != 1 || owners[0].(map[string]any)["username"] != "alice" {
		t.Errorf("included: %v", owners)
	}
	if got := e.want("alice", "GET", "groups/shared", ""); got["items_available"] != 0.0 || len(got["included"].([]any)) != 0 {
		t.Errorf("shared with alice: %v", got)
	}
}

func TestProjectsGoToTheTrashAndComeBack(t *testing.T) {
	e := newGroupsEnv(t)
	p := e.project(e.users["alice"], "p")
	e.project(p, "inside")
	one := "groups/" + string(p)
	gone := e.want("alice", "DELETE", one, "")
	if gone["is_trashed"] != true || gone["trash_at"] == nil || gone["delete_at"] == nil {
		t.Errorf("trashed: %v", gone)
	}
	for path, want := range map[string]int{one: 404, one + "?include_trash=true": 200, one + "/contents": 404, one + "/contents?include_trash=1": 200} {
		if status, _ := e.do("alice", "GET", path, ""); status != want {
			t.Errorf("GET %s = %d; want %d", path, status, want)
		}
	}
	if status, _ := e.do("alice", "PATCH", one, `{"group":{"name":"q"}}`); status != 404 {
		t.Errorf("a project in the trash is renamed: %d", status)
	}
	e.project(e.users["alice"], "p") // the name is taken now
	if status, _ := e.do("alice", "POST", one+"/untrash", ""); status != 422 {
		t.Errorf("untrash to a name that is taken: %d", status)
	}
	back := e.want("alice", "POST", one+"/untrash?ensure_unique_name=true", "")
	if back["is_trashed"] != false || back["name"] != "p ("+string(p[12:])+")" {
		t.Errorf("untrashed: %v", back)
	}
	if got := namesOf(e.want("alice", "GET", one+"/contents", ""), "name"); !slices.Equal(got, []string{"inside"}) {
		t.Errorf("contents %v", got)
	}
	e.want("alice", "PATCH", one, `{"group":{"is_trashed":true}}`)
	if back := e.want("alice", "PATCH", one, `{"group":{"trash_at":null,"name":"new","description":"d"}}`); back["name"] != "new" || back["is_trashed"] != false || back["description"] != "d" {
		t.Errorf("untrashed and renamed: %v", back)
	}
}

func TestContents(t *testing.T) {
	e := newGroupsEnv(t)
	p := e.project(e.users["alice"], "p")
	q := e.project(p, "q")
	for i := range 3 {
		e.want("alice", "POST", "collections", fmt.Sprintf(`{"collection":{"name":"c%d","owner_uuid":"%s"}}`, i, p))
		e.want("alice", "POST", "collections", fmt.Sprintf(`{"collection":{"name":"d%d","owner_uuid":"%s"}}`, i, q))
	}
	e.project(p, "r")
	e.want("alice", "POST", "collections", `{"collection":{"name":"home"}}`)
	for _, c := range []struct {
		path, params, want string
		n                  any
	}{
		{"groups/" + string(p) + "/contents", "order=name", "q r c0 c1 c2", 5.0},
		{"groups/" + string(p) + "/contents", "order=name&limit=3", "q r c0", 5.0},
		{"groups/" + string(p) + "/contents", "order=name&limit=3&offset=1", "r c0 c1", 5.0},
		{"groups/" + string(p) + "/contents", "order=name&limit=3&offset=3&count=none", "c1 c2", nil},
		{"groups/" + string(p) + "/contents", "limit=0", "", 5.0},
		{"groups/" + string(p) + "/contents", `order=["collections.name desc"]`, "r q c2 c1 c0", 5.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["uuid","is_a","arvados#group"]]`, "q r", 2.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["uuid","is_a",["arvados#collection"]]]`, "c0 c1 c2", 3.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["collections.name","=","c2"]]`, "q r c2", 3.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["groups.name","=","r"],["name",">","c1"]]`, "r c2", 2.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["groups.group_class","in",["project","filter"]],["uuid","is_a","arvados#group"]]`, "q r", 2.0},
		{"groups/" + string(p) + "/contents", `order=name&filters=[["file_count","=",0]]`, "c0 c1 c2", 3.0}, // no project has that
		{"groups/" + string(p) + "/contents", `order=name&filters=[["name","like","%25%252"]]`, "c2", 1.0},
		{"groups/" + string(p) + "/contents", `recursive=true&order=name`, "q r c0 c1 c2 d0 d1 d2", 8.0},
		{"groups/" + string(e.users["alice"]) + "/contents", `order=name`, "p home", 2.0},
		{"groups/contents", `order=name&exclude_home_project=true`, "q r c0 c1 c2 d0 d1 d2", 8.0},
	} {
		got := e.want("alice", "GET", c.path+"?"+strings.NewReplacer(" ", "%20", `"`, "%22", "[", "%5B", "]", "%5D", ">", "%3E", "#", "%23").Replace(c.params), "")
		if names := strings.Join(namesOf(got, "name"), " "); names != c.want || got["items_available"] != c.n {
			t.Errorf("%s: %s (%v); want %s (%v)", c.params, names, got["items_available"], c.want, c.n)
		}
	}
	// Pages by a cursor, as clients read long lists.
	seen := 0
	for last := ""; ; {
		filters := url.QueryEscape(`[["uuid",">","` + last + `"],["uuid","is_a","arvados#collection"]]`)
		got := namesOf(e.want("alice", "GET", "groups/"+string(p)+"/contents?count=none&order=uuid&limit=2&filters="+filters, ""), "uuid")
		if len(got) == 0 {
			break
		}
		seen += len(got)
		last = got[len(got)-1]
	}
	if seen != 3 {
		t.Errorf("by pages there are %d collections; want 3", seen)
	}
	got := e.want("alice", "GET", "groups/"+string(p)+"/contents?include=owner_uuid&select="+url.QueryEscape(`["uuid","manifest_text"]`), "")
	if owners := got["included"].([]any); len(owners) != 1 || owners[0].(map[string]any)["uuid"] != string(p) {
		t.Errorf("included %v", owners)
	}
	if i := got["items"].([]any)[4].(map[string]any); i["manifest_text"] != nil || i["name"] != nil || i["uuid"] == nil {
		t.Errorf("selected %v", i)
	}
}

func FuzzFiltersOfContents(f *testing.F) {
	for _, seed := range []string{`[["groups.name","=","x"],["collections.file_count",">",1]]`, `[["properties.a","exists",true]]`, `[[],1,["uuid"]]`, `{}`, `[["groups.","=",1]]`} {
		f.Add(seed, "uuid")
	}
	f.Fuzz(func(t *testing.T, filters, order string) {
		req := &Request{Params: Params{"filters": Param{text: filters}, "order": Param{text: order}}}
		_, ask, err := req.contentsQuery()
		if err != nil {
			if status := errorOf(err).Status; status != 400 && status != 422 {
				t.Errorf("filters %q, order %q: status %d", filters, order, status)
			}
			return
		}
		for _, q := range ask {
			if q == nil {
				continue
			}
			for _, k := range q.Filters {
				if k.Type == 0 {
					t.Errorf("filters %q: %+v has no type", filters, k)
				}
			}
		}
	})
}
