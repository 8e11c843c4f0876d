package arvados

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A recorded request, and what a real cluster answered.
type recorded struct {
	Note    string
	Request struct {
		Method, Path string
		Body         json.RawMessage
		Headers      map[string]string
	}
	Response struct {
		Status  int
		Body    any
		Headers [][2]string
	}
}

func readRecorded(t *testing.T, name string) (all []recorded) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	signedLocator = regexp.MustCompile(`([0-9a-f]{32}\+\d+)\+A[0-9a-f]{40}@[0-9a-f]{8}`)
	tokenOf       = regexp.MustCompile(`v2/[0-9a-z]{5}-gj3su-[0-9a-z]{15}/[0-9a-z]+`)
)

// sameShape says in what got differs from want as to fields and types.
func sameShape(at string, want, got any) (diffs []string) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T", at, got)}
		}
		for k, v := range w {
			if _, ok := g[k]; !ok {
				diffs = append(diffs, at+"."+k+" is missing")
				continue
			}
			diffs = append(diffs, sameShape(at+"."+k, v, g[k])...)
		}
		return diffs
	case []any:
		g, ok := got.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T", at, got)}
		}
		if len(w) > 0 && len(g) > 0 {
			return sameShape(at+"[0]", w[0], g[0])
		}
		return nil
	}
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		return []string{fmt.Sprintf("%s is %T %v, not %T %v", at, got, got, want, want)}
	}
	return nil
}

// Each recorded request about collections is answered as the cluster did, and makes the
// same trees: data hashes are equal.
func TestRecordedRequestsAreAnsweredAlike(t *testing.T) {
	e := newEnv(t)
	for _, data := range []string{"foo", "hello world\n", "xfoo"} {
		e.block("alice", data)
	}
	var names []string // what was recorded, and what it is here
	mapped := func(s string) string { return strings.NewReplacer(names...).Replace(s) }
	tokens := make(map[string]string)
	for i, rec := range readRecorded(t, "api-collections.json") {
		token := tokenOf.FindString(rec.Request.Headers["Authorization"])
		if _, ok := tokens[token]; !ok {
			user := []string{"alice", "bob"}[len(tokens)]
			tokens[token] = e.tokens[user]
			names = append(names, token, e.tokens[user])
		}
		body, _ := rec.Response.Body.(map[string]any)
		if strings.Contains(rec.Request.Path, "/groups") {
			// Projects are not collections: here they are just there.
			if rec.Request.Method == "POST" && rec.Response.Status == 200 {
				if len(names) < 6 {
					names = append(names, body["owner_uuid"].(string), string(e.users["alice"]))
				}
				id := e.project(collfs.UUID(mapped(body["owner_uuid"].(string))), body["name"].(string))
				names = append(names, body["uuid"].(string), string(id))
			}
			continue
		}
		if strings.HasPrefix(rec.Note, "replace_files: add one file") {
			e.wait(11 * time.Second)
		}
		text := signedLocator.ReplaceAllStringFunc(mapped(string(rec.Request.Body)), func(s string) string {
			loc, err := keepio.ParseLocator(signedLocator.FindStringSubmatch(s)[1])
			if err != nil {
				t.Fatal(err)
			}
			return e.signer.Sign(loc, tokens[token]).String()
		})
		r := httptest.NewRequest(rec.Request.Method, mapped(rec.Request.Path), strings.NewReader(text))
		r.Header.Set("Authorization", "Bearer "+tokens[token])
		if ct := rec.Request.Headers["Content-Type"]; ct != "" {
			r.Header.Set("Content-Type", ct)
		}
		status, head, got := call(t, e.api, r)
		if status != rec.Response.Status {
			t.Errorf("%d %s: status %d %v; want %d", i, rec.Note, status, got["errors"], rec.Response.Status)
			continue
		}
		for _, h := range rec.Response.Headers {
			switch h[0] {
			case "Date", "Content-Length", "X-Request-Id", "Transfer-Encoding":
			default:
				if head.Get(h[0]) != h[1] {
					t.Errorf("%d %s: %s is %q; want %q", i, rec.Note, h[0], head.Get(h[0]), h[1])
				}
			}
		}
		for _, d := range sameShape("", rec.Response.Body, got) {
			t.Errorf("%d %s: %s", i, rec.Note, d)
		}
		if id, ok := body["uuid"].(string); ok && rec.Request.Method == "POST" && !strings.Contains(strings.Join(names, " "), id) {
			names = append(names, id, got["uuid"].(string), id[12:], got["uuid"].(string)[12:])
		}
		for _, field := range []string{"portable_data_hash", "file_count", "file_size_total", "is_trashed", "properties", "description", "name", "uuid", "owner_uuid",
			"current_version_uuid", "storage_classes_desired", "replication_desired", "preserve_version", "modified_by_user_uuid"} {
			if want, ok := body[field]; ok && mapped(quoted(want)) != quoted(got[field]) {
				t.Errorf("%d %s: %s is %v; want %v", i, rec.Note, field, got[field], want)
			}
		}
		for _, field := range []string{"manifest_text", "unsigned_manifest_text"} {
			want, ok := body[field].(string)
			if !ok {
				continue
			}
			is := got[field].(string)
			// A cluster forgets to sign what has just come out of the trash.
			if manifest.Strip(want) != manifest.Strip(is) || rec.Note != "untrash" && signatures.MatchString(want) != signatures.MatchString(is) {
				t.Errorf("%d %s: %s is\n%s; want\n%s", i, rec.Note, field, is, want)
			}
			for _, s := range signedLocator.FindAllString(is, -1) {
				loc, err := keepio.ParseLocator(s)
				if err == nil {
					err = e.signer.Verify(loc, tokens[token])
				}
				if err != nil {
					t.Errorf("%d %s: %v", i, rec.Note, err)
				}
			}
		}
	}
}
