package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"keepdav/cmd/internal/completion"
	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/embedded"
)

// runMain makes the test binary behave as keep-dav.
const runMain = "KEEPDAV_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

const testPassword = "correct horse"

// A rig is a server in this process, on a store of its own.
type rig struct {
	cli *cli
	url string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{cli: &cli{Store: t.TempDir(), JSON: true}}
	r.serve(t)
	return r
}

// serve starts a server on the store of r; the returned function stops it.
func (r *rig) serve(t *testing.T) (stop func()) {
	t.Helper()
	var parsed cli
	parser, err := newParser(&parsed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve", "--listen", "127.0.0.1:0", "--store", r.cli.Store}); err != nil {
		t.Fatal(err)
	}
	c := parsed.Serve
	l, err := c.listener()
	if err != nil {
		t.Fatal(err)
	}
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	s, err := openStore(t.Context(), embedded.Config{Dir: r.cli.Store, URL: localURL(l.Addr()), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.FirstUser(t.Context(), testPassword); err != nil {
		t.Fatal(err)
	}
	srv, err := c.start(context.Background(), s, l, log)
	if err != nil {
		t.Fatal(err)
	}
	r.url = localURL(l.Addr())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := srv.shutdown(context.Background(), time.Second); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// do makes a request as admin and returns status and body.
func (r *rig) do(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	return r.doAs(t, adminName, testPassword, method, path, body, header...)
}

func (r *rig) doAs(t *testing.T, user, password, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *rig) must(t *testing.T, want int, method, path, body string, header ...string) string {
	t.Helper()
	status, got := r.do(t, method, path, body, header...)
	if status != want {
		t.Fatalf("%s %s = %d; want %d\n%s", method, path, status, want, got)
	}
	return got
}

// do1 calls an operation that has to work.
func do1[R any](t *testing.T, r *rig, name string, args any) R {
	t.Helper()
	result, err := call[R](t.Context(), r.cli, name, args)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return result
}

func TestWhatIsPutIsThereAfterARestart(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	r.must(t, 200, "LOCK", "/home/c/f", `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`)
	stop()
	r.serve(t)
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != "content" {
		t.Errorf("GET = %q; want content", got)
	}
	if status, _ := r.do(t, "PUT", "/home/c/f", "other"); status != http.StatusLocked {
		t.Errorf("PUT of what is locked, after a restart = %d; want 423", status)
	}
}

func newRigStopped(t *testing.T) *rig { return &rig{cli: &cli{Store: t.TempDir(), JSON: true}} }

// Every command has to do the same in the process of the server and in its own.
func TestCommandsWorkWithAndWithoutAServer(t *testing.T) {
	for _, serving := range []bool{true, false} {
		t.Run(map[bool]string{true: "through the socket", false: "on the store"}[serving], func(t *testing.T) {
			r := newRigStopped(t)
			stop := r.serve(t)
			if !serving {
				stop()
			}
			commands(t, r)
			if serving {
				stop()
			}
			if rep := do1[struct {
				Unrepaired int
				Files      int64
			}](t, r, "fsck", map[string]any{"Workers": 2}); rep.Unrepaired != 0 || rep.Files == 0 {
				t.Errorf("fsck = %+v; want no problems and some files", rep)
			}
		})
	}
}

func commands(t *testing.T, r *rig) {
	do1[userInfo](t, r, "user.add", userArgs{Name: "ann", Password: "pw"})
	if _, err := call[userInfo](t.Context(), r.cli, "user.add", userArgs{Name: "ann", Password: "pw"}); err == nil {
		t.Error("a user was added twice")
	}
	if _, err := call[userInfo](t.Context(), r.cli, "user.add", userArgs{Name: "a/b", Password: "pw"}); err == nil {
		t.Error("a user with a slash was added")
	}
	if users := do1[[]userInfo](t, r, "user.list", none{}); len(users) != 2 {
		t.Errorf("%d users; want 2", len(users))
	}
	tok := do1[tokenInfo](t, r, "token.create", tokenArgs{User: "ann"})
	if !strings.HasPrefix(tok.Token, "v2/"+string(tok.UUID)+"/") {
		t.Errorf("the token is %q", tok.Token)
	}
	if tokens := do1[[]tokenInfo](t, r, "token.list", tokenArgs{User: "ann"}); len(tokens) != 1 || tokens[0].Token != "" || tokens[0].User != "ann" {
		t.Errorf("tokens are %+v", tokens)
	}
	do1[none](t, r, "token.revoke", tokenArgs{UUID: tok.UUID})

	src := t.TempDir()
	makeFiles(t, src)
	in := do1[copyResult](t, r, "import", importArgs{As: adminName, Dir: src, Name: "/home/data", Workers: 3})
	if in.Files != 3 || in.Links != 1 || in.Dirs != 2 || in.Skipped != 0 {
		t.Errorf("import = %+v", in)
	}
	if again := do1[copyResult](t, r, "import", importArgs{As: adminName, Dir: src, Name: "/home/data", Workers: 3}); again.Skipped != 4 || again.Files != 0 {
		t.Errorf("import again = %+v; want all skipped", again)
	}
	dst := t.TempDir()
	out := do1[copyResult](t, r, "export", importArgs{As: adminName, Dir: dst, Name: "/home/data", Workers: 3})
	if out.Files != 3 || out.Links != 1 || out.Bytes != in.Bytes {
		t.Errorf("export = %+v; import was %+v", out, in)
	}
	sameFiles(t, src, dst)

	entries := do1[[]lsEntry](t, r, "ls", siteArgs{As: adminName, Name: "/home/data"})
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if !slices.Equal(names, []string{"a", "dir", "link"}) {
		t.Errorf("ls = %q", names)
	}
	do1[grantInfo](t, r, "share.grant", shareArgs{As: adminName, Name: "/home/data", User: "ann", Level: "read"})
	if shared := do1[[]lsEntry](t, r, "ls", siteArgs{As: "ann", Name: "/shared/admin"}); len(shared) != 1 || shared[0].Name != "data" {
		t.Errorf("shared with ann: %+v", shared)
	}
	if _, err := call[copyResult](t.Context(), r.cli, "import", importArgs{As: "ann", Dir: src, Name: "/shared/admin/data"}); err == nil {
		t.Error("ann wrote what she may only read")
	}
	do1[grantInfo](t, r, "share.revoke", shareArgs{As: adminName, Name: "/home/data", User: "ann"})
	if grants := do1[[]grantInfo](t, r, "share.list", shareArgs{As: adminName, Name: "/home/data"}); len(grants) != 0 {
		t.Errorf("grants after revoking: %+v", grants)
	}
	do1[recordInfo](t, r, "project.create", siteArgs{As: adminName, Name: "/home/project"})
	do1[copyResult](t, r, "import", importArgs{As: adminName, Dir: src, Name: "/home/project/inner"})

	col := do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/data", PDH: true})
	if col.Files != 4 || len(col.PDH) < 34 || col.Unstored != 0 {
		t.Errorf("stat data --pdh = %+v", col)
	}
	if st := do1[storeStat](t, r, "stat", none{}); st.Users != 2 || st.Collections != 2 || st.Files != 8 {
		t.Errorf("stat = %+v", st)
	}
	if v := do1[[]versionInfo](t, r, "versions.list", siteArgs{As: adminName, Name: "/home/data"}); len(v) == 0 || !v[0].Current {
		t.Errorf("versions = %+v", v)
	}
	do1[map[string]any](t, r, "gc", map[string]any{"Repack": true})
	sameAgain := t.TempDir()
	do1[copyResult](t, r, "export", importArgs{As: adminName, Dir: sameAgain, Name: "/home/data"})
	sameFiles(t, src, sameAgain)
	if _, err := call[lsEntry](t.Context(), r.cli, "ls", siteArgs{As: "nobody", Name: "/"}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("ls as nobody: %v; want an error with the name", err)
	}
}

func makeFiles(t *testing.T, dir string) {
	t.Helper()
	for name, size := range map[string]int{"a": 10, "dir/b": 3 << 20, "dir/sub/c": 0} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, bytes.Repeat([]byte(name), size/len(name)+1)[:size], 0o640); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("dir/b", link); err != nil {
		t.Fatal(err)
	}
	at := unix.Timespec{Sec: 1577934245, Nsec: 678}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, link, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

// sameFiles fails unless both directories hold the same.
func sameFiles(t *testing.T, want, got string) {
	t.Helper()
	describe := func(root string) (lines []string) {
		err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, p)
			info, err := d.Info()
			if err != nil {
				return err
			}
			line := rel + " " + info.Mode().String()
			switch {
			case d.Type() == os.ModeSymlink:
				to, _ := os.Readlink(p)
				line = rel + " -> " + to + " " + info.ModTime().UTC().Format(time.RFC3339Nano)
			case d.IsDir():
				if line = rel + "/"; rel != "." {
					line += " " + info.ModTime().UTC().Format(time.RFC3339Nano)
				}
			default:
				data, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				line += " " + info.ModTime().UTC().Format(time.RFC3339Nano) + " " + string(data)
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	if w, g := describe(want), describe(got); !slices.Equal(w, g) {
		t.Errorf("the directories differ:\n%.300q\n%.300q", w, g)
	}
}

func TestProgressOfALargeFileIsTold(t *testing.T) {
	r := newRigStopped(t)
	r.serve(t)() // makes the store
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "large"), []byte(random(1<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args importArgs
	}{
		{"import", importArgs{As: adminName, Dir: src, Name: "/home/data"}},
		{"export", importArgs{As: adminName, Dir: t.TempDir(), Name: "/home/data"}},
	} {
		raw, err := json.Marshal(c.args)
		if err != nil {
			t.Fatal(err)
		}
		var first *control.Progress
		_, err = callHere(t.Context(), r.cli.Store, c.name, raw, func(p control.Progress) {
			if first == nil {
				first = &p
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil || first.Done != 0 || first.Bytes == 0 {
			t.Errorf("%s first tells %+v; want bytes of a file that is not done", c.name, first)
		}
	}
}

func TestUnreadableFileDoesNotEndAnImport(t *testing.T) {
	r := newRig(t)
	src := t.TempDir()
	makeFiles(t, src)
	if err := os.WriteFile(filepath.Join(src, "secret"), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	in := do1[copyResult](t, r, "import", importArgs{As: adminName, Dir: src, Name: "/home/data", Workers: 2})
	want := 1
	if os.Getuid() == 0 { // who may read everything
		want = 0
	}
	if len(in.Failed) != want || in.Files+int64(len(in.Failed)) != 4 {
		t.Errorf("import = %+v; want %d failed, and all others copied", in, want)
	}
}

func TestExportBringsOutAllThatIsWhole(t *testing.T) {
	r := newRig(t)
	src := t.TempDir()
	makeFiles(t, src)
	at := time.Date(2021, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, d := range []string{"dir/sub", "dir"} {
		if err := os.Chtimes(filepath.Join(src, d), at, at); err != nil {
			t.Fatal(err)
		}
	}
	do1[copyResult](t, r, "import", importArgs{As: adminName, Dir: src, Name: "/home/data", Workers: 2})
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/data", PDH: true})
	r.must(t, 201, "PUT", "/home/data/bad", random(2<<20))
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/data", PDH: true})
	spoil(t, newestBlock(t, r))
	dst := t.TempDir()
	out := do1[copyResult](t, r, "export", importArgs{As: adminName, Dir: dst, Name: "/home/data", Workers: 2})
	if len(out.Failed) != 1 || !strings.Contains(out.Failed[0], "/home/data/bad") || out.Files != 3 {
		t.Errorf("export = %+v; want bad to have failed, and the 3 others", out)
	}
	sameFiles(t, src, dst)
	for _, d := range []string{"dir/sub", "dir"} {
		info, err := os.Stat(filepath.Join(dst, d))
		if err != nil || !info.ModTime().Equal(at) {
			t.Errorf("%s was changed %v, %v; want %v", d, info.ModTime(), err, at)
		}
	}
}

// newestBlock is the file of the block that was stored last.
func newestBlock(t *testing.T, r *rig) string {
	t.Helper()
	newest, at := "", time.Time{}
	for _, f := range blocksOf(t, r) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().After(at) {
			newest, at = f, info.ModTime()
		}
	}
	return newest
}

// spoil changes bytes in the middle of a file.
func spoil(t *testing.T, file string) {
	t.Helper()
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("these bytes are wrong"), info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// Commands act with the rights of the user whom --as names.
func TestCommandsKeepToTheRightsOfTheirUser(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"ann", "bob"} {
		do1[userInfo](t, r, "user.add", userArgs{Name: name, Password: "pw"})
	}
	do1[recordInfo](t, r, "project.create", siteArgs{As: adminName, Name: "/home/p"})
	r.must(t, 201, "MKCOL", "/home/p/c", "")
	r.must(t, 201, "PUT", "/home/p/c/f", "content")
	may := func(level string) {
		do1[grantInfo](t, r, "share.grant", shareArgs{As: adminName, Name: "/home/p", User: "ann", Level: level})
	}
	try := func(want bool, name string, args any) {
		t.Helper()
		if _, err := call[map[string]any](t.Context(), r.cli, name, args); (err == nil) != want {
			t.Errorf("%s %+v: %v; want it to work: %v", name, args, err, want)
		}
	}
	share := shareArgs{As: "ann", Name: "/shared/admin/p/c", User: "bob", Level: "write"}
	project := siteArgs{As: "ann", Name: "/shared/admin/p/new"}
	restore := restoreArgs{As: "ann", Name: "/shared/admin/p/c", NewName: "old", Version: 1}
	may("read")
	try(false, "project.create", project)
	try(false, "versions.restore", restore)
	try(false, "share.grant", share)
	may("write")
	try(true, "project.create", project)
	try(true, "versions.restore", restore)
	try(false, "share.grant", share)
	try(false, "share.revoke", share)
	may("manage")
	try(true, "share.grant", share)
	try(true, "share.revoke", share)
}

func TestNothingIsMadeUnderANameThatNobodyFinds(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	r.must(t, 201, "PUT", "/home/loose", "a file in the home")
	for _, name := range []string{"a/b", ".arvados#project", ".arvados#collection", "loose", "c", strings.Repeat("n", 256), ".."} {
		if name != "a/b" && name != ".." { // which are other paths
			if p, err := call[recordInfo](t.Context(), r.cli, "project.create", siteArgs{As: adminName, Name: "/home/" + name}); err == nil {
				t.Errorf("a project %.30q was made: %v", name, p)
			}
		}
		if c, err := call[recordInfo](t.Context(), r.cli, "versions.restore", restoreArgs{As: adminName, Name: "/home/c", Version: 1, NewName: name}); err == nil {
			t.Errorf("a version was restored as %.30q: %v", name, c)
		}
	}
	if got := r.must(t, 200, "GET", "/home/loose", ""); got != "a file in the home" {
		t.Errorf("the file in the home has %q", got)
	}
}

func TestCommandsSayWhatANameLeadsTo(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "MKCOL", "/home/c/d", "")
	r.must(t, 201, "PUT", "/home/c/f", "x")
	for name, want := range map[string]string{
		"/": "a folder above", "/by_id": "a folder above", "/home": "a project", "/home/c/d": "a directory in a collection", "/home/c/f": "a file",
	} {
		if _, err := call[[]versionInfo](t.Context(), r.cli, "versions.list", siteArgs{As: adminName, Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("versions list %s: %v; want it to say that this is %s", name, err, want)
		}
	}
	if _, err := call[recordInfo](t.Context(), r.cli, "project.create", siteArgs{As: adminName, Name: "/home/c/p"}); err == nil || !strings.Contains(err.Error(), "a collection") {
		t.Errorf("project create in a collection: %v; want it to say so", err)
	}
}

func TestSharesCountAtOnce(t *testing.T) {
	r := newRig(t)
	do1[userInfo](t, r, "user.add", userArgs{Name: "ann", Password: "pw"})
	token := "Bearer " + do1[tokenInfo](t, r, "token.create", tokenArgs{User: "ann"}).Token
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	share := shareArgs{As: adminName, Name: "/home/c", User: "ann", Level: "read"}
	r.must(t, 404, "GET", "/shared/admin/c/f", "", "Authorization", token)
	do1[grantInfo](t, r, "share.grant", share)
	r.must(t, 200, "GET", "/shared/admin/c/f", "", "Authorization", token)
	r.must(t, 403, "PUT", "/shared/admin/c/f", "x", "Authorization", token)
	share.Level = "write"
	do1[grantInfo](t, r, "share.grant", share)
	r.must(t, 204, "PUT", "/shared/admin/c/f", "x", "Authorization", token)
	do1[grantInfo](t, r, "share.revoke", share)
	r.must(t, 404, "GET", "/shared/admin/c/f", "", "Authorization", token)
}

func TestChangedPasswordCountsAtOnce(t *testing.T) {
	r := newRig(t)
	r.must(t, 207, "PROPFIND", "/home/", "", "Depth", "0")
	do1[userInfo](t, r, "user.passwd", userArgs{Name: adminName, Password: "new"})
	if status, _ := r.do(t, "PROPFIND", "/home/", ""); status != http.StatusUnauthorized {
		t.Errorf("the old password after the change = %d; want 401", status)
	}
}

func TestDeletedCollectionComesBackFromTheTrash(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	r.must(t, 204, "DELETE", "/home/c/", "")
	r.must(t, 404, "GET", "/home/c/f", "")
	all := do1[[]trashInfo](t, r, "trash.list", none{})
	if len(all) != 1 || all[0].Name != "c" {
		t.Fatalf("trash = %+v", all)
	}
	do1[map[string]any](t, r, "gc", map[string]any{"KeepTrash": time.Hour, "KeepVersions": time.Hour})
	do1[recordInfo](t, r, "trash.restore", trashArgs{all[0].UUID})
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != "content" {
		t.Errorf("after restoring: %q", got)
	}
}

func TestWhatComesBackFromTheTrashHidesNothing(t *testing.T) {
	r := newRig(t)
	for _, body := range []string{"first", "second"} {
		r.must(t, 201, "MKCOL", "/home/c", "")
		r.must(t, 201, "PUT", "/home/c/f", body)
		r.must(t, 204, "DELETE", "/home/c/", "")
	}
	r.must(t, 201, "PUT", "/home/c", "a file")
	for i, want := range []string{"c (2)", "c (3)"} {
		all := do1[[]trashInfo](t, r, "trash.list", none{})
		if got := do1[recordInfo](t, r, "trash.restore", trashArgs{all[0].UUID}); got.Name != want {
			t.Errorf("restoring number %d says %q; want %q", i+1, got.Name, want)
		}
	}
	for name, want := range map[string]string{"/home/c": "a file", "/home/c%20(2)/f": "first", "/home/c%20(3)/f": "second"} {
		if got := r.must(t, 200, "GET", name, ""); got != want {
			t.Errorf("%s has %q; want %q", name, got, want)
		}
	}
}

func TestASecondProcessIsToldWhoHasTheStore(t *testing.T) {
	r := newRig(t)
	_, err := openStore(t.Context(), embedded.Config{Dir: r.cli.Store, Log: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), r.url) {
		t.Errorf("openStore of a store that is served: %v; want an error with %s", err, r.url)
	}
}

func TestBrokenLockStopsNobody(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	r.must(t, 200, "LOCK", "/home/c/f", `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`)
	locks := do1[[]lockInfo](t, r, "locks.list", none{})
	if len(locks) != 1 || locks[0].User != adminName || locks[0].Path != "/home/c/f" {
		t.Fatalf("locks = %+v; want that of /home/c/f", locks)
	}
	do1[lockInfo](t, r, "locks.break", lockArgs{locks[0].Token})
	r.must(t, 204, "PUT", "/home/c/f", "other")
	if _, err := call[lockInfo](t.Context(), r.cli, "locks.break", lockArgs{"urn:uuid:nothing"}); err == nil {
		t.Error("a lock that does not exist was broken")
	}
}

func TestLongStorePathsHaveASocketToo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("path", 30))
	r := &rig{cli: &cli{Store: dir, JSON: true}}
	r.serve(t)
	if st := do1[storeStat](t, r, "stat", none{}); st.Serving == "" {
		t.Errorf("stat = %+v; want it to come from the server", st)
	}
	info, err := os.Stat(filepath.Join(dir, "control.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestOnlyLoopbackWithoutPublic(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, ":0": false, "0.0.0.0:0": false, "192.0.2.1:0": false} {
		l, err := (&serveCmd{Listen: addr}).listener()
		if l != nil {
			l.Close()
		}
		if want && err != nil && !strings.Contains(addr, "::1") { // a machine may have no IPv6
			t.Errorf("%s: %v", addr, err)
		}
		if !want && (err == nil || !strings.Contains(err.Error(), "--public")) {
			t.Errorf("%s: %v; want to be told of --public", addr, err)
		}
	}
}

// A transcript is what a process writes.
type transcript struct {
	mu   sync.Mutex // guards text
	more *sync.Cond // told when text grows
	text string
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += string(p)
	o.more.Broadcast()
	return len(p), nil
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// wait returns when the process has written text.
func (o *transcript) wait(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !strings.Contains(o.text, text) {
		o.more.Wait()
	}
}

// process starts keep-dav as a process of its own and waits until it serves.
func process(t *testing.T, dir string, flags ...string) (cmd *exec.Cmd, url string, output *transcript) {
	t.Helper()
	cmd = exec.Command(os.Args[0], append([]string{"serve", "--store", dir, "--listen", "127.0.0.1:0"}, flags...)...)
	cmd.Env = append(os.Environ(), runMain+"=1", "KEEPDAV_ADMIN_PASSWORD="+testPassword)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output = new(transcript)
	output.more = sync.NewCond(&output.mu)
	cmd.Stderr = output
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n') // it greets when it serves
	url = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/`).FindString(line)
	if err != nil || url == "" {
		t.Fatalf("it says %q, %v", line, err)
	}
	return cmd, url, output
}

func TestSIGTERMFinishesRequestsAndLeavesCleanly(t *testing.T) {
	dir := t.TempDir()
	cmd, url, output := process(t, dir)
	r := &rig{cli: &cli{Store: dir, JSON: true}, url: url}
	r.must(t, 201, "MKCOL", "/home/c", "")
	body, feed := io.Pipe()
	req, err := http.NewRequest("PUT", url+"home/c/f", body)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(adminName, testPassword)
	answer := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != 201 {
				err = errors.New(resp.Status)
			}
		}
		answer <- err
	}()
	feed.Write([]byte("first half, ")) // returns when the transport has taken it
	for !running(t, r) {
	}
	cmd.Process.Signal(syscall.SIGTERM)
	feed.Write([]byte("second half"))
	feed.Close()
	if err := <-answer; err != nil {
		t.Errorf("the upload under way: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, output)
	}
	if !strings.Contains(output.String(), "everything is written down") {
		t.Errorf("no word about it:\n%s", output)
	}
	entries := do1[[]lsEntry](t, r, "ls", siteArgs{As: adminName, Name: "/home/c"})
	if len(entries) != 1 || entries[0].Size != 23 {
		t.Errorf("after the end: %+v; want the file with 23 bytes", entries)
	}
}

// running reports whether the server works on another request than this one.
func running(t *testing.T, r *rig) bool {
	_, text := r.do(t, "GET", "/metrics", "")
	return strings.Contains(text, "keepdav_http_requests_running 2")
}

func TestSecondSignalLeavesAtOnceAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd, url, output := process(t, dir)
	r := &rig{cli: &cli{Store: dir, JSON: true}, url: url}
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", "content")
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, err := http.NewRequest("PUT", url+"home/c/never", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(adminName, testPassword)
	io.WriteString(conn, "PUT /home/c/never HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: "+req.Header.Get("Authorization")+"\r\n\r\npart")
	for !running(t, r) {
	}
	cmd.Process.Signal(syscall.SIGTERM)
	output.wait("stopping")
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitCut {
		t.Errorf("exit code %d; want %d\n%s", code, exitCut, output)
	}
	entries := do1[[]lsEntry](t, r, "ls", siteArgs{As: adminName, Name: "/home/c"})
	if len(entries) != 1 || entries[0].Name != "f" || entries[0].Size != 7 {
		t.Errorf("after the end: %+v; want the one file", entries)
	}
}

func TestNamesOfTheCommandLine(t *testing.T) {
	for in, want := range map[string]string{
		"data": "/home/data", "data/sub": "/home/data/sub", "/shared/x/": "/shared/x", "/": "/",
		"kdav0-4zz18-000000000000000":       "/by_id/kdav0-4zz18-000000000000000",
		"kdav0-4zz18-000000000000000@3/dir": "/by_id/kdav0-4zz18-000000000000000@3/dir",
	} {
		if got := siteName(in); got != want {
			t.Errorf("siteName(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestCompletionKnowsCommandsAndFlags(t *testing.T) {
	parser, err := newParser(new(cli))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words  []string
		prefix string
		want   string
	}{
		{nil, "us", "user"},
		{[]string{"user"}, "pa", "passwd"},
		{[]string{"user", "add"}, "--ad", "--admin"},
		{nil, "--li", "--listen"},
		{[]string{"gc"}, "--st", "--store"},
		{[]string{"--store", "user", "gc"}, "--gr", "--grace"}, // a store that is called like a command
		{[]string{"completion"}, "f", "fish"},
		{[]string{"serve", "--locks"}, "ad", "advisory"},
		{[]string{"share", "grant", "--as", "ann", "data", "bob"}, "w", "write"},
	} {
		if got := completion.Candidates(parser.Model.Node, c.words, c.prefix); !slices.Equal(got, []string{c.want}) {
			t.Errorf("after %q, %q completes to %q; want %q", c.words, c.prefix, got, c.want)
		}
	}
}
