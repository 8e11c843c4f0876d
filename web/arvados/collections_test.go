package arvados

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
)

func TestManifestsAreCheckedBeforeTheyAreTaken(t *testing.T) {
	e := newEnv(t)
	foo := e.block("alice", "foo")
	bare := locatorOf("foo")
	empty := "d41d8cd98f00b204e9800998ecf8427e+0"
	other := e.block("bob", "foo")
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"Empty", "", 200},
		{"OneFile", ". " + foo + " 0:3:a\n", 200},
		{"Dots", ". " + foo + " 0:3:... 0:3:.foo 0:3:foo.\n", 200},
		{"EscapedSpace", ". " + foo + " 0:3:a\\040b 0:0:\\072\n", 200},
		{"PathInName", ". " + foo + " 0:3:foo/bar.txt\n", 200},
		{"EscapedSlash", ".\\057Data " + foo + " 0:3:a\n", 200},
		{"EscapedDotInStream", "\\056\\057Data " + foo + " 0:3:a\n", 200},
		{"EscapedTab", "./\\011foo " + foo + " 0:3:a\n", 200},
		{"FourDigits", "./\\134444 " + foo + " 0:3:a\n", 200},
		{"LikeALocator", ". " + foo + " 0:3:d41d8cd98f00b204e9800998ecf8427e+0\n", 200},
		{"LeadingZeros", ". " + foo + " 000:003:a\n", 200},
		{"EmptyUnsigned", "./d " + empty + " 0:0:\\056\n", 200},
		{"Marker", "./d " + empty + " 0:0:.\n", 200},
		{"NoLineEnd", ". " + foo + " 0:3:a", 422},
		{"BlankLine", ". " + foo + " 0:3:a\n\n", 422},
		{"LeadingSpace", " . " + foo + " 0:3:a\n", 422},
		{"TrailingSpace", ". " + foo + " 0:3:a \n", 422},
		{"DoubleSpace", ".  " + foo + " 0:3:a\n", 422},
		{"Tab", ".\t" + foo + " 0:3:a\n", 422},
		{"NoDot", "x " + foo + " 0:3:a\n", 422},
		{"StreamSlash", "./ " + foo + " 0:3:a\n", 422},
		{"StreamDoubleSlash", "./x//y " + foo + " 0:3:a\n", 422},
		{"StreamDotDot", "./a/../b " + foo + " 0:3:a\n", 422},
		{"NoLocator", ". 0:3:a\n", 422},
		{"NoFile", ". " + foo + "\n", 422},
		{"LocatorAfterFile", ". " + foo + " 0:3:a " + foo + "\n", 422},
		{"NoName", ". " + foo + " 0:0:\n", 422},
		{"AbsoluteName", ". " + foo + " 0:0:/x\n", 422},
		{"SlashAtEnd", ". " + foo + " 0:0:x/\n", 422},
		{"MarkerWithSize", ". " + foo + " 0:1:.\n", 422},
		{"DotDot", ". " + foo + " 0:0:..\n", 422},
		{"EscapedDotDot", ". " + foo + " 0:0:\\056\\056\n", 422},
		{"EscapedDigits", ". " + foo + " \\060:\\060:foo\n", 422},
		{"BigEscape", ". " + foo + " 0:0:\\444\n", 422},
		{"HalfEscape", ". " + foo + " 0:0:foo\\\n", 422},
		{"NotUTF8", ". " + foo + " 0:3:\\377\n", 200},
		{"BeyondTheEnd", ". " + foo + " 0:4:a\n", 422},
		{"FileAndDirectory", ". " + foo + " 0:3:a 0:3:a/b\n", 422},
		{"NoSize", ". acbd18db4cc2f85cedef654fccc4a4d8 0:0:a\n", 422},
		{"Unsigned", ". " + bare + " 0:3:a\n", 403},
		{"SignedForAnother", ". " + other + " 0:3:a\n", 403},
		{"TamperedWith", ". " + strings.Replace(foo, "+A", "+Af", 1) + " 0:3:a\n", 403},
		{"NotHere", ". " + e.signerFor("alice", locatorOf("never stored")) + " 0:3:a\n", 422},
	} {
		status, got := e.do("alice", "POST", "collections", `{"collection":{"name":`+quoted(c.name)+`,"manifest_text":`+quoted(c.text)+`}}`)
		if status != c.want {
			t.Errorf("%s: %q = %d %v; want %d", c.name, c.text, status, got["errors"], c.want)
			continue
		}
		if status != 200 {
			continue
		}
		// Its own text and hash come back, as often as they are asked for.
		want := signatures.ReplaceAllString(c.text, "")
		if got := e.manifest("alice", got["uuid"].(string)); got != want {
			t.Errorf("%s: manifest is %q; want %q", c.name, got, want)
		}
		if got["portable_data_hash"] != manifest.PDH(want) {
			t.Errorf("%s: data hash is %v; want %s", c.name, got["portable_data_hash"], manifest.PDH(want))
		}
	}
	// Administrators need no signatures.
	if status, _ := e.do("root", "POST", "collections", `{"collection":{"name":"x","manifest_text":". `+bare+` 0:3:a\n"}}`); status != 200 {
		t.Errorf("an administrator's unsigned manifest = %d", status)
	}
	// Signatures end.
	e.wait(15 * 24 * time.Hour)
	if status, _ := e.do("alice", "POST", "collections", `{"collection":{"name":"late","manifest_text":`+quoted(". "+foo+" 0:3:a\n")+`}}`); status != 403 {
		t.Errorf("a signature of two weeks ago = %d; want 403", status)
	}
}

// signerFor signs a locator of a block that may not be there.
func (e *env) signerFor(user, locator string) string {
	loc, err := parseLocator(locator)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.signer.Sign(loc, e.tokens[user]).String()
}

func TestWhatMayBeDoneIsUpToThePermissions(t *testing.T) {
	e := newEnv(t)
	secret := e.create("alice", "secret", "")
	read, write := e.project(e.users["alice"], "read"), e.project(e.users["alice"], "write")
	for project, level := range map[collfs.UUID]collfs.Level{read: collfs.CanRead, write: collfs.CanWrite} {
		if err := e.sql.Grant(t.Context(), e.users["bob"], project, level); err != nil {
			t.Fatal(err)
		}
	}
	in := func(p collfs.UUID) string {
		got := e.want("alice", "POST", "collections", `{"collection":{"name":"c","owner_uuid":`+quoted(p)+`,"manifest_text":`+quoted(". "+e.block("alice", "in "+string(p))+" 0:3:f\n")+`}}`)
		return got["uuid"].(string)
	}
	readable, writable := in(read), in(write)
	pdh := e.want("alice", "GET", "collections/"+readable, "")["portable_data_hash"].(string)
	hidden := e.create("alice", "hidden", ". "+e.block("alice", "hidden")+" 0:3:f\n")
	hiddenPDH := e.want("alice", "GET", "collections/"+hidden, "")["portable_data_hash"].(string)
	for _, c := range []struct {
		user, method, path, body string
		want                     int
	}{
		{"bob", "GET", "collections/" + secret, "", 404},
		{"bob", "PATCH", "collections/" + secret, `{"name":"x"}`, 404},
		{"bob", "DELETE", "collections/" + secret, "", 404},
		{"bob", "POST", "collections/" + secret + "/trash", "", 404},
		{"root", "GET", "collections/" + secret, "", 200},
		{"bob", "GET", "collections/" + readable, "", 200},
		{"bob", "PATCH", "collections/" + readable, `{"name":"x"}`, 403},
		{"bob", "DELETE", "collections/" + readable, "", 403},
		{"bob", "PATCH", "collections/" + writable, `{"description":"x"}`, 200},
		{"bob", "PATCH", "collections/" + writable, `{"owner_uuid":` + quoted(read) + `}`, 403},
		{"bob", "PATCH", "collections/" + writable, `{"owner_uuid":` + quoted(e.users["alice"]) + `}`, 422},
		{"bob", "PATCH", "collections/" + writable, `{"owner_uuid":"zzzzz-j7d0g-000000000000000"}`, 422},
		{"bob", "POST", "collections", `{"owner_uuid":` + quoted(read) + `,"name":"new"}`, 403},
		{"bob", "POST", "collections", `{"owner_uuid":` + quoted(write) + `,"name":"new"}`, 200},
		{"bob", "POST", "collections", `{"owner_uuid":` + quoted(e.users["alice"]) + `,"name":"new"}`, 422},
		{"bob", "GET", "collections/" + pdh, "", 200},
		{"bob", "GET", "collections/" + hiddenPDH, "", 404},
		{"bob", "PATCH", "collections/" + writable, `{"replace_files":{"/x":` + quoted(hiddenPDH+"/f") + `}}`, 404},
		{"bob", "PATCH", "collections/" + writable, `{"replace_files":{"/x":` + quoted(pdh+"/f") + `}}`, 200},
		{"bob", "GET", "collections/" + secret + "?reader_tokens=" + quoted([]string{e.tokens["alice"]}), "", 200},
		{"bob", "GET", "collections/zzzzz-4zz18-000000000000000", "", 404},
		{"bob", "GET", "collections/nonsense", "", 404},
	} {
		if status, got := e.do(c.user, c.method, strings.ReplaceAll(c.path, `"`, "%22"), c.body); status != c.want {
			t.Errorf("%s: %s %s %s = %d %v; want %d", c.user, c.method, c.path, c.body, status, got["errors"], c.want)
		}
	}
	for user, want := range map[string]float64{"alice": 5, "bob": 3, "root": 5} {
		if got := e.want(user, "GET", "collections", ""); got["items_available"] != want {
			t.Errorf("%s sees %v collections; want %v", user, got["items_available"], want)
		}
	}
}

// Two clients read, change and write the whole manifest: what the first one wrote stays.
func TestAnUpdateOfAnOlderStateIsMerged(t *testing.T) {
	e := newEnv(t)
	a, b, c := e.block("alice", "aaa"), e.block("alice", "bbb"), e.block("alice", "ccc")
	id := e.create("alice", "c", ". "+a+" 0:3:base\n")
	put := func(agent, text string) map[string]any {
		t.Helper()
		r := newRequest("PATCH", prefix+"collections/"+id, "application/json", `{"collection":{"manifest_text":`+quoted(text)+`},"select":["portable_data_hash"]}`)
		r.Header.Set("Authorization", "Bearer "+e.tokens["alice"])
		r.Header.Set("User-Agent", agent)
		status, _, got := call(t, e.api, r)
		if status != 200 {
			t.Fatalf("PATCH = %d %v", status, got)
		}
		return got
	}
	get := func(agent string) {
		t.Helper()
		r := newRequest("GET", prefix+"collections/"+id, "", "")
		r.Header.Set("Authorization", "Bearer "+e.tokens["alice"])
		r.Header.Set("User-Agent", agent)
		if status, _, _ := call(t, e.api, r); status != 200 {
			t.Fatalf("GET = %d", status)
		}
	}
	get("one")
	get("two")
	put("one", ". "+a+" "+b+" 0:3:base 3:3:one\n")
	put("two", ". "+a+" "+c+" 0:3:base 3:3:two\n")
	if got, want := filesOf(e.manifest("alice", id)), "base one two"; got != want {
		t.Fatalf("files are %s; want %s", got, want)
	}
	// The second doesn't know of the merge and goes on with what it has.
	put("two", ". "+a+" "+c+" 0:3:base 3:3:two 3:3:more\n")
	if got, want := filesOf(e.manifest("alice", id)), "base more one two"; got != want {
		t.Errorf("files are %s; want %s", got, want)
	}
	// What a drive writes meanwhile stays, too, and a conflict keeps both.
	get("one")
	e.write(id, "drive", "by a drive")
	e.write(id, "base", "changed by a drive")
	put("one", ". "+b+" 0:3:base 0:3:one\n")
	got := filesOf(e.manifest("alice", id))
	if !strings.Contains(got, "drive") || !strings.Contains(got, "~conflict~") || e.read(id, "base") != "bbb" {
		t.Errorf("files are %s, and base is %q", got, e.read(id, "base"))
	}
	// One that has seen everything may delete everything.
	get("one")
	put("one", "")
	if got := filesOf(e.manifest("alice", id)); got != "" {
		t.Errorf("files are %s; want none", got)
	}
}

// A client that was given nothing replaces what is there, which stays as a version.
func TestWhatIsReplacedBlindlyStaysAsAVersion(t *testing.T) {
	e := newEnv(t)
	a, b := e.block("alice", "aaa"), e.block("alice", "bbb")
	id := e.create("alice", "c", ". "+a+" 0:3:first\n")
	for i, text := range []string{". " + b + " 0:3:second\n", ". " + a + " 0:3:third\n"} {
		e.api = e.reopened() // nothing is remembered
		got := e.want("alice", "PATCH", "collections/"+id, `{"collection":{"manifest_text":`+quoted(text)+`}}`)
		if got["version"] != float64(i+2) {
			t.Errorf("version is %v; want %d", got["version"], i+2)
		}
	}
	list := e.want("alice", "GET", "collections?include_old_versions=true&order=version&filters="+url.QueryEscape(`[["current_version_uuid","=",`+quoted(id)+`]]`), "")
	items := list["items"].([]any)
	if len(items) != 3 {
		t.Fatalf("there are %d versions; want 3", len(items))
	}
	var was []string
	for _, i := range items {
		v := i.(map[string]any)
		uuid := v["uuid"].(string)
		was = append(was, filesOf(e.manifest("alice", uuid)))
		if (uuid == id) != (v["current_version_uuid"] == uuid) || v["current_version_uuid"] != id {
			t.Errorf("version %v has uuid %s of %v", v["version"], uuid, v["current_version_uuid"])
		}
		if uuid == id {
			continue
		}
		if status, _ := e.do("alice", "PATCH", "collections/"+uuid, `{"name":"x"}`); status != 422 {
			t.Errorf("an update of a past version = %d; want 422", status)
		}
		if status, _ := e.do("alice", "DELETE", "collections/"+uuid, ""); status != 422 {
			t.Errorf("the deletion of a past version = %d; want 422", status)
		}
		if status, _ := e.do("bob", "GET", "collections/"+uuid, ""); status != 404 {
			t.Errorf("another user's past version = %d; want 404", status)
		}
	}
	if got := strings.Join(was, ","); got != "first,second,third" {
		t.Errorf("versions have %s", got)
	}
	// An old content is found by its hash as well.
	pdh := items[0].(map[string]any)["portable_data_hash"].(string)
	if got := e.want("alice", "GET", "collections/"+pdh, ""); filesOf(got["manifest_text"].(string)) != "first" {
		t.Errorf("by its hash the first version is %v", got["manifest_text"])
	}
}

// reopened is the API as it is after a restart.
func (e *env) reopened() *API {
	a := New(e.api.conf)
	a.AddCollections(e.conf)
	return a
}

func TestConditionsOfAnUpdateAreChecked(t *testing.T) {
	e := newEnv(t)
	a, b := e.block("alice", "aaa"), e.block("alice", "bbb")
	id := e.create("alice", "c", ". "+a+" 0:3:f\n")
	pdh := e.want("alice", "GET", "collections/"+id, "")["portable_data_hash"].(string)
	text := quoted(". " + b + " 0:3:g\n")
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"manifest_text":` + text + `,"if_portable_data_hash":"ffffffffffffffffffffffffffffffff+9"}`, 412},
		{`{"manifest_text":` + text + `,"if_version":7}`, 412},
		{`{"name":"other","if_version":7}`, 412},
		{`{"manifest_text":` + text + `,"if_portable_data_hash":"nonsense"}`, 422},
		{`{"replace_files":{"/x":"current/f"},"if_version":1}`, 200},
		{`{"manifest_text":` + text + `,"if_portable_data_hash":"` + pdh + `"}`, 412}, // it was, before
	} {
		if status, got := e.do("alice", "PATCH", "collections/"+id, c.body); status != c.want {
			t.Errorf("%s = %d %v; want %d", c.body, status, got["errors"], c.want)
		}
	}
	pdh = e.want("alice", "GET", "collections/"+id, "")["portable_data_hash"].(string)
	if status, _ := e.do("alice", "PATCH", "collections/"+id, `{"manifest_text":`+text+`,"if_portable_data_hash":"`+pdh+`"}`); status != 200 {
		t.Errorf("with the right hash = %d; want 200", status)
	}
	if got := filesOf(e.manifest("alice", id)); got != "g" {
		t.Errorf("files are %s; want g", got)
	}
}

func TestReplaceFiles(t *testing.T) {
	e := newEnv(t)
	foo, bar := e.block("alice", "foo"), e.block("alice", "bar")
	start := ". " + foo + " " + bar + " 0:3:a 3:3:b\n./d " + foo + " 0:3:x 0:0:y\n./d/e " + bar + " 0:3:z\n"
	for _, c := range []struct {
		name, files, want string
		status            int
	}{
		{"Swap", `{"/a":"current/b","/b":"current/a"}`, "a=bar b=foo d/x d/y d/e/z", 200},
		{"Rotate", `{"/a":"current/b","/b":"current/d/x","/d/x":"current/a"}`, "a=bar b=foo d/x=foo d/y d/e/z", 200},
		{"Rename", `{"/a":"","/c":"current/a"}`, "b c=foo d/x d/y d/e/z", 200},
		{"RenameDirectory", `{"/d":"","/f/g":"current/d"}`, "a b f/g/x=foo f/g/y f/g/e/z=bar", 200},
		{"RenameIntoItself", `{"/d":"","/d/k":"current/d"}`, "a b d/k/x d/k/y d/k/e/z", 200},
		{"RenameOut", `{"/d":"","/q":"current/d/e"}`, "a b q/z=bar", 200},
		{"CopyDirectory", `{"/k":"current/d"}`, "a b d/x d/y d/e/z k/x=foo k/y k/e/z=bar", 200},
		{"CopyIntoItself", `{"/d/k":"current/d"}`, "a b d/x d/y d/e/z d/k/x d/k/y d/k/e/z", 200},
		{"DirectoryOverFile", `{"/a":"current/d/e"}`, "a/z=bar b d/x d/y d/e/z", 200},
		{"FileOverDirectory", `{"/d":"current/a"}`, "a b d=foo", 200},
		{"DeleteAndFillAgain", `{"/d":"","/d/new":"current/b"}`, "a b d/new=bar", 200},
		{"FileBecomesDirectory", `{"/a":"","/a/c":"current/b"}`, "a/c=bar b d/x d/y d/e/z", 200},
		{"NothingNew", `{"/a":"current/a"}`, "a=foo b=bar d/x d/y d/e/z", 200},
		{"DeleteMissing", `{"/nothing":"","/a/below/a/file":""}`, "a b d/x d/y d/e/z", 200},
		{"DeleteAll", `{"/":""}`, "", 200},
		{"DeleteAllButOne", `{"/":"","/only":"current/d/x"}`, "only=foo", 200},
		{"RootBecomesDirectory", `{"/":"current/d"}`, "x=foo y e/z=bar", 200},
		{"RootStays", `{"/":"current/"}`, "a b d/x d/y d/e/z", 200},
		{"EmptyPDH", `{"/new":"d41d8cd98f00b204e9800998ecf8427e+0/"}`, "a b d/x d/y d/e/z new/\\056", 200},
		{"MovedAndReplaced", `{"/a":"current/b","/b":""}`, "a=bar d/x d/y d/e/z", 200},
		{"MoveWithinMovedDirectory", `{"/d":"","/n":"current/d","/m":"current/d/x"}`, "a b m=foo n/x n/y n/e/z", 200},
		{"SlashAtTheEndOfASource", `{"/k":"current/d/"}`, "a b d/x d/y d/e/z k/x k/y k/e/z", 200},
		{"NoSource", `{"/x":"current/nothing"}`, "", 400},
		{"FileOverRoot", `{"/":"current/a"}`, "", 400},
		{"Relative", `{"x":""}`, "", 400},
		{"SlashAtTheEnd", `{"/d/":""}`, "", 400},
		{"DoubleSlash", `{"//x":""}`, "", 400},
		{"DotDot", `{"/d/../x":""}`, "", 400},
		{"DotDotInSource", `{"/x":"current/d/../a"}`, "", 400},
		{"Empty", `{"":""}`, "", 400},
		{"InsideFilled", `{"/d":"current/a","/d/x":"current/b"}`, "", 400},
		{"InsideFilledDelete", `{"/d":"current/a","/d/x":""}`, "", 400},
		{"InsideRoot", `{"/":"current/d","/x":"current/a"}`, "", 400},
		{"BelowAFile", `{"/a/x":"current/b"}`, "", 400},
		{"UUID", `{"/x":"zzzzz-4zz18-000000000000000/a"}`, "", 400},
		{"Nonsense", `{"/x":"whatever"}`, "", 400},
		{"NoManifest", `{"/x":"manifest_text/a"}`, "", 400},
		{"UnknownPDH", `{"/x":"ffffffffffffffffffffffffffffffff+9/a"}`, "", 404},
		{"NotStrings", `{"/x":7}`, "", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := e.create("alice", c.name, start)
			status, got := e.do("alice", "PATCH", "collections/"+id, `{"collection":{},"replace_files":`+c.files+`}`)
			if status != c.status {
				t.Fatalf("%s = %d %v; want %d", c.files, status, got["errors"], c.status)
			}
			want := c.want
			if status != 200 {
				want = "a=foo b=bar d/x d/y d/e/z"
			}
			var names []string
			for f := range strings.FieldsSeq(want) {
				name, content, checked := strings.Cut(f, "=")
				names = append(names, name)
				if is := e.read(id, name); checked && is != content {
					t.Errorf("%s has %q; want %q", name, is, content)
				}
			}
			slices.Sort(names)
			is := strings.Fields(filesOf(e.manifest("alice", id)))
			slices.Sort(is)
			if !slices.Equal(is, names) {
				t.Errorf("files are %s; want %s", is, names)
			}
		})
	}
}

func TestReplaceFilesWithAManifest(t *testing.T) {
	e := newEnv(t)
	foo := e.block("alice", "foo")
	id := e.create("alice", "c", ". "+foo+" 0:3:a\n")
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"collection":{"manifest_text":` + quoted("./n "+foo+" 0:3:x\n") + `},"replace_files":{"/m":"manifest_text/n"}}`, 200},
		{`{"collection":{"manifest_text":` + quoted("./n "+foo+" 0:3:x\n") + `},"replace_files":{"/a":""}}`, 400}, // it is not used
		{`{"collection":{"manifest_text":` + quoted("./n "+foo+" 0:3:x\n") + `},"replace_files":{"/m":"manifest_text/o"}}`, 400},
		{`{"collection":{"manifest_text":` + quoted(". "+locatorOf("foo")+" 0:3:x\n") + `},"replace_files":{"/m":"manifest_text/x"}}`, 403},
	} {
		if status, got := e.do("alice", "PATCH", "collections/"+id, c.body); status != c.want {
			t.Errorf("%s = %d %v; want %d", c.body, status, got["errors"], c.want)
		}
	}
	if got := filesOf(e.manifest("alice", id)); got != "a m/x" {
		t.Errorf("files are %s; want a m/x", got)
	}
	got := e.want("alice", "POST", "collections", `{"collection":{"name":"new","manifest_text":`+quoted(". "+foo+" 0:3:x\n")+`},"replace_files":{"/deep/er":"manifest_text/x"}}`)
	if is := filesOf(got["manifest_text"].(string)); is != "deep/er" || got["file_count"] != 1.0 {
		t.Errorf("made with replace_files it has %s, %v files", is, got["file_count"])
	}
}

// Many add files at once: none is lost.
func TestConcurrentReplacementsAreAllThere(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", "")
	const clients, each = 6, 6
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("f%d-%d", n, i)
				text := ". " + e.block("alice", name) + " 0:" + fmt.Sprint(len(name)) + ":x\n"
				status, got := e.do("alice", "PATCH", "collections/"+id, `{"collection":{"manifest_text":`+quoted(text)+`},"replace_files":{"/`+name+`":"manifest_text/x"},"select":["uuid"]}`)
				if status != 200 {
					t.Errorf("%s = %d %v", name, status, got)
				}
			}
		})
	}
	wg.Wait()
	if got := len(strings.Fields(filesOf(e.manifest("alice", id)))); got != clients*each {
		t.Errorf("there are %d files; want %d", got, clients*each)
	}
	// Of those who rename one file just one succeeds.
	won := make([]int, 8)
	for n := range won {
		wg.Go(func() {
			won[n], _ = e.do("alice", "PATCH", "collections/"+id, fmt.Sprintf(`{"replace_files":{"/f0-0":"","/won-%d":"current/f0-0"}}`, n))
		})
	}
	wg.Wait()
	counts := make(map[int]int)
	for _, status := range won {
		counts[status]++
	}
	if counts[200] != 1 || counts[400] != len(won)-1 {
		t.Errorf("of %d renames of one file: %v; want one 200, and else 400", len(won), counts)
	}
}

func TestReplaceSegments(t *testing.T) {
	e := newEnv(t)
	foo, bar, both := e.block("alice", "foo"), e.block("alice", "bar"), e.block("alice", "foobar")
	id := e.create("alice", "c", ". "+foo+" "+bar+" 0:3:a 3:3:b 0:6:ab\n")
	send := func(pairs ...string) (int, map[string]any) {
		set := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			set[pairs[i]] = pairs[i+1]
		}
		return e.do("alice", "PATCH", "collections/"+id, `{"replace_segments":`+quoted(set)+`}`)
	}
	for _, c := range []struct {
		name  string
		pairs []string
		want  int
	}{
		{"LengthsDiffer", []string{foo + " 0 3", both + " 0 2"}, 400},
		{"BeyondTheEnd", []string{foo + " 0 3", both + " 5 3"}, 400},
		{"NoLocator", []string{"foo 0 3", both + " 0 3"}, 400},
		{"NoLength", []string{foo + " 0", both + " 0 3"}, 400},
		{"Unsigned", []string{foo + " 0 3", locatorOf("foobar") + " 0 3"}, 403},
		{"OtherBytes", []string{foo + " 0 3", both + " 3 3"}, 400},
		{"OtherBytesAndSize", []string{locatorOf("foo") + "0 0 3", both + " 3 3"}, 400},
		{"MatchesNothing", []string{foo + " 0 3", both + " 0 3", foo + " 1 1", both + " 1 1"}, 200}, // so nothing is replaced by that block
	} {
		if status, got := send(c.pairs...); status != c.want {
			t.Errorf("%s = %d %v; want %d", c.name, status, got["errors"], c.want)
		}
		if got := e.manifest("alice", id); strings.Contains(got, locatorOf("foobar")) {
			t.Errorf("%s: manifest is %s", c.name, got)
		}
	}
	if status, got := send(foo+" 0 3", both+" 0 3", bar+" 0 3", both+" 3 3"); status != 200 {
		t.Fatalf("replace_segments = %d %v", status, got)
	}
	want := ". " + locatorOf("foobar") + " 0:3:a 0:6:ab 3:3:b\n"
	if got := e.manifest("alice", id); got != want {
		t.Errorf("manifest is %q; want %q", got, want)
	}
}

func TestAttributesAreKept(t *testing.T) {
	e := newEnv(t)
	got := e.want("alice", "POST", "collections", `{"collection":{"name":"c","description":"d","properties":{"k":[1,"x"]},"replication_desired":3,
		"storage_classes_desired":["hot"],"preserve_version":true,"etag":"ignored","file_count":7}}`)
	id := got["uuid"].(string)
	for range 2 {
		for field, want := range map[string]any{"name": "c", "description": "d", "replication_desired": 3.0, "preserve_version": true, "version": 1.0, "file_count": 0.0,
			"modified_by_user_uuid": string(e.users["alice"])} {
			if got[field] != want {
				t.Errorf("%s is %v; want %v", field, got[field], want)
			}
		}
		if quoted(got["properties"]) != `{"k":[1,"x"]}` || quoted(got["storage_classes_desired"]) != `["hot"]` {
			t.Errorf("properties %v, storage classes %v", got["properties"], got["storage_classes_desired"])
		}
		got = e.want("alice", "GET", "collections/"+id, "")
	}
	got = e.want("root", "PUT", "collections/"+id, `{"collection":{"description":null,"properties":{},"replication_desired":null,"storage_classes_desired":null,"name":"n"}}`)
	if got["description"] != nil || quoted(got["properties"]) != `{}` || got["replication_desired"] != nil || quoted(got["storage_classes_desired"]) != `["default"]` ||
		got["name"] != "n" || got["modified_by_user_uuid"] != string(e.users["root"]) {
		t.Errorf("after an update: %v", got)
	}
	for _, body := range []string{`{"collection":{"name":"a/b"}}`, `{"collection":{"name":".."}}`, `{"collection":{"name":7}}`, `{"collection":{"properties":[]}}`,
		`{"collection":{"nothing":1}}`, `{"collection":{"replication_desired":-1}}`, `{"collection":{"storage_classes_desired":"x"}}`, `{"collection":{"trash_at":"soon"}}`,
		`{"collection":{"manifest_text":7}}`} {
		if status, got := e.do("alice", "PATCH", "collections/"+id, body); status != 422 {
			t.Errorf("%s = %d %v; want 422", body, status, got)
		}
	}
}

func TestPreserveVersionHoldsUntilOneIsMade(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", ". "+e.block("alice", "one")+" 0:3:f\n")
	e.want("alice", "PATCH", "collections/"+id, `{"collection":{"preserve_version":true}}`)
	var versions, flags []any
	for _, data := range []string{"two", "333"} {
		got := e.want("alice", "PATCH", "collections/"+id, `{"collection":{"manifest_text":`+quoted(". "+e.block("alice", data)+" 0:3:f\n")+`}}`)
		versions, flags = append(versions, got["version"]), append(flags, got["preserve_version"])
	}
	if fmt.Sprint(versions, flags) != "[2 3] [false false]" { // what is replaced is kept in any case
		t.Errorf("versions %v, flags %v", versions, flags)
	}
	for _, data := range []string{"four", "five"} {
		got := e.want("alice", "PATCH", "collections/"+id, `{"collection":{"preserve_version":true,"manifest_text":`+quoted(". "+e.block("alice", data)+" 0:4:f\n")+`}}`)
		versions, flags = append(versions, got["version"]), append(flags, got["preserve_version"])
	}
	if fmt.Sprint(versions, flags) != "[2 3 4 5] [false false true true]" {
		t.Errorf("versions %v, flags %v", versions, flags)
	}
}

func TestTrash(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", ". "+e.block("alice", "foo")+" 0:3:f\n")
	got := e.want("alice", "DELETE", "collections/"+id, "")
	if got["is_trashed"] != true || got["trash_at"] == nil || got["delete_at"] == nil || signatures.MatchString(got["manifest_text"].(string)) {
		t.Errorf("after DELETE: %v", got)
	}
	if status, _ := e.do("alice", "GET", "collections/"+id, ""); status != 404 {
		t.Errorf("GET of trash = %d; want 404", status)
	}
	if status, _ := e.do("alice", "PATCH", "collections/"+id, `{"name":"x"}`); status != 404 {
		t.Errorf("PATCH of trash = %d; want 404", status)
	}
	if got := e.want("alice", "GET", "collections?include_trash=true", ""); got["items_available"] != 1.0 {
		t.Errorf("with trash there are %v", got["items_available"])
	}
	if got := e.want("alice", "GET", "collections", ""); got["items_available"] != 0.0 {
		t.Errorf("without trash there are %v", got["items_available"])
	}
	e.create("alice", "c", "")
	if status, _ := e.do("alice", "POST", "collections/"+id+"/untrash", ""); status != 422 {
		t.Errorf("untrash to a name that is taken = %d; want 422", status)
	}
	got = e.want("alice", "POST", "collections/"+id+"/untrash", `{"ensure_unique_name":true}`)
	if got["is_trashed"] != false || got["name"] == "c" || got["trash_at"] != nil {
		t.Errorf("after untrash: %v", got)
	}
	if status, _ := e.do("alice", "POST", "collections/"+id+"/untrash", ""); status != 422 {
		t.Errorf("untrash of what isn't trash = %d; want 422", status)
	}
	// To be trashed later: until then it is there, and signatures don't outlive it.
	at := e.api.Now().Add(time.Hour)
	got = e.want("alice", "PATCH", "collections/"+id, `{"collection":{"trash_at":`+quoted(at)+`}}`)
	loc := signedLocator.FindString(got["manifest_text"].(string))
	l, err := parseLocator(loc)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := l.SignatureExpiry(); got["is_trashed"] != false || got["trash_at"] == nil || end.After(at) {
		t.Errorf("trash to come: %v, signed until %v", got, end)
	}
	e.wait(2 * time.Hour)
	if status, _ := e.do("alice", "GET", "collections/"+id, ""); status != 404 {
		t.Errorf("GET of what was due = %d; want 404", status)
	}
	if err := e.sql.TrashDue(t.Context(), e.api.Now()); err != nil {
		t.Fatal(err)
	}
	got = e.want("alice", "PATCH", "collections/"+id, `{"collection":{"trash_at":null,"name":"back"}}`)
	if got["is_trashed"] != false || got["name"] != "back" {
		t.Errorf("after trash_at null: %v", got)
	}
	got = e.want("alice", "PATCH", "collections/"+id, `{"collection":{"trash_at":"2001-01-01T00:00:00Z"}}`)
	if got["is_trashed"] != true || strings.HasPrefix(got["trash_at"].(string), "2001") {
		t.Errorf("after a trash_at long ago: %v", got)
	}
}

// A drive sees what the API does, at once, and the other way round.
func TestDrivesAndTheAPISeeTheSame(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", ". "+e.block("alice", "foo")+" 0:3:f\n")
	e.write(id, "w", "written")
	if got := filesOf(e.manifest("alice", id)); got != "f w" {
		t.Errorf("files are %s; want f w", got)
	}
	e.want("alice", "PATCH", "collections/"+id, `{"replace_files":{"/w2":"current/w"}}`)
	if got := e.read(id, "w2"); got != "written" {
		t.Errorf("w2 has %q", got)
	}
	// A content is found by the hash of the text that a client sent, by a drive too.
	text := ". " + locatorOf("foo") + " 0:2:g 2:1:g\n"
	got := e.want("root", "POST", "collections", `{"collection":{"name":"odd","manifest_text":`+quoted(text)+`}}`)
	c, err := e.files.OpenPDH(t.Context(), collfs.UUID(got["uuid"].(string)), collfs.PDH(manifest.PDH(text)))
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
}

func TestListsOfManyPages(t *testing.T) {
	e := newEnv(t)
	for i := range 25 {
		e.create("alice", fmt.Sprintf("c%02d", i), "")
	}
	seen := make(map[string]bool)
	for last := ""; ; {
		got := e.want("alice", "GET", "collections?count=none&limit=10&order=uuid&select="+url.QueryEscape(`["uuid"]`)+"&filters="+url.QueryEscape(`[["uuid",">",`+quoted(last)+`]]`), "")
		items := got["items"].([]any)
		if len(items) == 0 {
			break
		}
		for _, i := range items {
			last = i.(map[string]any)["uuid"].(string)
			seen[last] = true
		}
	}
	if len(seen) != 25 {
		t.Errorf("pages have %d collections; want 25", len(seen))
	}
	got := e.want("alice", "GET", "collections?distinct=true&select="+url.QueryEscape(`["owner_uuid"]`), "")
	if items := got["items"].([]any); len(items) != 1 {
		t.Errorf("there are %d owners; want 1", len(items))
	}
}

// Clients that read, add a file and write everything, some of them with the same token at
// the same place so that nobody can tell them apart, and drives beside them: each file
// that was acknowledged is there, or in a version.
func TestNothingThatWasAcknowledgedIsLost(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", "")
	const clients, each = 6, 8
	var mu sync.Mutex
	acknowledged := make(map[string]bool)
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("f%d-%d", n, i)
				if n == 0 {
					e.write(id, name, name)
				} else {
					send := func(method, body string) map[string]any {
						r := newRequest(method, prefix+"collections/"+id, "application/json", body)
						r.Header.Set("Authorization", "Bearer "+e.tokens["alice"])
						r.Header.Set("User-Agent", fmt.Sprint("client ", n/2)) // two share a name
						status, _, got := call(t, e.api, r)
						if status != 200 {
							t.Errorf("%s = %d %v", method, status, got)
						}
						return got
					}
					text, _ := send("GET", "")["manifest_text"].(string)
					text += fmt.Sprintf("./by %s 0:%d:%s\n", e.block("alice", name), len(name), name)
					send("PATCH", `{"collection":{"manifest_text":`+quoted(text)+`}}`)
				}
				mu.Lock()
				acknowledged[name] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	there := make(map[string]bool)
	versions := e.want("alice", "GET", "collections?limit=1000&include_old_versions=true&select="+url.QueryEscape(`["uuid","manifest_text"]`), "")
	for _, v := range versions["items"].([]any) {
		for f := range strings.FieldsSeq(filesOf(v.(map[string]any)["manifest_text"].(string))) {
			there[strings.TrimPrefix(f, "by/")] = true
		}
	}
	for name := range acknowledged {
		if !there[name] {
			t.Errorf("%s is lost", name)
		}
	}
	if len(acknowledged) != clients*each {
		t.Errorf("%d files were acknowledged; want %d", len(acknowledged), clients*each)
	}
}

// Of a file with two names one is replaced: the other stays.
func TestOtherNamesOfAFileStayWhatTheyAre(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", ". "+e.block("alice", "foo")+" 0:3:a\n. "+e.block("alice", "bar")+" 0:3:b\n")
	c, err := e.files.Open(t.Context(), collfs.UUID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	_, err = c.Apply(t.Context(), 0, func(tree *collfs.Tree) ([]collfs.Op, error) {
		content, err := tree.Content("a")
		return []collfs.Op{{Kind: collfs.OpLink, Src: "a", Path: "link", Content: collfs.Content{ID: content.ID}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	e.want("alice", "PATCH", "collections/"+id, `{"replace_files":{"/a":"current/b"}}`)
	if a, link := e.read(id, "a"), e.read(id, "link"); a != "bar" || link != "foo" {
		t.Errorf("a has %q and its other name %q; want bar and foo", a, link)
	}
}

// Whoever may write in a collection that is shared by itself cannot take it away.
func TestOnlyWhoMayWriteInItsProjectMovesACollection(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "shared", "")
	if err := e.sql.Grant(t.Context(), e.users["bob"], collfs.UUID(id), collfs.CanWrite); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"description":"by bob"}`, 200},
		{`{"owner_uuid":` + quoted(e.users["bob"]) + `}`, 403},
		{`{"owner_uuid":` + quoted(e.users["alice"]) + `}`, 200}, // where it is
	} {
		if status, got := e.do("bob", "PATCH", "collections/"+id, c.body); status != c.want {
			t.Errorf("bob: %s = %d %v; want %d", c.body, status, got["errors"], c.want)
		}
	}
	if got := e.want("alice", "GET", "collections/"+id, "")["owner_uuid"]; got != string(e.users["alice"]) {
		t.Errorf("the collection is %v's", got)
	}
}

// Whoever knows the name of a block could else find out what is in it byte by byte.
func TestSegmentsTellNothingOfBlocksThatOneMayNotRead(t *testing.T) {
	e := newEnv(t)
	e.create("alice", "secret", ". "+e.block("alice", "secret")+" 0:6:f\n")
	id := e.create("bob", "own", ". "+e.block("bob", "own")+" 0:3:f\n")
	guess := func(data string) (int, string) {
		set := map[string]string{locatorOf("secret") + " 0 1": e.block("bob", data) + " 0 1"}
		status, got := e.do("bob", "PATCH", "collections/"+id, `{"replace_segments":`+quoted(set)+`}`)
		errors, _ := got["errors"].([]any)
		return status, strings.Split(quoted(errors), " (req-")[0]
	}
	wrong, text := guess("x")
	if right, other := guess("s"); right != wrong || other != text {
		t.Errorf("a right guess is told by %d %s, a wrong one by %d %s", right, other, wrong, text)
	}
}
