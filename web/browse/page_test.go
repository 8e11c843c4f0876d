package browse

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keepdav/davfs"
)

// bigDir is a directory with n files, and one directory after them.
type bigDir struct {
	davfs.FileSystem
	n int
}

func (b bigDir) Stat(context.Context, string) (davfs.Info, error) {
	return davfs.Info{Name: "d", Dir: true, Collection: "kdav0-4zz18-000000000000000"}, nil
}

func (b bigDir) List(context.Context, string) (davfs.Listing, error) { return &bigList{b.n, 0}, nil }

type bigList struct{ n, at int }

func (l *bigList) Next(p []davfs.Info) (int, error) {
	for i := range p {
		switch {
		case l.at > l.n:
			return i, nil
		case l.at == l.n:
			p[i] = davfs.Info{Name: "zdir", Dir: true}
		default:
			p[i] = davfs.Info{Name: fmt.Sprintf("f%06d", l.at), Size: int64(l.at % 7), ModTime: time.Unix(int64(l.at), 0)}
		}
		l.at++
	}
	return len(p), nil
}

func (l *bigList) Close() {}

func (b bigDir) Count(_ context.Context, _ string, limit int) (int, error) {
	return min(b.n+2, limit), nil
}

func TestZipOfTooMuchIsRefused(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/home/d/?zip", nil)
	if err := Page(w, r, View{FS: bigDir{n: zipLimit}, Name: "/home/d"}); err != nil || w.Code != http.StatusForbidden {
		t.Errorf("a zip of %d entries = %d, %v; want 403", zipLimit+2, w.Code, err)
	}
}

// post posts a form to a directory of a View, whose requests dav answers.
func post(v View, form string, dav http.HandlerFunc) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w, Act(w, r, v, dav)
}

func TestFormThatFailsIsLeftAfterAWhile(t *testing.T) {
	asked := 0
	w, err := post(View{FS: bigDir{}, Name: "/d"}, "do=delete"+strings.Repeat("&name=x", 10*failedLimit), func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusForbidden)
	})
	if err != nil || asked != failedLimit || !strings.Contains(w.Body.String(), "not tried") {
		t.Errorf("%d deletions were tried (%v); want %d and a word about it", asked, err, failedLimit)
	}
}

func TestFormLeadsBackToItsDirectory(t *testing.T) {
	for _, c := range []struct{ prefix, name, want string }{
		{"", "/", "/"},
		{"", "/a b", "/a%20b/"},
		{"", "/a/b", "/a/b/"},
		{"/c=x", "/", "/c=x/"},
		{"/c=x", "/a", "/c=x/a/"},
	} {
		w, err := post(View{FS: bigDir{}, Prefix: c.prefix, Name: c.name}, "do=make&new=n", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
		})
		if got := w.Header().Get("Location"); err != nil || got != c.want {
			t.Errorf("a form of %s%s leads to %q, %v; want %s", c.prefix, c.name, got, err, c.want)
		}
	}
}

func show(t *testing.T, n int, query string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/home/d/"+query, nil)
	if err := Page(w, r, View{FS: bigDir{n: n}, Name: "/home/d", User: "ann"}); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

func TestDirectoriesComeFirst(t *testing.T) {
	page := show(t, 10, "")
	if strings.Index(page, ">zdir<") > strings.Index(page, ">f000000<") {
		t.Error("a file comes before a directory")
	}
	page = show(t, 10, "?sort=-date")
	if strings.Index(page, ">f000009<") > strings.Index(page, ">f000000<") {
		t.Error("sorted by date, the latest first, the oldest comes first")
	}
	page = show(t, 10, "?sort=date")
	if strings.Index(page, ">f000009<") < strings.Index(page, ">f000000<") {
		t.Error("sorted by date, the oldest first, the latest comes first")
	}
	for query, want := range map[string]string{
		"":            `aria-sort="ascending"><a href="?sort=-name">Name`,
		"?sort=-size": `aria-sort="descending"><a href="?sort=size">Size`,
		"?sort=size":  `aria-sort="ascending"><a href="?sort=-size">Size`,
		"?sort=date":  `<a href="?sort=name">Name`,
	} {
		if page := show(t, 10, query); !strings.Contains(page, want) || strings.Count(page, "aria-sort=\"") != 1 {
			t.Errorf("the head of a list with %q lacks %s:\n%s", query, want, page)
		}
	}
	if page := show(t, 10, "?sort=%3Cscript%3E"); strings.Contains(page, "<script>") {
		t.Error("the order is not escaped")
	}
}

func TestHugeDirectoriesAreCutAndSaySo(t *testing.T) {
	page := show(t, rowLimit+10_000, "")
	if n := strings.Count(page, "<tr><td><input"); n < rowLimit || n > rowLimit+500 {
		t.Errorf("%d rows; want about %d", n, rowLimit)
	}
	if !strings.Contains(page, "There are more") {
		t.Error("nothing says that there are more")
	}
	if page := show(t, sortLimit+100, ""); strings.Contains(page, "There are more") || strings.Count(page, "<tr><td><input") != sortLimit+101 {
		t.Error("a directory between the limits is not shown whole")
	} else if !strings.Contains(page, "too many to be sorted") || strings.Contains(page, "?sort=") {
		t.Error("a directory that cannot be sorted offers it, and nothing says so")
	}
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 300_000_000: "286 MiB", 1 << 40: "1.0 TiB", 1<<20 - 1: "1.0 MiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q; want %q", n, got, want)
		}
	}
}

func TestHrefsAreEscapedOnce(t *testing.T) {
	for name, want := range map[string]string{"a b": "/h/a%20b", "a%20b": "/h/a%2520b", "?#": "/h/%3F%23", "ü": "/h/%C3%BC", "a:b": "/h/a:b", "\xff": "/h/%FF", `"<`: "/h/%22%3C"} {
		if got := Href("/h/", name, false); got != want {
			t.Errorf("Href(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestFailuresOfFormsHaveWords(t *testing.T) {
	long := strings.ToLower(http.StatusText(http.StatusRequestURITooLong))
	w, err := post(View{FS: bigDir{}, Name: "/d"}, "do=make&new="+strings.Repeat("n", 300), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestURITooLong)
	})
	if err != nil || !strings.Contains(w.Body.String(), "the name is too long") || strings.Contains(w.Body.String(), long) {
		t.Errorf("a name that is too long is answered with\n%s\n(%v); want it to say so", w.Body, err)
	}
}
