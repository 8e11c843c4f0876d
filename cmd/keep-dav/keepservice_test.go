package main

import (
	"crypto/md5"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keepdav/cmd/internal/maint"
	"keepdav/web/arvados/signing"
)

func TestKeepClientsStoreAndReadBlocks(t *testing.T) {
	r := newRig(t)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	system := do1[tokenInfo](t, r, "token.system", none{}).Token
	body := strings.Repeat("some bytes", 30_000)
	path := fmt.Sprintf("/%x", md5.Sum([]byte(body)))
	as := func(token string) []string { return []string{"Authorization", "Bearer " + token} }

	if status, _ := r.doAs(t, "", "", "PUT", path, body, "Authorization", ""); status != http.StatusUnauthorized {
		t.Errorf("PUT without a token = %d; want 401", status)
	}
	if status, _ := r.do(t, "PUT", path, body); status != http.StatusUnauthorized {
		t.Errorf("PUT with a password = %d; want 401: a signature is for a token", status)
	}
	loc := strings.TrimSpace(r.must(t, 200, "PUT", path, body, as(token)...))
	if got := r.must(t, 200, "GET", "//"+loc, "", as(token)...); got != body {
		t.Errorf("GET gives %d bytes; want %d", len(got), len(body))
	}
	if index := r.must(t, 200, "GET", "/index"+path[:6], "", as(system)...); !strings.HasPrefix(index, path[1:]+"+300000 ") {
		t.Errorf("index = %q", index)
	}
	if status, _ := r.do(t, "GET", "/"+loc, "", as(system)...); status != http.StatusBadRequest {
		t.Errorf("the system token reads a block: %d", status)
	}
	// What was sent stays for as long as it may be named, though nothing refers to it.
	for range 2 {
		got := do1[maint.Collected](t, r, "gc", maint.CollectOptions{Grace: signing.TTL})
		if got.Trashed != 0 {
			t.Errorf("gc = %+v; want nothing taken away", got)
		}
	}
	if maint.DefaultCollect().Grace < signing.TTL {
		t.Error("by default garbage is taken away earlier than permissions end")
	}
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve"}); err != nil || c.Serve.Grace != signing.TTL {
		t.Errorf("--grace is %v by default, %v; want %v", c.Serve.Grace, err, signing.TTL)
	}
}

func TestScopesSayWhoStoresBlocks(t *testing.T) {
	for scope, want := range map[string]bool{
		"all": true, "all x": false, "": false, "GET /": false,
		"POST /arvados/v1/collections": true, "PATCH /arvados/v1/collections/": true, "PUT /arvados/v1/collections/x": true,
		"GET /arvados/v1/collections/": false, "PUT /arvados/v1/collectionsx": false, "POST /arvados/v1/groups": false,
	} {
		if got := storesBlocks(scope); got != want {
			t.Errorf("storesBlocks(%q) = %v; want %v", scope, got, want)
		}
	}
}

func TestARevokedTokenReadsNothing(t *testing.T) {
	r := newRig(t)
	made := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName, Expires: time.Hour})
	as := []string{"Authorization", "Bearer " + made.Token}
	loc := strings.TrimSpace(r.must(t, 200, "PUT", fmt.Sprintf("/%x", md5.Sum([]byte("foo"))), "foo", as...))
	r.must(t, 200, "GET", "/"+loc, "", as...)
	do1[none](t, r, "token.revoke", tokenArgs{UUID: made.UUID})
	r.must(t, 401, "GET", "/"+loc, "", as...)
}
