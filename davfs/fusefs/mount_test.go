package fusefs_test

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"keepdav/davfs/fusefs"
)

func TestWhatIsWrittenIsThere(t *testing.T) {
	m := newMount(t)
	m.write("f", "hello")
	if got := m.read("f"); got != "hello" {
		t.Errorf("the file has %q", got)
	}
	if got := m.do("get", "/home/c/f", ""); got != "hello" {
		t.Errorf("others see %q", got)
	}
	if err := os.Mkdir(filepath.Join(m.dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, "f"), filepath.Join(m.dir, "d/g")); err != nil {
		t.Fatal(err)
	}
	if got := m.do("get", "/home/c/d/g", ""); got != "hello" {
		t.Errorf("others see %q", got)
	}
	if err := os.Symlink("d/g", filepath.Join(m.dir, "l")); err != nil {
		t.Fatal(err)
	}
	if got := m.read("l"); got != "hello" {
		t.Errorf("by a symlink: %q", got)
	}
	if got := m.names(); got != "d l" {
		t.Errorf("the directory has %s", got)
	}
	if err := os.RemoveAll(filepath.Join(m.dir, "d")); err != nil {
		t.Fatal(err)
	}
	if got := m.names(); got != "l" {
		t.Errorf("the directory has %s", got)
	}
}

func TestLargeFile(t *testing.T) {
	m := newMount(t)
	data := make([]byte, 200<<20)
	_, _ = rand.Read(data)
	f, err := os.Create(filepath.Join(m.dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write(data); n != len(data) || err != nil {
		t.Fatalf("one write of 200 MiB: %d, %v", n, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := m.do("sum", "/home/c/big", ""), fmt.Sprintf("%x", md5.Sum(data)); got != want {
		t.Errorf("others see a file of sum %s; want %s", got, want)
	}
	got, err := os.ReadFile(filepath.Join(m.dir, "big"))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back: %d bytes, %v; want those written", len(got), err)
	}
}

func TestChangesOfOthersAreSeen(t *testing.T) {
	for _, cached := range []bool{true, false} {
		m := newMount(t, func(o *fusefs.Options) { o.WriteCache = cached })
		m.write("f", "old content")
		if got := m.read("f"); got != "old content" {
			t.Fatalf("the file has %q", got)
		}
		h, err := os.OpenFile(filepath.Join(m.dir, "f"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := os.Stat(filepath.Join(m.dir, "new")); !os.IsNotExist(err) {
			t.Fatal(err)
		}
		m.do("put", "/home/c/f", "new")
		m.do("put", "/home/c/new", "x")
		eventually(t, "the new content is seen", func() bool { return m.read("f") == "new" })
		eventually(t, "the new file is seen", func() bool { _, err := os.Stat(filepath.Join(m.dir, "new")); return err == nil })
		m.do("mtime", "/home/c/f", "", 1000)
		eventually(t, "the new time is seen", func() bool {
			i, err := os.Stat(filepath.Join(m.dir, "f"))
			return err == nil && i.ModTime().Unix() == 1000 && i.Size() == 3
		})
		buf := make([]byte, 100)
		if n, err := h.ReadAt(buf, 0); string(buf[:n]) != "old content" {
			t.Errorf("who has the file open reads %q, %v", buf[:n], err)
		}
		m.do("move", "/home/c/new", "/home/c/moved")
		eventually(t, "the rename is seen", func() bool { return m.names() == "f moved" })
		if _, err := os.Stat(filepath.Join(m.dir, "new")); !os.IsNotExist(err) {
			eventually(t, "the old name is gone", func() bool { _, err := os.Stat(filepath.Join(m.dir, "new")); return os.IsNotExist(err) })
		}
		m.do("remove", "/home/c/moved", "")
		eventually(t, "the removal is seen", func() bool { return m.names() == "f" })
	}
}

// A job's output: a directory that has no record, whose manifest is read from the
// mount.
func TestTmpCollection(t *testing.T) {
	m := newMount(t, func(o *fusefs.Options) {
		o.Layout.Entries = append(o.Layout.Entries, fusefs.Entry{Name: "tmp", Tmp: true})
	})
	m.dir = filepath.Join(m.top, "tmp")
	meta := func() (r struct {
		UUID     *string `json:"uuid"`
		PDH      string  `json:"portable_data_hash"`
		Manifest string  `json:"manifest_text"`
	}) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.read(".arvados#collection")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := meta(); got.Manifest != "" || got.UUID != nil || got.PDH != "d41d8cd98f00b204e9800998ecf8427e+0" {
		t.Errorf("of an empty collection: %+v", got)
	}
	for i := range 100 {
		m.write(fmt.Sprintf("f%03d", i), strings.Repeat(fmt.Sprint(i%10), 1000))
	}
	got := meta()
	if blocks := regexp.MustCompile(`[0-9a-f]{32}\+\d+`).FindAllString(got.Manifest, -1); len(blocks) != 1 {
		t.Errorf("100 small files are in %d blocks; want 1:\n%s", len(blocks), got.Manifest)
	}
	m.write("f000", "changed")
	if again := meta(); again.PDH == got.PDH || strings.Count(again.Manifest, ":f") != 100 {
		t.Errorf("after another write: %+v", again)
	}
	if err := os.Rename(filepath.Join(m.dir, "f001"), filepath.Join(m.top, "home/c/f001")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("rename to a collection with a record = %v; want EXDEV, after which programs copy", err)
	}
}

func TestFileThatWouldBeTooLarge(t *testing.T) {
	m := newMount(t)
	m.write("f", "x")
	for _, size := range []int64{1<<46 + 1, 1 << 62} {
		if err := os.Truncate(filepath.Join(m.dir, "f"), size); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("truncate to %d = %v; want EFBIG", size, err)
		}
	}
}
