package system

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepdav/test/target"
)

// TestRewritingLeavesLittleGarbage writes a file anew ten times, piece by piece
// at random places, and lets go of the old versions: the store may then take
// 1.3 times what is alive.
func TestRewritingLeavesLittleGarbage(t *testing.T) {
	size := 64 << 20
	if target.Long() {
		size = 512 << 20
	}
	s := target.Start(t, target.Options{})
	if s.Kind != target.KeepDAV {
		t.Skip("the reference server knows no Content-Range")
	}
	c := s.MakeCollection(t, "space")
	model := randomBytes(size)
	s.Must(t, []int{201}, "PUT", c+"file", model)
	rng := rand.New(rand.NewPCG(5, 6))
	for done := 0; done < 10*size; {
		n := 64<<10 + rng.IntN(1<<20)
		at := rng.IntN(size - n)
		piece := randomBytes(n)
		copy(model[at:], piece)
		s.Must(t, []int{204}, "PUT", c+"file", piece, "Content-Range", fmt.Sprintf("bytes %d-%d/*", at, at+n-1))
		done += n
	}
	use := func() int64 {
		if target.Long() {
			return diskUse(t, s.Store)
		}
		// Of so small a store, the journal and the reserve, whose sizes are fixed, would be most.
		return diskUse(t, filepath.Join(s.Store, "blocks")) + diskUse(t, filepath.Join(s.Store, "open"))
	}
	before := use()
	if err := target.Run(t, "gc", "--store", s.Store, "--now"); err != nil {
		t.Fatal(err)
	}
	if got := s.Must(t, []int{200}, "GET", c+"file", nil).Body; !bytes.Equal(got, model) {
		t.Fatal("after gc the file has other bytes than were written")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	after := use()
	t.Logf("%d MiB alive; the store takes %d MiB, %d before gc", size>>20, after>>20, before>>20)
	if float64(after) > 1.3*float64(size) {
		t.Errorf("the store takes %.2f × what is alive; at most 1.3 × is right\n%s", float64(after)/float64(size), mustRun(t, time.Minute, s.Store, nil, "du", "-a", "."))
	}
	if err := target.Fsck(t, s.Kind, s.Store); err != nil {
		t.Error(err)
	}
}

// diskUse is what du says.
func diskUse(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	seen := map[uint64]bool{} // hard links count once
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone since it was listed
		}
		if info, err := d.Info(); err == nil {
			if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
				seen[st.Ino] = true
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestCommandsWorkWhileTheServerRuns: the server owns the store; the commands
// reach it there.
func TestCommandsWorkWhileTheServerRuns(t *testing.T) {
	s := target.Start(t, target.Options{})
	if s.Kind != target.KeepDAV {
		t.Skip("the reference server has no commands")
	}
	c := s.MakeCollection(t, "cli")
	src, back := t.TempDir(), filepath.Join(t.TempDir(), "back")
	files := writeTree(t, src)
	name := strings.TrimSuffix(c, "/")
	for _, args := range [][]string{
		{"import", "--store", s.Store, src, name},
		{"export", "--store", s.Store, name, back},
		{"ls", "--store", s.Store, name},
		{"stat", "--store", s.Store, "--json"},
		{"fsck", "--store", s.Store},
		{"gc", "--store", s.Store},
		{"version"},
	} {
		if err := target.Run(t, args...); err != nil {
			t.Error(err)
		}
	}
	checkTree(t, back, files)
	token, err := target.Output(t, "token", "create", target.User, "--store", s.Store)
	if err != nil {
		t.Fatal(err)
	}
	if token = strings.TrimSuffix(token, "\n"); !strings.HasPrefix(token, "v2/") || strings.ContainsAny(token, " \n") {
		t.Fatalf("token create prints %q; want a v2 token alone", token)
	}
	r, err := s.Request("GET", c+"one", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := target.NewClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("GET with the token: %s", resp.Status)
	}
}
