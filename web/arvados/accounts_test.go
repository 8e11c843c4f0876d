package arvados

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
)

func addTestResources(a *API, s *sqlite.Store) {
	a.AddAccounts(s, func() {})
	a.AddKeepServices()
	a.AddConfig()
	a.AddDiscovery()
}

// names returns an attribute of the items of a list, in order.
func names(answer map[string]any, attr string) []string {
	var all []string
	items, _ := answer["items"].([]any)
	for _, i := range items {
		all = append(all, fmt.Sprint(i.(map[string]any)[attr]))
	}
	return all
}

func TestWhoSeesWhichUsers(t *testing.T) {
	r := newResourceRig(t)
	id := r.store.NewCollectionUUID()
	tx := collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: r.users["ann"], Name: "c"}}}
	if _, err := r.store.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Grant(t.Context(), r.users["bob"], id, collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]string{"root": "ann bob cid root", "ann": "ann bob", "bob": "ann bob", "cid": "cid"} {
		list := r.must(who, "GET", "/arvados/v1/users?order=username", nil)
		if got := strings.Join(names(list, "username"), " "); got != want {
			t.Errorf("%s sees %s; want %s", who, got, want)
		}
		for _, other := range []string{"root", "ann", "bob", "cid"} {
			status, _ := r.do(who, "GET", "/arvados/v1/users/"+string(r.users[other]), nil)
			if seen := slices.Contains(strings.Fields(want), other); seen != (status == 200) || !seen && status != 404 {
				t.Errorf("%s gets %s: %d", who, other, status)
			}
		}
	}
	if got := names(r.must("cid", "GET", `/arvados/v1/users?filters=[["username","=","ann"]]`, nil), "uuid"); !slices.Equal(got, []string{string(r.users["ann"])}) {
		t.Errorf("by name: %v", got)
	}
	if got := names(r.must("cid", "GET", `/arvados/v1/users?filters=[["username","like","a%25"]]`, nil), "uuid"); len(got) != 0 {
		t.Errorf("by pattern: %v; want nobody", got)
	}
	if status, _ := r.do("", "GET", "/arvados/v1/users", nil); status != 401 {
		t.Errorf("without a token: %d", status)
	}
}

func TestAdministratorsManageUsers(t *testing.T) {
	r := newResourceRig(t)
	user := map[string]any{"user": map[string]any{"username": "dan", "first_name": "Dan", "last_name": "D"}}
	if status, _ := r.do("ann", "POST", "/arvados/v1/users", user); status != 403 {
		t.Errorf("ann makes a user: %d", status)
	}
	dan := r.must("root", "POST", "/arvados/v1/users", user)
	if dan["full_name"] != "Dan D" || dan["is_active"] != true || dan["is_admin"] != false {
		t.Errorf("dan = %v", dan)
	}
	if status, _ := r.do("root", "POST", "/arvados/v1/users", user); status != 422 {
		t.Errorf("a second dan: %d", status)
	}
	path := "/arvados/v1/users/" + dan["uuid"].(string)
	for _, c := range []struct {
		who, path string
		user      map[string]any
		status    int
	}{
		{"root", path, map[string]any{"is_active": false, "last_name": "Z"}, 200},
		{"root", path, map[string]any{"username": "other"}, 422},
		{"root", "/arvados/v1/users/" + string(r.users["root"]), map[string]any{"is_admin": false}, 422}, // the last one
		{"ann", path, map[string]any{"is_active": true}, 404},
		{"ann", "/arvados/v1/users/" + string(r.users["ann"]), map[string]any{"is_admin": true}, 403},
		{"ann", "/arvados/v1/users/" + string(r.users["ann"]), map[string]any{"full_name": "Ann of Old", "prefs": map[string]any{"x": 1}}, 200},
		{"ann", "/arvados/v1/users/" + string(r.users["ann"]), map[string]any{"full_name": 7}, 422},
	} {
		if status, answer := r.do(c.who, "PATCH", c.path, map[string]any{"user": c.user}); status != c.status {
			t.Errorf("%s changes %s to %v: %d %v; want %d", c.who, c.path, c.user, status, answer, c.status)
		}
	}
	if dan = r.must("root", "GET", path, nil); dan["is_active"] != false || dan["full_name"] != "Dan Z" {
		t.Errorf("dan = %v", dan)
	}
	if ann := r.must("ann", "GET", "/arvados/v1/users/current", nil); ann["first_name"] != "Ann of" || ann["last_name"] != "Old" {
		t.Errorf("ann = %v", ann)
	}
	if status, _ := r.do("ann", "DELETE", "/arvados/v1/users/"+string(r.users["ann"]), nil); status != 403 {
		t.Errorf("ann deletes ann: %d", status)
	}
	r.must("root", "DELETE", path, nil)
	if status, _ := r.do("root", "GET", path, nil); status != 404 {
		t.Errorf("dan is there: %d", status)
	}
}

func TestTokensAreMadeAndUsedAndTakenBack(t *testing.T) {
	r := newResourceRig(t)
	const path = "/arvados/v1/api_client_authorizations"
	scopes := []string{"GET /arvados/v1/users/current"}
	ends := time.Now().Add(time.Hour).UTC().Round(time.Second)
	made := r.must("ann", "POST", path, map[string]any{"api_client_authorization": map[string]any{"scopes": scopes, "expires_at": ends}})
	id := made["uuid"].(string)
	r.tokens["scoped"] = "v2/" + id + "/" + made["api_token"].(string)
	if me := r.must("scoped", "GET", "/arvados/v1/users/current", nil); me["username"] != "ann" {
		t.Errorf("me = %v", me)
	}
	own := r.must("scoped", "GET", path+"/current", nil)
	if own["api_token"] != made["api_token"] || own["expires_at"] != ends.Format("2006-01-02T15:04:05.000000000Z") || fmt.Sprint(own["scopes"]) != fmt.Sprint(scopes) {
		t.Errorf("current = %v", own)
	}
	for _, c := range []struct {
		who, method, path string
		fields            map[string]any
		status            int
	}{
		{"scoped", "GET", "/arvados/v1/users", nil, 403},
		{"scoped", "POST", path, nil, 403},
		{"bob", "GET", path + "/" + id, nil, 404},
		{"bob", "PATCH", path + "/" + id, map[string]any{"scopes": []string{"all"}}, 404},
		{"bob", "DELETE", path + "/" + id, nil, 404},
		{"bob", "POST", path, map[string]any{"owner_uuid": r.users["ann"]}, 403},
		{"root", "POST", path, map[string]any{"owner_uuid": r.users["ann"]}, 200},
		{"root", "POST", path, map[string]any{"owner_uuid": "zzzzz-tpzed-nobodynobodynob"}, 422},
		{"ann", "POST", path, map[string]any{"scopes": []string{}}, 422},
		{"ann", "POST", path, map[string]any{"scopes": []string{"everything"}}, 422},
		{"ann", "POST", path, map[string]any{"scopes": []string{"GET x"}}, 422},
		{"ann", "POST", path, map[string]any{"expires_at": "tomorrow"}, 422},
		{"ann", "PATCH", path + "/" + id, map[string]any{"scopes": []string{"GET /arvados/v1/users"}, "expires_at": nil}, 200},
		{"scoped", "GET", "/arvados/v1/users/current", nil, 403},
		{"scoped", "GET", "/arvados/v1/users", nil, 200},
		{"root", "GET", path + "/" + id, nil, 200},
		{"ann", "DELETE", path + "/" + id, nil, 200},
		{"scoped", "GET", "/arvados/v1/users", nil, 401},
		{"ann", "GET", path + "/" + id, nil, 404},
	} {
		var body any
		if c.fields != nil {
			body = map[string]any{"api_client_authorization": c.fields}
		}
		if status, answer := r.do(c.who, c.method, c.path, body); status != c.status {
			t.Errorf("%s %s %s %v = %d %v; want %d", c.who, c.method, c.path, c.fields, status, answer, c.status)
		}
	}
	list := r.must("ann", "GET", path, nil)
	if n := len(names(list, "uuid")); n != 2 || slices.Contains(names(list, "owner_uuid"), string(r.users["bob"])) {
		t.Errorf("ann's tokens: %v", list)
	}
	for _, i := range list["items"].([]any) {
		if _, ok := i.(map[string]any)["api_token"]; ok {
			t.Error("a list shows secrets")
		}
	}
	if n := len(names(r.must("root", "GET", path, nil), "uuid")); n != 5 {
		t.Errorf("root sees %d tokens; want 5", n)
	}
}

func TestUsersWhoAreNotActiveMayOnlyAskWhoTheyAre(t *testing.T) {
	r := newResourceRig(t)
	if err := r.store.SetActive(t.Context(), r.users["ann"], false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"users/current": 200, "api_client_authorizations/current": 200, "config": 200,
		"users": 403, "users/" + string(r.users["ann"]): 403, "api_client_authorizations": 403, "keep_services/accessible": 403,
	} {
		if status, _ := r.do("ann", "GET", prefix+path, nil); status != want {
			t.Errorf("GET %s = %d; want %d", path, status, want)
		}
	}
	if me := r.must("ann", "GET", prefix+"users/current", nil); me["is_active"] != false {
		t.Errorf("users/current = %v", me)
	}
	if status, _ := r.do("ann", "GET", prefix+"users/current?reader_tokens="+r.tokens["bob"], nil); status != 200 {
		t.Errorf("with a reader's token: %d", status)
	}
	req := httptest.NewRequest("GET", "/websocket?api_token="+r.tokens["ann"], nil)
	if _, err := r.api.Authorize(req); err == nil {
		t.Error("the event bus lets one in who is not active")
	}
	for query, good := range map[string]bool{"api_token=" + r.tokens["bob"]: true, "api_token=" + r.tokens["bob"] + "x": false, "": false} {
		req := httptest.NewRequest("GET", "/websocket?"+query, nil)
		req.AddCookie(&http.Cookie{Name: "arvados_api_token", Value: r.tokens["bob"]}) // which counts for nothing
		if u, err := r.api.Authorize(req); (err == nil) != good || good && u.UUID != r.users["bob"] {
			t.Errorf("Authorize = %v, %v; want good: %v", u, err, good)
		}
	}
}
