package davfs_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/davfs"
	"keepdav/keepio"
)

func TestTmpCollectionShowsItsManifest(t *testing.T) {
	r := newRig(t)
	tmp, err := r.site.NewTmp(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.Close()
	c := tmp.Collection()
	meta := func(classes []string) (text string) {
		t.Helper()
		data, err := davfs.TmpMeta(r.ctx, tmp, classes)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		text, _ = m["manifest_text"].(string)
		uuid, has := m["uuid"]
		got, _ := m["storage_classes_desired"].([]any)
		if len(m) != 4 || !has || uuid != nil || m["portable_data_hash"] != string(manifest.PDH([]byte(text))) || got == nil || len(got) != len(classes) || data[len(data)-1] != '\n' {
			t.Errorf("the file is %s", data)
		}
		return text
	}
	if text := meta(nil); text != "" {
		t.Errorf("manifest of an empty one = %q", text)
	}
	if _, err := c.Mkdir("a <dir>", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	h, _, err := c.OpenFile("a <dir>/f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	r.must(err)
	write(t, h, "not saved", 0)
	text := meta([]string{"fast"})
	if !strings.HasPrefix(text, `./a\040<dir> `) {
		t.Errorf("manifest = %q", text)
	}
	tree, err := collfs.ParseManifest([]byte(text), r.spool)
	r.must(err)
	n := 0
	tree.Blocks(func(s keepio.Segment) {
		n++
		buf := make([]byte, s.Len)
		if _, err := r.spool.ReadBlock(r.ctx, s.Block, buf, int64(s.Off)); err != nil || string(buf) != "not saved" {
			t.Errorf("the manifest leads to %q, %v", buf, err)
		}
	})
	if n != 1 {
		t.Errorf("the manifest names %d segments; want one", n)
	}
	write(t, h, "more", 9)
	if again := meta(nil); again == text {
		t.Errorf("after another write the manifest is still %q", again)
	}
	r.must(h.Close(r.ctx))
	_, err = r.Locate(r.ctx, "/by_id/"+string(c.UUID()))
	wantErr(t, "Locate by its UUID", err, fs.ErrNotExist)
}
