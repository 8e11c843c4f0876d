package system

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

// mountDavfs mounts a collection with davfs2, with locks, and returns the
// directory and what unmounts it, which sends all that is left.
func mountDavfs(t *testing.T, url string) (dir string, unmount func()) {
	t.Helper()
	target.NeedRoot(t)
	mount := target.Tool(t, "mount.davfs")
	// Its cache belongs to us and is open to the group that it works as.
	davfs, err := user.Lookup("davfs2")
	if err != nil {
		t.Fatal(err)
	}
	gid, _ := strconv.Atoi(davfs.Gid)
	base, err := os.MkdirTemp("", "davfs2-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(base, "mnt")
	cache, conf, secrets := filepath.Join(base, "cache"), filepath.Join(base, "conf"), filepath.Join(base, "secrets")
	for _, d := range []string{dir, cache} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(cache, 0, gid), os.Chmod(cache, 0o775)); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secrets, fmt.Sprintf("%s %s \"%s\"\n", url, target.User, target.Password))
	// buf_size: with its default, 16 KiB, davfs2 refuses the directory reads of newer kernels.
	write(conf, fmt.Sprintf("secrets %s\ncache_dir %s\nask_auth 0\nuse_locks 1\ndelay_upload 0\nlock_owner test\nn_cookies 0\nbuf_size 256\n", secrets, cache))
	mustRun(t, time.Minute, base, nil, mount, "-o", "conf="+conf+",uid=0,gid=0", url, dir)
	mounted := true
	unmount = func() {
		t.Helper()
		if mounted {
			mounted = false
			mustRun(t, 2*time.Minute, base, nil, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// TestDavfs2 works as on a disk: cp -a, edits by rename, rsync twice, where the
// second sends nothing. davfs2 locks every file that it writes.
func TestDavfs2(t *testing.T) {
	s := target.Start(t, target.Options{})
	c := s.MakeCollection(t, "davfs2")
	dir, unmount := mountDavfs(t, s.URL+c)
	src := t.TempDir()
	files := writeTree(t, src)

	want := map[string][]byte{}
	mustRun(t, 2*time.Minute, src, nil, "cp", "-a", src+"/.", dir+"/copy")
	for name, data := range files {
		want["copy/"+name] = data
	}

	// As editors save: a new file, then a rename onto the old one.
	for i := range 5 {
		data := fmt.Appendf(nil, "version %d\n", i)
		if err := os.WriteFile(dir+"/copy/.page.tmp", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/copy/.page.tmp", dir+"/copy/page"); err != nil {
			t.Fatal(err)
		}
		want["copy/page"] = data
	}
	// And in place: appended to, cut off, a part replaced.
	f, err := os.OpenFile(dir+"/copy/sub/deep/er/file", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Clone(files["sub/deep/er/file"])[:60000]
	copy(edited[500:], "replaced")
	edited = append(edited, "appended"...)
	for _, err := range []error{f.Truncate(60000), writeAt(f, "replaced", 500), writeAt(f, "appended", 60000), f.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
	want["copy/sub/deep/er/file"] = edited

	if err := os.Rename(dir+"/copy/sub", dir+"/copy/renamed"); err != nil {
		t.Error(err)
	}
	for name, data := range want {
		if rest, ok := strings.CutPrefix(name, "copy/sub/"); ok {
			delete(want, name)
			want["copy/renamed/"+rest] = data
		}
	}
	if err := os.Remove(dir + "/copy/one"); err != nil {
		t.Error(err)
	}
	delete(want, "copy/one")

	rsync := target.Tool(t, "rsync")
	args := []string{"-a", "--stats", src + "/", dir + "/synced/"}
	mustRun(t, 2*time.Minute, src, nil, rsync, args...)
	for name, data := range files {
		want["synced/"+name] = data
	}
	if out := mustRun(t, 2*time.Minute, src, nil, rsync, args...); !strings.Contains(out, "Number of regular files transferred: 0") {
		t.Errorf("the second rsync sends something:\n%s", out)
	}
	// For a second after cp has set a time, davfs2 shows the size of before.
	checkTreeSoon(t, dir, want)
	unmount()

	// What the server has, seen by a new mount with an empty cache.
	again, _ := mountDavfs(t, s.URL+c)
	checkTree(t, again, want)
	// davfs2 sends no times, so that a new mount has the server's: compare contents.
	if out := mustRun(t, 2*time.Minute, src, nil, rsync, "-rc", "--stats", src+"/", again+"/synced/"); !strings.Contains(out, "Number of regular files transferred: 0") {
		t.Errorf("rsync onto a new mount sends something:\n%s", out)
	}
}

func writeAt(f *os.File, s string, off int64) error {
	_, err := f.WriteAt([]byte(s), off)
	return err
}
