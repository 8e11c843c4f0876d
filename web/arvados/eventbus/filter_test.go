package eventbus

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
)

func quote(at time.Time) string { return `"` + at.UTC().Format(time.RFC3339Nano) + `"` }

func lines(text string) []string { return strings.Split(text, "\n") }

func parse(t testing.TB, text string) (f frame) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

func TestFiltersByTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	e := collfs.Event{Kind: collfs.ContentChanged, At: at}
	for _, c := range []struct {
		filters string
		want    bool
	}{
		{`[]`, true},
		{`[["created_at",">=",` + quote(at) + `]]`, true},
		{`[["created_at",">",` + quote(at) + `]]`, false},
		{`[["created_at",">",` + quote(at.Add(-1)) + `]]`, true},
		{`[["created_at","<=",` + quote(at) + `]]`, true},
		{`[["created_at","<",` + quote(at) + `]]`, false},
		{`[["created_at","<",` + quote(at.Add(1)) + `]]`, true},
		{`[["created_at","=",` + quote(at) + `]]`, true},
		{`[["created_at","=",` + quote(at.Add(1)) + `]]`, false},
		{`[["created_at","=","2026-01-02T04:04:05.0000006+01:00"]]`, true},
		{`[["created_at",">","0001-01-01T00:00:00Z"],["created_at","<","9999-01-01T00:00:00Z"]]`, true},
		{`[["created_at",">","9999-01-01T00:00:00Z"]]`, false},
		{`[["created_at","like","x"]]`, false},
		{`[["created_at",">=",` + quote(at) + `],["event_type","in",["delete"]]]`, false},
	} {
		f, err := parseFilter(json.RawMessage(c.filters))
		if err != nil {
			if !strings.Contains(c.filters, "like") {
				t.Errorf("parseFilter(%s): %v", c.filters, err)
			}
			continue
		}
		if got := f.matches(e); got != c.want {
			t.Errorf("%s matches = %v; want %v", c.filters, got, c.want)
		}
	}
}

func TestLogUUIDsAreTheirNumbers(t *testing.T) {
	for _, n := range []int64{0, 1, 35, 36, 1 << 40, 1<<63 - 1} {
		uuid := LogUUID("zzzzz", n)
		if got, ok := LogID("zzzzz", uuid); !ok || got != n || len(uuid) != 27 {
			t.Errorf("LogID(%s) = %d, %v; want %d", uuid, got, ok, n)
		}
	}
	for _, bad := range []string{"", "zzzzz-57u5n-", "xxxxx-57u5n-000000000000001", "zzzzz-57u5n-00000000000000A", "zzzzz-57u5n--00000000000001", "zzzzz-57u5n-zzzzzzzzzzzzzzz"} {
		if n, ok := LogID("zzzzz", bad); ok {
			t.Errorf("LogID(%q) = %d", bad, n)
		}
	}
}

func FuzzMessagesOfClients(f *testing.F) {
	f.Add([]byte(`{"method":"subscribe","filters":[["event_type","in",["create"]],["created_at",">","2026-01-02T03:04:05Z"]],"last_log_id":7}`))
	f.Add([]byte(`{"method":"unsubscribe","filters":null}`))
	f.Add([]byte(`{"method":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRequest(text)
		if err != nil {
			return
		}
		if r.filter.types > allTypes {
			t.Errorf("%s: types %x", text, r.filter.types)
		}
		again, err := parseRequest(text)
		if err != nil || again != r {
			t.Errorf("%s is read in two ways", text)
		}
		r.filter.matches(collfs.Event{Kind: collfs.Created, At: time.Unix(1, 0)})
	})
}
