package main

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/keepio"
)

// locatorOf knows one block.
func locatorOf(loc keepio.Locator) func(context.Context, [16]byte, uint32) (keepio.Locator, error) {
	return func(context.Context, [16]byte, uint32) (keepio.Locator, error) { return loc, nil }
}

// A keepdav client on another machine commits operations: the drive has them at once,
// what it writes is in the changes, and a token for nothing may do nothing.
func TestKeepdavClientsCommitToAStore(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	id := collfs.UUID(apiCall(t, r, token, "POST", "/arvados/v1/collections", `{"collection":{"name":"c"}}`)["uuid"].(string))
	learned := make(map[[16]byte]keepio.Locator)
	client := func(token string) *wire.Client {
		return wire.New(wire.Config{
			URL: r.url, Token: token, HTTP: http.DefaultClient,
			Learn: func(_ string, locs []keepio.Locator) {
				for _, loc := range locs {
					learned[loc.Hash()] = loc
				}
			},
		})
	}
	rec, saved, err := client(token).Tree(ctx, id)
	if err != nil || saved.Checkpoint == nil {
		t.Fatalf("Tree() = %+v, %v", rec, err)
	}
	loc, err := keepio.ParseLocator(strings.TrimSpace(r.must(t, 200, "PUT", fmt.Sprintf("/%x", md5.Sum([]byte("foo"))), "foo", "Authorization", "Bearer "+token)))
	if err != nil {
		t.Fatal(err)
	}
	put := collfs.Op{Kind: collfs.OpPut, Path: "f", Content: collfs.Content{ID: collfs.ContentID{1}, Size: 3, Segments: []keepio.Segment{{Block: keepio.NewStoredBlock(loc.Hash(), 3), Len: 3}}}}
	commit := wire.Commit{Collection: id, Base: rec.Revision, Ops: []collfs.Op{put}}
	if _, err := client(token).Commit(ctx, commit); !errors.Is(err, keepio.ErrSignatureInvalid) {
		t.Fatalf("Commit() of a block without its signature = %v", err)
	}
	signed := wire.New(wire.Config{URL: r.url, Token: token, HTTP: http.DefaultClient, Locator: locatorOf(loc)})
	if _, err := signed.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != "foo" {
		t.Errorf("the drive has %q; want foo", got)
	}
	r.must(t, 201, "PUT", "/home/c/w", "written")
	now, changes, kept, err := client(token).Changes(ctx, id, rec.Revision+1)
	if err != nil || !kept || len(changes) != int(now.Revision-rec.Revision-1) || len(changes) == 0 {
		t.Fatalf("Changes() = revision %d, %d, %v, %v", now.Revision, len(changes), kept, err)
	}
	for _, loc := range learned { // what is told can be read
		if got := r.must(t, 200, "GET", "/"+loc.String(), "", "Authorization", "Bearer "+token); got != "written" {
			t.Errorf("block %s has %q", loc.Bare(), got)
		}
	}
	if len(learned) != 1 {
		t.Errorf("%d locators were told; want 1", len(learned))
	}
	if _, err := signed.Commit(ctx, commit); !errors.Is(err, collfs.ErrStale) {
		t.Errorf("Commit() on an old base = %v; want ErrStale", err)
	}
	for token, want := range map[string]error{"": fs.ErrPermission, token + "x": fs.ErrPermission} {
		if _, _, err := client(token).Tree(ctx, id); !errors.Is(err, want) {
			t.Errorf("Tree() with a bad token = %v; want %v", err, want)
		}
	}
}
