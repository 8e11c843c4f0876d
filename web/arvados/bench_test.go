package arvados

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"keepdav/collfs"
)

// benchCall sends the same request over and over.
func benchCall(b *testing.B, e *env, user, method, path, body string) {
	b.Helper()
	for b.Loop() {
		r := newRequest(method, prefix+path, "application/json", body)
		r.Header.Set("Authorization", "Bearer "+e.tokens[user])
		w := httptest.NewRecorder()
		e.api.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatalf("%s %s = %d %s", method, path, w.Code, w.Body)
		}
	}
}

// Pages of 100,000 collections.
func BenchmarkLists(b *testing.B) {
	e := newEnv(b)
	p := e.project(e.users["alice"], "p")
	for i := 0; i < 100_000; i += 1000 {
		var tx collfs.Tx
		for n := range 1000 {
			tx.Records = append(tx.Records, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: e.sql.NewCollectionUUID(), Owner: p, Name: fmt.Sprint(i + n)})
		}
		if _, err := e.sql.Commit(b.Context(), tx); err != nil {
			b.Fatal(err)
		}
	}
	owner := url.QueryEscape(`[["owner_uuid","=",` + quoted(p) + `],["uuid",">","zzzzz-4zz18-m"]]`)
	// Data hashes are computed when they are asked for the first time: that is not what is measured.
	for name, q := range map[string]string{
		"UUIDPage":     "count=none&order=uuid&limit=1000&select=" + url.QueryEscape(`["uuid","name"]`) + "&filters=" + owner,
		"DefaultOrder": "limit=100&select=" + url.QueryEscape(`["uuid","name"]`),
		"Count":        "limit=0",
		"ByName":       "count=none&select=" + url.QueryEscape(`["uuid"]`) + "&filters=" + url.QueryEscape(`[["owner_uuid","=",`+quoted(p)+`],["name","=","77"]]`),
		"ByNameOnly":   "count=none&select=" + url.QueryEscape(`["uuid"]`) + "&filters=" + url.QueryEscape(`[["name","=","77"]]`),
		"ByUUIDs":      "count=none&select=" + url.QueryEscape(`["uuid"]`) + "&filters=" + url.QueryEscape(`[["uuid","in",["zzzzz-4zz18-000000000000000"]]]`),
	} {
		for _, user := range []string{"root", "alice"} {
			b.Run(name+"/"+user, func(b *testing.B) { benchCall(b, e, user, "GET", "collections?"+q, "") })
		}
	}
}

// One of 100,000 files is added and renamed, and the manifest is read.
func BenchmarkLargeCollection(b *testing.B) {
	e := newEnv(b)
	var text strings.Builder
	loc := e.block("alice", strings.Repeat("x", 100_000))
	for d := range 100 {
		fmt.Fprintf(&text, "./d%03d %s", d, loc)
		for f := range 1000 {
			fmt.Fprintf(&text, " %d:1:f%04d", f, f)
		}
		text.WriteString("\n")
	}
	id := e.create("alice", "large", text.String())
	body := `{"collection":{"manifest_text":` + quoted(". "+loc+" 5:1:n\n") + `},"replace_files":{"/new":"manifest_text/n"},"select":["uuid"]}`
	b.Run("Add", func(b *testing.B) { benchCall(b, e, "alice", "PATCH", "collections/"+id, body) })
	b.Run("Rename", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			from, to := "x", "y"
			if n%2 == 1 {
				from, to = to, from
			}
			if n == 0 {
				from = "new"
			}
			if status, got := e.do("alice", "PATCH", "collections/"+id, fmt.Sprintf(`{"replace_files":{"/%s":"","/%s":"current/%s"},"select":["uuid"]}`, from, to, from)); status != 200 {
				b.Fatal(got)
			}
		}
	})
	b.Run("Get", func(b *testing.B) { benchCall(b, e, "alice", "GET", "collections/"+id, "") })
	whole := `{"collection":{"manifest_text":` + quoted(text.String()) + `},"select":["uuid"]}`
	b.Run("PutWhole", func(b *testing.B) { benchCall(b, e, "alice", "PATCH", "collections/"+id, whole) })
}
