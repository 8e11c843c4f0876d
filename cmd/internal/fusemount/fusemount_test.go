package fusemount

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `22 27 0:20 / /proc rw,nosuid shared:5 - proc proc rw
90 27 0:53 / /mnt/a\040b rw,nosuid,nodev shared:99 master:3 - fuse.keep /srv/keep\054dav rw,user_id=1000,group_id=1000,default_permissions
91 27 0:54 / /mnt/plain rw - fuse none rw,user_id=x
a line of something else
`

func TestTableIsReadWithItsEscapes(t *testing.T) {
	want := []Entry{
		{"0:20", "/proc", "proc", "proc", -1},
		{"0:53", "/mnt/a b", "fuse.keep", "/srv/keep,dav", 1000},
		{"0:54", "/mnt/plain", "fuse", "none", -1},
	}
	got := parseTable(sample)
	if !slices.Equal(got, want) {
		t.Errorf("parseTable = %+v; want %+v", got, want)
	}
	if got[0].IsFUSE() || !got[1].IsFUSE() || got[1].Subtype() != "keep" || !got[2].IsFUSE() || got[2].Subtype() != "" {
		t.Errorf("of %+v, FUSE is told wrongly", got)
	}
}

func FuzzTableOfAnyTextIsRead(f *testing.F) {
	f.Add(sample)
	f.Add(`1 2 0:1 / \ - \ \ \`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range parseTable(text) {
			if strings.Contains(e.Type, " ") || e.User < -1 {
				t.Errorf("parseTable(%q) has %+v", text, e)
			}
		}
	})
}

func TestMountPointsThatAreNoneAreNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "none"): "does not exist: make it with mkdir",
		file:                       "is not a directory",
	} {
		if err := Check(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("Check(%s) = %v; want it to say %q", name, err, want)
		}
	}
	if err := Check(dir); err != nil {
		t.Errorf("Check of a directory: %v", err)
	}
}

func TestWhatTheHelperSaysComesWithAHint(t *testing.T) {
	for says, want := range map[string]string{
		"fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n": "administrator",
		"fusermount3: user has no write access to mountpoint /x\n":                                      "of their own",
		"fusermount3: failed to open /dev/fuse: Permission denied\n":                                    "mode 0666",
		"fusermount3: something new\n":                                                                  "something new",
		"":                                                                                              "exit status 1",
	} {
		if err := helperError("/x", says, errors.New("exit status 1")); !strings.Contains(err.Error(), want) {
			t.Errorf("%q becomes %q; want %q in it", says, err, want)
		}
	}
}

func TestResolveLeavesTheMountPointAlone(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"none": "none", "link": "gone", "x/../none": "none"} {
		if got, err := Resolve(dir + "/" + in); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("Resolve(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
}

// This needs the right to mount and /dev/fuse.
func TestMountIsSeenAndGoesWithItsDescriptor(t *testing.T) {
	dir := t.TempDir()
	dev, err := Mount(dir, Options{Source: "a,source", Subtype: "keep"})
	if err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	e, there, err := At(dir)
	if err != nil || !there || e.Source != "a,source" || e.Subtype() != "keep" || e.User != os.Geteuid() {
		t.Errorf("At = %+v, %v, %v", e, there, err)
	}
	dev.Close() // as if the program that serves it died
	if err := Check(dir); !errors.Is(err, ErrStale) {
		t.Errorf("Check of a stale mount = %v; want ErrStale", err)
	}
	if err := Unmount(dir, false); err != nil {
		t.Errorf("Unmount of a stale mount: %v", err)
	}
	if err := Check(dir); err != nil {
		t.Errorf("Check after that: %v", err)
	}
	if err := Unmount(dir, false); err == nil || !strings.Contains(err.Error(), "nothing is mounted") {
		t.Errorf("Unmount of nothing: %v", err)
	}
}
