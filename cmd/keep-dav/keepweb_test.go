package main

import (
	"archive/zip"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// fetch makes a request without credentials to a host of its own.
func (r *rig) fetch(t *testing.T, method, host, path string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return resp
}

func TestURLsOfAKeepWebOpenCollections(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/data", "")
	r.must(t, 201, "PUT", "/home/data/a.txt", "some text")
	id := string(do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/data"}).UUID)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	host := id + ".collections.example"

	resp := r.fetch(t, "GET", host, "/a.txt?api_token="+url.QueryEscape(token))
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) != 1 {
		t.Fatalf("GET with a token in the query = %d, %v", resp.StatusCode, resp.Cookies())
	}
	cookie := resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
	for _, c := range []struct {
		method, host, path, cookie string
		want                       int
	}{
		{"GET", host, resp.Header.Get("Location"), cookie, 200},
		{"PUT", host, "/b.txt", cookie, 201},
		{"PROPFIND", host, "/", cookie, 207},
		{"GET", host, "/a.txt", "", 401},
		{"GET", "drive.example", "/home/data/a.txt", cookie, 401},
		{"GET", "drive.example", "/c=" + id + "/t=" + token + "/b.txt", "", 200},
		{"GET", "drive.example", "/collections/download/" + id + "/" + token + "/a.txt", "", 200},
		{"GET", "drive.example", "/c=" + id + "/t=" + token + "x/a.txt", "", 404},
	} {
		if got := r.fetch(t, c.method, c.host, c.path, "Cookie", c.cookie, "Depth", "1"); got.StatusCode != c.want {
			t.Errorf("%s %s%s = %d; want %d", c.method, c.host, c.path, got.StatusCode, c.want)
		}
	}
	body := r.must(t, 200, "GET", "/c="+id+"/?include_collection_metadata=1", "", "Accept", "application/zip")
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil || len(z.File) != 3 || z.File[2].Name != "collection.json" {
		t.Errorf("zip: %v, %v", z, err)
	}
}

func TestFlagsForKeepWebAreChecked(t *testing.T) {
	for flags, good := range map[string]bool{
		"--download-host=download.example": true, "--download-host=download.example:8443": true, "--workbench=https://wb.example": true,
		"--trust-all-content --management-token=x --anonymous-token=v2/a/b": true,
		"--download-host=https://x":                                         false, "--download-host=:80": false, "--workbench=wb.example": false, "--management-token=a\tb c": false,
	} {
		parser, err := newParser(new(cli))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"serve"}
		for _, f := range strings.Split(flags, " --") {
			args = append(args, "--"+strings.TrimPrefix(f, "--"))
		}
		if _, err := parser.Parse(args); (err == nil) != good {
			t.Errorf("%q: %v; want it taken: %v", flags, err, good)
		}
	}
}
