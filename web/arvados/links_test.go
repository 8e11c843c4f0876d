package arvados

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/web/arvados/eventbus"
)

func TestPermissionLinksAreShares(t *testing.T) {
	e := newGroupsEnv(t)
	changed := 0
	e.api.routes = map[string][]*route{}
	e.api.AddGroups(Groups{Catalog: e.sql, Folders: e.sql, Projects: e.sql, Records: e.sql})
	e.api.AddLinks(Links{Store: e.sql, Folders: e.sql, Changed: func() { changed++ }})
	alice, bob := e.users["alice"], e.users["bob"]
	p := e.project(alice, "p")
	link := func(name string, head, tail collfs.UUID) string {
		return fmt.Sprintf(`{"link":{"link_class":"permission","name":%q,"head_uuid":%q,"tail_uuid":%q}}`, name, head, tail)
	}
	if status, _ := e.do("bob", "GET", "groups/"+string(p), ""); status != 404 {
		t.Fatal(status)
	}
	made := e.want("alice", "POST", "links", link("can_read", p, bob))
	e.want("bob", "GET", "groups/"+string(p), "")
	again := e.want("alice", "POST", "links", link("can_write", p, bob))
	if again["uuid"] != made["uuid"] || again["name"] != "can_write" || changed != 2 {
		t.Errorf("a second link is %v; want the first with another name", again)
	}
	one := "links/" + made["uuid"].(string)
	for _, c := range []struct {
		user, method, path, body string
		want                     int
	}{
		{"bob", "GET", one, "", 200},
		{"bob", "PATCH", one, `{"name":"can_manage"}`, 403},
		{"bob", "DELETE", one, "", 403},
		{"bob", "POST", "links", link("can_read", p, bob), 403},
		{"bob", "POST", "links", link("can_read", alice, bob), 422},
		{"bob", "GET", "permissions/" + string(p), "", 403},
		{"alice", "GET", "permissions/" + string(p), "", 200},
		{"bob", "GET", "permissions/" + string(alice), "", 404},
		{"alice", "PATCH", one, `{"name":"can_fly"}`, 422},
		{"alice", "PATCH", one, `{"tail_uuid":"` + string(alice) + `"}`, 422},
		{"alice", "POST", "links", link("can_read", p, p), 422},
		{"alice", "POST", "links", link("can_read", p, "zzzzz-tpzed-nobodynobodynob"), 422},
		{"alice", "POST", "links", `{"link":{"link_class":"star","name":"x","head_uuid":"` + string(p) + `"}}`, 422},
		{"alice", "POST", "links", `{"link":{"link_class":7}}`, 422},
		{"alice", "GET", "links/zzzzz-o0j2j-000000000000000", "", 404},
		{"alice", "PATCH", one, `{"name":"can_manage"}`, 200},
		{"bob", "DELETE", one, "", 200}, // bob manages it now
		{"bob", "GET", "groups/" + string(p), "", 404},
		{"bob", "GET", one, "", 404},
	} {
		if status, got := e.do(c.user, c.method, c.path, c.body); status != c.want {
			t.Errorf("%s: %s %s %s = %d %v; want %d", c.user, c.method, c.path, c.body, status, got["errors"], c.want)
		}
	}
	e.want("alice", "POST", "links", link("can_read", p, bob))
	for user, want := range map[string]float64{"alice": 1, "bob": 1, "root": 1} {
		if got := e.want(user, "GET", "links?filters="+url.QueryEscape(`[["tail_uuid","=","`+string(bob)+`"]]`), ""); got["items_available"] != want {
			t.Errorf("%s sees %v links; want %v", user, got["items_available"], want)
		}
	}
	if got := e.want("alice", "GET", "links?filters="+url.QueryEscape(`[["tail_uuid","=","`+string(alice)+`"]]`), ""); got["items_available"] != 0.0 {
		t.Errorf("links of another tail: %v", got)
	}
}

func TestTags(t *testing.T) {
	e := newGroupsEnv(t)
	id := e.create("alice", "c", "")
	tag := func(name string) string {
		return fmt.Sprintf(`{"link":{"link_class":"tag","name":%q,"head_uuid":%q,"properties":{"x":1}}}`, name, id)
	}
	for _, name := range []string{"red", "blue", "red"} {
		e.want("alice", "POST", "links", tag(name))
	}
	if status, _ := e.do("bob", "POST", "links", tag("red")); status != 422 {
		t.Errorf("bob tags what he cannot see: %d", status)
	}
	names := func(user string) string {
		got := e.want(user, "GET", "links?order=name&distinct=true&select="+url.QueryEscape(`["name"]`)+"&filters="+url.QueryEscape(`[["link_class","=","tag"],["head_uuid","=","`+id+`"]]`), "")
		return strings.Join(namesOf(got, "name"), " ")
	}
	if a, b := names("alice"), names("bob"); a != "blue red" || b != "" {
		t.Errorf("alice sees %q, bob %q", a, b)
	}
	if err := e.sql.Grant(t.Context(), e.users["bob"], collfs.UUID(id), collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	if b := names("bob"); b != "blue red" {
		t.Errorf("bob sees %q", b)
	}
	if status, _ := e.do("bob", "POST", "links", tag("red")); status != 403 {
		t.Errorf("bob tags what he cannot write: %d", status)
	}
}

func TestTheLogIsThePollingFallback(t *testing.T) {
	e := newGroupsEnv(t)
	newest := e.want("alice", "GET", "logs?order=id+desc&limit=1", "")
	if len(newest["items"].([]any)) != 0 {
		t.Fatal(newest)
	}
	id := e.create("alice", "c", "")
	e.want("alice", "PATCH", "collections/"+id, `{"name":"d"}`)
	hidden := e.create("bob", "hidden", "")
	note := e.want("alice", "POST", "logs", `{"log":{"event_type":"file_download","object_uuid":"`+id+`","properties":{"collection_file_path":"x"}}}`)
	if note["owner_uuid"] != string(e.users["alice"]) || note["object_owner_uuid"] != string(e.users["alice"]) {
		t.Errorf("note = %v", note)
	}
	last := e.create("alice", "e", "")
	read := func(user, params string) string {
		t.Helper()
		var all []string
		for _, i := range e.want(user, "GET", "logs?"+params, "")["items"].([]any) {
			m := i.(map[string]any)
			all = append(all, m["event_type"].(string))
			if n, ok := eventbus.LogID("zzzzz", m["uuid"].(string)); !ok || float64(n) != m["id"] {
				t.Errorf("uuid %v of entry %v", m["uuid"], m["id"])
			}
			if m["object_uuid"] == hidden && user == "alice" {
				t.Error("alice is told of what bob has")
			}
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ user, params, want string }{
		{"alice", "order=id+asc", "create update file_download create"},
		{"alice", "order=id+asc&filters=" + url.QueryEscape(`[["id",">","1"]]`), "update file_download create"},
		{"alice", "order=id+asc&filters=" + url.QueryEscape(`[["id",">",1],["event_type","in",["create","update","delete"]]]`), "update create"},
		{"alice", "order=id+desc&limit=1", "create"},
		{"alice", "order=id&limit=1&offset=1", "update"},
		{"alice", "filters=" + url.QueryEscape(`[["object_uuid","=","`+id+`"]]`) + "&order=id", "create update file_download"},
		{"bob", "order=id", "create"},
		{"root", "order=id", "create update create file_download create"},
		{"alice", "filters=" + url.QueryEscape(`[["created_at",">","2030-01-01T00:00:00Z"]]`), ""},
	} {
		if got := read(c.user, c.params); got != c.want {
			t.Errorf("%s: %s = %q; want %q", c.user, c.params, got, c.want)
		}
	}
	moved := e.want("alice", "GET", "logs?order=id&limit=1&offset=1", "")["items"].([]any)[0].(map[string]any)
	p := moved["properties"].(map[string]any)
	if n := p["new_attributes"].(map[string]any); n["name"] != "d" || n["owner_uuid"] != string(e.users["alice"]) || p["old_attributes"] == nil {
		t.Errorf("properties %v", p)
	}
	if got := e.want("alice", "GET", "logs/"+moved["uuid"].(string), ""); got["id"] != moved["id"] {
		t.Errorf("get = %v", got)
	}
	for _, c := range []struct {
		user, method, path, body string
		want                     int
	}{
		{"bob", "GET", "logs/" + moved["uuid"].(string), "", 404},
		{"bob", "GET", "logs/" + note["uuid"].(string), "", 404},
		{"alice", "GET", "logs/nonsense", "", 404},
		{"bob", "POST", "logs", `{"log":{"event_type":"file_download","object_uuid":"` + last + `"}}`, 422},
		{"alice", "POST", "logs", `{"log":{"event_type":"update","object_uuid":"` + last + `"}}`, 422},
		{"alice", "POST", "logs", `{"log":{}}`, 422},
		{"alice", "POST", "logs", `{"log":{"event_type":"x","summary":"` + strings.Repeat("x", maxNote+1) + `"}}`, 422},
	} {
		if status, got := e.do(c.user, c.method, c.path, c.body); status != c.want {
			t.Errorf("%s: %s %s = %d %v; want %d", c.user, c.method, c.path, status, got["errors"], c.want)
		}
	}
}
