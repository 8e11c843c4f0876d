package main

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// apiCall sends a request to the API of a server and decodes the answer.
func apiCall(t *testing.T, r *rig, token, method, path, body string) map[string]any {
	t.Helper()
	text := r.must(t, http.StatusOK, method, path, body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s %s = %q: %v", method, path, text, err)
	}
	return got
}

// What a client of a cluster does: find out where it is, store a block, name it in a
// collection. A drive has the file at once, and what it writes is in the API.
func TestClientsOfAClusterWorkWithAStore(t *testing.T) {
	r := newRig(t)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	var doc map[string]any
	if err := json.Unmarshal([]byte(r.must(t, 200, "GET", "/discovery/v1/apis/arvados/v1/rest", "", "Authorization", "")), &doc); err != nil {
		t.Fatal(err)
	}
	me := apiCall(t, r, token, "GET", "/arvados/v1/users/current", "")
	if id, _ := me["uuid"].(string); !strings.HasPrefix(id, doc["uuidPrefix"].(string)) || me["is_admin"] != true {
		t.Errorf("users/current = %v", me)
	}
	keep := apiCall(t, r, token, "GET", "/arvados/v1/keep_services/accessible", "")
	if keep["items_available"] != 1.0 {
		t.Errorf("keep_services/accessible = %v", keep)
	}
	loc := strings.TrimSpace(r.must(t, 200, "PUT", fmt.Sprintf("/%x", md5.Sum([]byte("foo"))), "foo", "Authorization", "Bearer "+token))
	body, err := json.Marshal(map[string]any{"collection": map[string]any{"name": "by the API", "manifest_text": "./d " + loc + " 0:3:f\n"}})
	if err != nil {
		t.Fatal(err)
	}
	made := apiCall(t, r, token, "POST", "/arvados/v1/collections", string(body))
	if got := r.must(t, 200, "GET", "/home/by%20the%20API/d/f", ""); got != "foo" {
		t.Errorf("the drive has %q; want foo", got)
	}
	r.must(t, 201, "PUT", "/home/by%20the%20API/w", "written")
	id := made["uuid"].(string)
	got := apiCall(t, r, token, "GET", "/arvados/v1/collections/"+id, "")
	text, _ := got["manifest_text"].(string)
	if !strings.Contains(text, " 0:7:w\n") || got["file_count"] != 2.0 {
		t.Fatalf("the API has %v", got)
	}
	// Its blocks can be read with what the manifest says.
	signed := strings.Fields(text)[1]
	if got := r.must(t, 200, "GET", "/"+signed, "", "Authorization", "Bearer "+token); got != "written" {
		t.Errorf("block %.40s has %q", signed, got)
	}
	if status, _ := r.do(t, "GET", "/arvados/v1/collections/"+id, ""); status != http.StatusUnauthorized {
		t.Errorf("with a password the API says %d; want 401", status)
	}
	if status, _ := r.do(t, "GET", "/arvados/v1/nothing", "", "Authorization", "Bearer "+token); status != http.StatusNotFound {
		t.Errorf("unknown resource = %d; want 404", status)
	}
}
