package dav

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// The tests of this file send what real clients send, in their order.

const (
	finderUA  = "WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)"
	windowsUA = "Microsoft-WebDAV-MiniRedir/10.0.19045"
	officeUA  = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0.17328; Pro)"
)

// patchXML is a PROPPATCH that sets props; Z: and n: are the client's business.
func patchXML(props string) string {
	return `<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>` + props + `</D:prop></D:set></D:propertyupdate>`
}

func TestEveryClientFindsTheServer(t *testing.T) {
	s := newServer(t)
	for _, p := range []string{"/", "/home", "/home/", "/home/coll/"} {
		a := s.want(200, "OPTIONS", p, "", "")
		if a.Header.Get("DAV") != "1, 2, 3, sabredav-partialupdate" || a.Header.Get("MS-Author-Via") != "DAV" || a.ContentLength != 0 {
			t.Errorf("OPTIONS %s: %v", p, a.Header)
		}
		if rs := s.propfind(p, "Depth: 0", ""); len(rs) != 1 || !strings.HasSuffix(rs[0].Href, "/") {
			t.Errorf("PROPFIND %s: %+v", p, rs)
		}
	}
	s.put("/home/coll/f")
	if a := s.do("OPTIONS", "/home/coll/f", "", ""); !strings.Contains(a.Header.Get("Allow"), "PUT") || strings.Contains(a.Header.Get("Allow"), "MKCOL") {
		t.Errorf("Allow of a file: %s", a.Header.Get("Allow"))
	}
	if a := s.do("OPTIONS", "/home/coll/none", "", ""); !strings.Contains(a.Header.Get("Allow"), "MKCOL") {
		t.Errorf("Allow of nothing: %s", a.Header.Get("Allow"))
	}
}

func TestFinderUpload(t *testing.T) {
	s := newServer(t)
	mac := s.as("ann", finderUA)
	mac.want(200, "OPTIONS", "/home/coll/", "", "")
	mac.propfind("/home/coll/", "Depth: 0", `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/><D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>`)
	name := "/home/coll/re%CC%81sume%CC%81.txt" // NFD
	mac.want(404, "PROPFIND", name, "Depth: 0", "")
	mac.want(404, "PROPFIND", "/home/coll/._x", "Depth: 0", "")
	mac.want(201, "PUT", name, "", "")
	tok := mac.lock(200, name, "Timeout: Second-600\nDepth: 0",
		`<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>http://www.apple.com/webdav_fs/</D:href></D:owner></D:lockinfo>`)
	mac.propfind(name, "Depth: 0", "")
	// Chunked, with the length in a header of its own.
	data := strings.Repeat("finder", 50_000)
	a := mac.doBody("PUT", name, fmt.Sprintf("X-Expected-Entity-Length: %d\nIf: (<%s>)", len(data), tok), strings.NewReader(data[:0]+data))
	if a.StatusCode != 204 {
		t.Fatalf("PUT of the data = %s %s", a.Status, a.text)
	}
	if rs := mac.propfind(name, "Depth: 0", ""); found(rs[0])["getcontentlength"] != "300000" {
		t.Errorf("size after the PUT: %v", found(rs[0]))
	}
	mac.want(200, "LOCK", name, "Timeout: Second-600\nIf: (<"+tok+">)", "") // refresh
	mac.want(204, "UNLOCK", name, "Lock-Token: <"+tok+">", "")
	if !s.locks.Empty() {
		t.Error("a lock is left")
	}
}

func TestFinderIsSparedQuotaAndProbes(t *testing.T) {
	s := newServer(t)
	mac := s.as("ann", finderUA)
	if got := mac.props("/home/coll/", "quota-available-bytes", "quota-used-bytes", "resourcetype"); len(got) != 1 {
		t.Errorf("Finder sees %v", got)
	}
	s.tree.opens, s.tree.stats = 0, 0
	for _, p := range []string{".Spotlight-V100", "mach_kernel", ".hidden"} {
		mac.want(404, "PROPFIND", "/home/coll/"+p, "Depth: 0", "")
		mac.want(404, "GET", "/home/coll/"+p, "", "")
	}
	for _, p := range []string{".metadata_never_index", ".ql_disablethumbnails"} {
		if a := mac.want(200, "GET", "/home/coll/"+p, "", ""); a.text != "" {
			t.Errorf("%s has content", p)
		}
		if got := mac.props("/home/coll/"+p, "getcontentlength", "resourcetype"); got["getcontentlength"] != "0" {
			t.Errorf("%s: %v", p, got)
		}
		s.want(404, "GET", "/home/coll/"+p, "", "") // others don't see it
	}
	if s.tree.opens > 2 || s.tree.stats > 0 {
		t.Errorf("the probes cost %d opens, %d stats", s.tree.opens, s.tree.stats)
	}
	opted := newServer(t, func(c *Config) { c.FinderUsed = true }).as("ann", finderUA)
	if got := opted.props("/home/coll/", "quota-used-bytes"); got["quota-used-bytes"] != "1000" {
		t.Errorf("with the quota asked for: %v", got)
	}
	for _, r := range mac.propfind("/home/coll/", "Depth: 1", "") {
		if strings.Contains(fmt.Sprint(r), "location") {
			t.Error("a location element duplicates entries in Finder")
		}
	}
}

const win32Times = `<Z:Win32CreationTime xmlns:Z="urn:schemas-microsoft-com:">Sun, 22 Nov 2026 10:00:00 GMT</Z:Win32CreationTime>` +
	`<Z:Win32LastAccessTime xmlns:Z="urn:schemas-microsoft-com:">Sun, 22 Nov 2026 10:00:01 GMT</Z:Win32LastAccessTime>` +
	`<Z:Win32LastModifiedTime xmlns:Z="urn:schemas-microsoft-com:">Sun, 22 Nov 2026 10:00:02 GMT</Z:Win32LastModifiedTime>` +
	`<Z:Win32FileAttributes xmlns:Z="urn:schemas-microsoft-com:">00000020</Z:Win32FileAttributes>`

func TestExplorerCopiesAFile(t *testing.T) {
	s := newServer(t)
	win := s.as("ann", windowsUA)
	win.want(200, "OPTIONS", "/", "", "")
	win.propfind("/home/coll", "Depth: 0", "") // without the slash
	a := win.want(404, "PROPFIND", "/home/coll/doc.txt", "Depth: 0", "")
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("404 with Cache-Control %q", a.Header.Get("Cache-Control"))
	}
	win.want(201, "PUT", "/home/coll/doc.txt", "", "")
	tok := win.lock(200, "/home/coll/doc.txt", "Timeout: Second-3600", exclusiveXML)
	m := win.want(207, "PROPPATCH", "/home/coll/doc.txt", "If: (<"+tok+">)", patchXML(win32Times))
	if len(found(win.multistatus(m)[0])) != 4 {
		t.Errorf("PROPPATCH = %s", m.text)
	}
	win.want(200, "HEAD", "/home/coll/doc.txt", "", "")
	win.want(204, "PUT", "/home/coll/doc.txt", "If: (<"+tok+">)", "content")
	win.want(207, "PROPPATCH", "/home/coll/doc.txt", "If: (<"+tok+">)", patchXML(win32Times))
	win.want(204, "UNLOCK", "/home/coll/doc.txt", "Lock-Token: <"+tok+">", "")
	got := s.props("/home/coll/doc.txt", "getlastmodified", "w:Win32CreationTime", "w:Win32LastModifiedTime", "w:Win32FileAttributes")
	if got["getlastmodified"] != "Sun, 22 Nov 2026 10:00:02 GMT" || got["Win32CreationTime"] != "Sun, 22 Nov 2026 10:00:00 GMT" ||
		got["Win32LastModifiedTime"] != got["getlastmodified"] || got["Win32FileAttributes"] != "00000020" {
		t.Errorf("properties: %v", got)
	}
	// On a directory too; and allprop has them for Windows.
	win.want(201, "MKCOL", "/home/coll/dir", "", "")
	win.want(207, "PROPPATCH", "/home/coll/dir", "", patchXML(win32Times))
	rs := win.propfind("/home/coll/", "Depth: 1", "")
	for _, r := range rs {
		if f := found(r); f["Win32FileAttributes"] == "" || f["Win32LastModifiedTime"] == "" {
			t.Errorf("allprop for Windows: %+v", f)
		}
	}
}

func TestWindowsListingStaysSmall(t *testing.T) {
	s := newServer(t)
	for i := range 2500 {
		s.tree.nodes[fmt.Sprintf("a file with a longer name %05d.docx", i)] = &memNode{data: []byte("x"), mtime: memTime}
	}
	a := s.as("ann", windowsUA).want(207, "PROPFIND", "/home/coll/", "Depth: 1", "")
	if len(a.text) >= 2_500_000 || strings.Contains(a.text, "404 Not Found") || strings.Contains(a.text, "\n") {
		t.Errorf("listing of 2,500 files has %d bytes", len(a.text))
	}
	if n := propertyBytes(s.multistatus(a)); n >= 1_000_000 {
		t.Errorf("2,500 files have %d bytes of properties", n)
	}
	if !strings.HasPrefix(a.text, xmlHead+`<D:multistatus xmlns:D="DAV:">`) {
		t.Errorf("begins with %.100s", a.text)
	}
}

// propertyBytes counts the values of a listing, which is what Windows limits.
func propertyBytes(rs []msResponse) int {
	n := 0
	for _, r := range rs {
		n += len(r.Href)
		for _, ps := range r.Propstats {
			for _, p := range ps.Prop.All {
				n += len(p.XMLName.Local) + len(p.Inner)
			}
		}
	}
	return n
}

func TestWindowsSeesNamesItDoesNotAllow(t *testing.T) {
	s := newServer(t)
	win := s.as("ann", windowsUA)
	s.put("/home/coll/a%3Ab%3F.txt", "/home/coll/dot.", "/home/coll/CON", "/home/coll/Mixed.Case")
	for _, r := range win.propfind("/home/coll/", "Depth: 1", "")[1:] {
		p, err := ParseDestination(r.Href, "")
		if err != nil || needsWindowsMapping(baseOf(p.Name)) {
			t.Errorf("Windows gets %s", r.Href)
		}
		if a := win.do("GET", r.Href, "", ""); a.StatusCode != 200 {
			t.Errorf("GET %s = %s", r.Href, a.Status)
		}
	}
	for _, r := range s.propfind("/home/coll/", "Depth: 1", "")[1:] {
		s.want(200, "GET", r.Href, "", "")
	}
	win.want(201, "PUT", "/home/coll/new%EF%80%BA.txt", "", "x")
	s.want(200, "GET", "/home/coll/new%3A.txt", "", "")
	// Renaming by case alone is a rename.
	win.want(201, "MOVE", "/home/coll/dot%EF%80%A9", "Destination: /home/coll/DOT%EF%80%A9", "")
	s.want(200, "GET", "/home/coll/DOT.", "", "")
}

func TestOfficeSavesADocument(t *testing.T) {
	s := newServer(t)
	off := s.as("ann", officeUA)
	s.put("/home/coll/doc.docx")
	off.want(200, "OPTIONS", "/", "", "")
	off.want(200, "HEAD", "/home/coll", "", "")
	off.want(200, "HEAD", "/home/coll/", "", "")
	a := off.want(200, "LOCK", "/home/coll/doc.docx", "Depth: 0\nTimeout: Second-3600", exclusiveXML)
	if strings.Contains(a.text, "lockroot") {
		t.Errorf("Office gets a lockroot: %s", a.text)
	}
	tok, _ := ParseLockToken(a.Header.Get("Lock-Token"))
	if g := off.want(200, "GET", "/home/coll/doc.docx", "", ""); !strings.Contains(g.Header.Get("Cache-Control"), "no-cache") {
		t.Errorf("Cache-Control: %q", g.Header.Get("Cache-Control"))
	}
	off.want(200, "LOCK", "/home/coll/doc.docx", "If: (<"+tok+">)\nTimeout: Second-3600", "")
	off.want(412, "LOCK", "/home/coll/doc.docx", "If: (<urn:uuid:wrong>)\nTimeout: Second-3600", "")
	off.want(400, "LOCK", "/home/coll/doc.docx", "", "")
	// The times come without the token; from somebody else they are refused.
	m := off.want(207, "PROPPATCH", "/home/coll/doc.docx", "", patchXML(win32Times))
	if len(found(off.multistatus(m)[0])) != 4 {
		t.Errorf("PROPPATCH without the token = %s", m.text)
	}
	s.as("bob", officeUA).want(423, "PROPPATCH", "/shared/x/doc.docx", "", patchXML(win32Times))
	off.want(423, "PROPPATCH", "/home/coll/doc.docx", "", patchXML(`<Z:a xmlns:Z="z">1</Z:a>`))
	// Save: a temporary file, moved over the document, whose lock stays.
	off.want(201, "PUT", "/home/coll/~tmp1.docx", "", "new content")
	off.want(423, "MOVE", "/home/coll/~tmp1.docx", "Destination: "+s.url+"/home/coll/doc.docx\nOverwrite: T", "")
	off.want(204, "MOVE", "/home/coll/~tmp1.docx", "Destination: "+s.url+"/home/coll/doc.docx\nOverwrite: T\nIf: <"+s.url+"/home/coll/doc.docx> (<"+tok+">)", "")
	if got := s.content("/home/coll/doc.docx"); got != "new content" {
		t.Errorf("content = %q", got)
	}
	s.as("bob", "").want(423, "PUT", "/shared/x/doc.docx", "", "x")
	off.want(204, "UNLOCK", "/home/coll/doc.docx", "Lock-Token: <"+tok+">", "")
}

func TestWindowsTimesRespectALockTakenMeanwhile(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	s.put("/home/coll/f")
	m.before = func() { s.as("bob", "").lock(200, "/shared/x/f", "", exclusiveXML) }
	s.want(423, "PROPPATCH", "/home/coll/f", "", patchXML(win32Times))
}

func TestGvfsWorksWithoutSlashes(t *testing.T) {
	s := newServer(t)
	gv := s.as("ann", "gvfs/1.54.0")
	gv.want(201, "MKCOL", "/home/coll/Folder", "", "")
	gv.want(201, "PUT", "/home/coll/Folder/pic.jpeg", "", "x")
	a := gv.want(207, "PROPFIND", "/home/coll/Folder", "Depth: 1", `<?xml version="1.0" encoding="utf-8" ?>
 <D:propfind xmlns:D="DAV:">
  <D:prop>
<D:creationdate/>
<D:displayname/>
<D:getcontentlength/>
<D:getcontenttype/>
<D:getetag/>
<D:getlastmodified/>
<D:resourcetype/>
  </D:prop>
 </D:propfind>`)
	if a.Header.Get("Content-Location") != "/home/coll/Folder/" {
		t.Errorf("Content-Location: %q", a.Header.Get("Content-Location"))
	}
	rs := gv.multistatus(a)
	if len(rs) != 2 || rs[0].Href != "/home/coll/Folder/" || found(rs[1])["getcontenttype"] != "image/jpeg" || found(rs[1])["displayname"] != "pic.jpeg" {
		t.Errorf("listing: %+v", rs)
	}
	if f := found(rs[1]); f["creationdate"] == "" || f["getetag"] == "" || f["resourcetype"] != "" {
		t.Errorf("file: %v", f)
	}
	if f := found(rs[0]); !strings.Contains(f["resourcetype"], "collection") {
		t.Errorf("folder: %v", f)
	}
	gv.want(201, "MOVE", "/home/coll/Folder", "Destination: "+s.url+"/home/coll/Renamed\nOverwrite: F", "")
	gv.want(201, "COPY", "/home/coll/Renamed", "Destination: "+s.url+"/home/coll/Copy", "")
	gv.want(204, "DELETE", "/home/coll/Renamed", "", "")
	gv.want(200, "GET", "/home/coll/Copy/pic.jpeg", "", "")
	gv.want(207, "PROPFIND", "/home", "Depth: 1", "")
}

func TestKDEAsksAboutLocks(t *testing.T) {
	s := newServer(t)
	kde := s.as("ann", "Mozilla/5.0 (X11; Linux x86_64) KHTML/5.115 (like Gecko) Konqueror/5 KIO/5.115")
	s.put("/home/coll/dir/", "/home/coll/dir/f")
	rs := kde.propfind("/home/coll/dir", "Depth: 1", `<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:creationdate/><D:getcontentlength/><D:displayname/><D:source/><D:getcontentlanguage/><D:getcontenttype/><D:getlastmodified/><D:getetag/><D:supportedlock/><D:lockdiscovery/><D:resourcetype/></D:prop></D:propfind>`)
	if f := found(rs[1]); !strings.Contains(f["supportedlock"], "exclusive") || f["getcontentlength"] == "" {
		t.Errorf("file: %v", f)
	}
	// It copies with Depth: 0 and walks by itself.
	kde.want(201, "COPY", "/home/coll/dir", "Destination: "+s.url+"/home/coll/dir2\nDepth: 0\nOverwrite: F", "")
	if rs := kde.propfind("/home/coll/dir2/", "Depth: 1", ""); len(rs) != 1 {
		t.Errorf("a copy of depth 0 has %d members", len(rs)-1)
	}
	kde.want(201, "COPY", "/home/coll/dir/f", "Destination: "+s.url+"/home/coll/dir2/f\nDepth: infinity", "")
}

func TestDavfs2EditsAFile(t *testing.T) {
	s := newServer(t)
	dfs := s.as("ann", "davfs2/1.7.0 neon/0.33.0")
	dfs.want(200, "OPTIONS", "/home/coll/", "", "")
	list := `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype xmlns="DAV:"/><getetag xmlns="DAV:"/><getcontentlength xmlns="DAV:"/><creationdate xmlns="DAV:"/><getlastmodified xmlns="DAV:"/><quota-available-bytes xmlns="DAV:"/><quota-used-bytes xmlns="DAV:"/><executable xmlns="http://apache.org/dav/props/"/></prop></propfind>`
	dfs.propfind("/home/coll/", "Depth: 1", list)
	// A new file: locked into being, then written, both times under the lock.
	tok := dfs.lock(201, "/home/coll/new.txt", "Depth: 0\nTimeout: Second-180", `<?xml version="1.0" encoding="utf-8"?><lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>ann</owner></lockinfo>`)
	etag := dfs.want(200, "HEAD", "/home/coll/new.txt", "", "").Header.Get("ETag")
	dfs.want(423, "PUT", "/home/coll/new.txt", "If-Match: "+etag, "no token")
	put := dfs.want(204, "PUT", "/home/coll/new.txt", "If: <"+s.url+"/home/coll/new.txt> (<"+tok+">)\nIf-Match: "+etag, "v1")
	head := dfs.want(200, "HEAD", "/home/coll/new.txt", "", "")
	if put.Header.Get("ETag") != head.Header.Get("ETag") || strings.HasPrefix(put.Header.Get("ETag"), "W/") {
		t.Errorf("ETag of PUT %s, of HEAD %s", put.Header.Get("ETag"), head.Header.Get("ETag"))
	}
	dfs.want(207, "PROPPATCH", "/home/coll/new.txt", "If: <"+s.url+"/home/coll/new.txt> (<"+tok+">)", patchXML(`<executable xmlns="http://apache.org/dav/props/">T</executable>`))
	if got := dfs.props("/home/coll/new.txt", "a:executable")["executable"]; got != "T" {
		t.Errorf("executable = %q", got)
	}
	dfs.want(200, "LOCK", "/home/coll/new.txt", "If: (<"+tok+">)\nTimeout: Second-180", "")
	dfs.want(204, "UNLOCK", "/home/coll/new.txt", "Lock-Token: <"+tok+">", "")
	if dfs.want(200, "GET", "/home/coll/new.txt", "", "").Header.Get("ETag") != head.Header.Get("ETag") {
		t.Error("the ETag changed with a property")
	}
	dfs.want(304, "GET", "/home/coll/new.txt", "If-None-Match: "+head.Header.Get("ETag"), "")
	// It renames what it has locked.
	tok = dfs.lock(200, "/home/coll/new.txt", "Depth: 0", exclusiveXML)
	dfs.want(201, "MOVE", "/home/coll/new.txt", "Destination: "+s.url+"/home/coll/renamed.txt\nIf: <"+s.url+"/home/coll/new.txt> (<"+tok+">)", "")
	if !s.locks.Empty() {
		t.Error("a lock is left behind")
	}
}

func TestRcloneSyncs(t *testing.T) {
	s := newServer(t)
	rc := s.as("ann", "rclone/v1.76.0")
	rc.want(404, "PROPFIND", "/home/coll/backup", "Depth: 0", "")
	rc.want(201, "MKCOL", "/home/coll/backup/", "", "")
	rc.want(405, "MKCOL", "/home/coll/backup/", "", "")
	sum := sha1.Sum([]byte("payload"))
	hexSum := hex.EncodeToString(sum[:])
	a := rc.want(201, "PUT", "/home/coll/backup/f.bin", "X-OC-Mtime: 1700000000\nOC-Checksum: SHA1:"+hexSum, "payload")
	if a.Header.Get("X-OC-Mtime") != "accepted" {
		t.Errorf("X-OC-Mtime: %q", a.Header.Get("X-OC-Mtime"))
	}
	body := `<?xml version="1.0" encoding="utf-8"?><d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"><d:prop><d:displayname/><d:getlastmodified/><d:getcontentlength/><d:resourcetype/><d:getcontenttype/><oc:checksums/><oc:permissions/></d:prop></d:propfind>`
	rs := rc.propfind("/home/coll/backup/", "Depth: 1", body)
	if f := found(rs[1]); f["getlastmodified"] != "Tue, 14 Nov 2023 22:13:20 GMT" || !strings.Contains(f["checksums"], "SHA1:"+hexSum) {
		t.Errorf("listing: %v", f)
	}
	rc.want(400, "PUT", "/home/coll/backup/f.bin", "OC-Checksum: SHA1:"+strings.Repeat("0", 40), "damaged")
	if got := s.content("/home/coll/backup/f.bin"); got != "payload" {
		t.Errorf("content = %q", got)
	}
	rc.want(400, "PUT", "/home/coll/backup/f.bin", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", "damaged")
	// Another content has another sum, worked out when it is asked for.
	rc.want(204, "PUT", "/home/coll/backup/f.bin", "", "other")
	other := sha1.Sum([]byte("other"))
	if got := rc.props("/home/coll/backup/f.bin", "o:checksums")["checksums"]; !strings.Contains(got, hex.EncodeToString(other[:])) {
		t.Errorf("checksums = %s", got)
	}
	rc.want(207, "PROPPATCH", "/home/coll/backup/f.bin", "", patchXML(`<D:lastmodified>1600000000</D:lastmodified>`))
	if got := rc.props("/home/coll/backup/f.bin", "getlastmodified")["getlastmodified"]; got != "Sun, 13 Sep 2020 12:26:40 GMT" {
		t.Errorf("getlastmodified = %s", got)
	}
	rc.want(207, "PROPPATCH", "/home/coll/backup/f.bin", "", patchXML(`<D:getlastmodified>Tue, 14 Nov 2023 22:13:20 GMT</D:getlastmodified>`))
	if got := rc.props("/home/coll/backup/f.bin", "getlastmodified")["getlastmodified"]; got != "Tue, 14 Nov 2023 22:13:20 GMT" {
		t.Errorf("getlastmodified = %s", got)
	}
	rc.want(201, "MOVE", "/home/coll/backup/f.bin", "Destination: "+s.url+"/home/coll/backup/g.bin\nOverwrite: T", "")
	rc.want(204, "DELETE", "/home/coll/backup/", "", "")
}

func TestPropertiesAreGivenBackAsSet(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	set := `<Z:a xmlns:Z="urn:z" xml:lang="en"><Z:b c="1">x &amp; y</Z:b></Z:a><e xmlns="urn:z"/><n xmlns="">none</n>`
	a := s.want(207, "PROPPATCH", "/home/coll/f", "", patchXML(set))
	if len(found(s.multistatus(a)[0])) != 3 {
		t.Fatalf("PROPPATCH = %s", a.text)
	}
	get := func() string {
		return s.want(207, "PROPFIND", "/home/coll/f", "Depth: 0", `<propfind xmlns="DAV:"><prop><a xmlns="urn:z"/><e xmlns="urn:z"/><n xmlns=""/><gone xmlns="urn:z"/></prop></propfind>`).text
	}
	text := get()
	for _, want := range []string{
		`<n:a xmlns:n="urn:z" xml:lang="en"><Z:b xmlns:Z="urn:z" c="1">x &amp; y</Z:b></n:a>`, `<n:e xmlns:n="urn:z"/>`, `<n>none</n>`,
		`<D:prop><n:gone xmlns:n="urn:z"/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("PROPFIND = %s\nlacks %s", text, want)
		}
	}
	// allprop and propname show them; COPY and MOVE keep them; DELETE ends them.
	if f := found(s.propfind("/home/coll/f", "Depth: 0", "")[0]); f["n"] != "none" || f["getcontentlength"] == "" {
		t.Errorf("allprop: %v", f)
	}
	if f := found(s.propfind("/home/coll/f", "Depth: 0", `<propfind xmlns="DAV:"><propname/></propfind>`)[0]); len(f) < 10 || f["n"] != "" {
		t.Errorf("propname: %v", f)
	}
	s.want(204, "PUT", "/home/coll/f", "", "new content")
	s.want(201, "COPY", "/home/coll/f", "Destination: /home/coll/g", "")
	s.want(204, "DELETE", "/home/coll/f", "", "")
	s.want(201, "PUT", "/home/coll/f", "", "unrelated")
	if strings.Contains(get(), "none</n>") {
		t.Error("a new file has the properties of a deleted one")
	}
	s.want(204, "MOVE", "/home/coll/g", "Destination: /home/coll/f", "")
	if get() != text {
		t.Errorf("after COPY and MOVE: %s", get())
	}
	s.want(207, "PROPPATCH", "/home/coll/f", "", `<propertyupdate xmlns="DAV:"><remove><prop><n xmlns=""/></prop></remove><set><prop><e xmlns="urn:z">1</e></prop></set><set><prop><e xmlns="urn:z">2</e></prop></set></propertyupdate>`)
	if text = get(); strings.Contains(text, "none") || !strings.Contains(text, `urn:z">2</n:e>`) {
		t.Errorf("after remove and set: %s", text)
	}
}

func TestProppatchIsAllOrNothing(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	a := s.want(207, "PROPPATCH", "/home/coll/f", "", patchXML(`<Z:a xmlns:Z="z">1</Z:a><D:getetag>x</D:getetag><Z:b xmlns:Z="z">1</Z:b>`))
	for _, want := range []string{"403 Forbidden", "424 Failed Dependency", "<D:cannot-modify-protected-property>"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("answer %s lacks %s", a.text, want)
		}
	}
	if f := found(s.propfind("/home/coll/f", "Depth: 0", "")[0]); f["a"] != "" {
		t.Error("half of a PROPPATCH was carried out")
	}
	big := strings.Repeat("x", maxDeadProp)
	if a := s.want(207, "PROPPATCH", "/home/coll/f", "", patchXML(`<Z:a xmlns:Z="z">`+big+`</Z:a>`)); !strings.Contains(a.text, "507 ") {
		t.Errorf("a property of 64 KiB: %s", a.text)
	}
	for i := range 6 {
		a = s.want(207, "PROPPATCH", "/home/coll/f", "", patchXML(fmt.Sprintf(`<Z:a%d xmlns:Z="z">%s</Z:a%d>`, i, big[:60<<10], i)))
	}
	if !strings.Contains(a.text, "507 ") {
		t.Errorf("360 KiB of properties: %s", a.text)
	}
	s.want(404, "PROPPATCH", "/home/coll/none", "", patchXML(`<Z:a xmlns:Z="z">1</Z:a>`))
}

func TestChecksumsAreVerifiedAndKept(t *testing.T) {
	s := newServer(t)
	md5 := "XUFAKrxLKna5cZ2REBfFkg==" // of "hello"
	s.want(201, "PUT", "/home/coll/f", "Content-MD5: "+md5, "hello")
	if got := s.props("/home/coll/f", "o:checksums")["checksums"]; !strings.Contains(got, "MD5:5d41402abc4b2a76b9719d911017c592") {
		t.Errorf("checksums = %s", got)
	}
	s.want(400, "PUT", "/home/coll/f", "Content-MD5: "+md5, "other")
	s.want(400, "PUT", "/home/coll/f", "Content-MD5: junk", "hello")
	s.want(204, "PUT", "/home/coll/f", "OC-Checksum: ADLER32:00 SHA256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "hello")
	s.want(400, "PUT", "/home/coll/f", "OC-Checksum: SHA256:00", "hello")
	// The sum that comes with a part is that of the part.
	s.want(400, "PUT", "/home/coll/f", "Content-Range: bytes 0-4/*\nContent-MD5: "+md5, "jello")
	s.want(400, "PATCH", "/home/coll/f", "Content-Type: application/x-sabredav-partialupdate\nX-Update-Range: append\nContent-MD5: "+md5, "jello")
	if got := s.content("/home/coll/f"); got != "hello" {
		t.Errorf("damaged parts made it %q", got)
	}
	s.want(204, "PUT", "/home/coll/f", "Content-Range: bytes 5-9/*\nContent-MD5: "+md5, "hello")
	// A part changes the content, so what was known of it is gone.
	s.want(204, "PUT", "/home/coll/f", "Content-MD5: "+md5, "hello")
	s.want(204, "PATCH", "/home/coll/f", "Content-Type: application/x-sabredav-partialupdate\nX-Update-Range: append", "!")
	if got := s.props("/home/coll/f", "o:checksums")["checksums"]; strings.Contains(got, "5d41402abc4b2a76b9719d911017c592") {
		t.Errorf("checksums of a changed file = %s", got)
	}
}

func TestWindowsFoldersWithForbiddenNamesWork(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/a%3F/", "/home/coll/a%3F/x%7C")
	win := s.as("ann", windowsUA)
	rs := win.propfind("/home/coll/", "Depth: infinity", "")
	if len(rs) != 3 || rs[2].Href != "/home/coll/a%EF%80%BF/x%EF%81%BC" {
		t.Fatalf("listing: %+v", rs)
	}
	for _, r := range rs {
		if f := found(win.propfind(r.Href, "Depth: 0", "")[0]); len(f) == 0 {
			t.Errorf("PROPFIND %s: nothing", r.Href)
		}
	}
	win.want(201, "MOVE", rs[2].Href, "Destination: /home/coll/a%EF%80%BF/y%EF%80%BA", "")
	s.want(200, "GET", "/home/coll/a%3F/y%3A", "", "")
}
