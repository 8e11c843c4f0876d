package connect

import (
	"crypto/tls"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPageNeedsNoOtherDocument(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r := httptest.NewRequest("GET", "/connect", nil)
		r.Host = "files.example.org:8443"
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		Page("/store/tls/ca.pem", true).ServeHTTP(w, r)
		page := w.Body.String()
		base := "http://files.example.org:8443/"
		if secure {
			base = "https://files.example.org:8443/"
		}
		for _, want := range []string{"certutil -addstore Root keepdav-ca.pem", "FileSizeLimitInBytes", `\\files.example.org@SSL@8443\DavWWWRoot`,
			"mount volume &#34;" + base, "rclone config create keep webdav url=" + base} {
			if !strings.Contains(page, want) {
				t.Errorf("over https %v: the page lacks %s", secure, want)
			}
		}
		if strings.Contains(page, "docs/") {
			t.Error("the page sends its readers to the sources")
		}
		if got := strings.Contains(page, "sudo cp keepdav-ca.pem /etc/davfs2/certs/"); got != secure {
			t.Errorf("over https %v: the authority is put where davfs2 finds it: %v", secure, got)
		}
		if got := strings.Contains(page, "add-trusted-cert"); got != secure {
			t.Errorf("over https %v: to trust the authority on a Mac is shown: %v", secure, got)
		}
	}
}

func TestHostsThatAShellWouldTakeForMoreAreNotShown(t *testing.T) {
	r := httptest.NewRequest("GET", "/connect", nil)
	r.Host = "x;reboot"
	w := httptest.NewRecorder()
	Page("", true).ServeHTTP(w, r)
	if page := w.Body.String(); strings.Contains(page, "reboot") || !strings.Contains(page, "http://localhost/") {
		t.Error("the page has the host in its commands")
	}
}
