package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/embedded"
)

// storedBlock writes data to a file of a collection of its own and returns the file that
// the store keeps it in.
func (p place) storedBlock(t *testing.T, collection string, data []byte) string {
	t.Helper()
	before := p.blocks(t)
	p.must(t, "--read-write", "--home", p.dir)
	from := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(from, data, 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, "mkdir "+p.dir+"/"+collection+" && cp "+from+" "+p.dir+"/"+collection+"/f")
	p.must(t, "--unmount", p.dir)
	s, err := embedded.Open(t.Context(), embedded.Config{Dir: p.store, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Spool.StoreAll(t.Context()), s.Close(context.Background())); err != nil {
		t.Fatal(err)
	}
	for name := range p.blocks(t) {
		if !before[name] {
			return name
		}
	}
	t.Fatalf("no block came for %s", collection)
	return ""
}

func (p place) blocks(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	err := filepath.WalkDir(filepath.Join(p.store, "blocks"), func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() && len(d.Name()) == 32 {
			found[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a block's loss or damage makes unreadable is an error of read, never other bytes;
// all else can be read and written, and the file again once the block is back.
func TestLostAndDamagedBlocksAreErrorsOfReadAlone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // five chunks of 64 KiB
	distinct := func(c byte) []byte { return append([]byte{c}, data[1:]...) }
	lost := p.storedBlock(t, "lost", distinct('l'))
	damaged := p.storedBlock(t, "damaged", distinct('d'))
	p.storedBlock(t, "good", distinct('g'))

	away := filepath.Join(t.TempDir(), "away")
	sound, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(sound)
	bad[100] ^= 1 // in the first chunk: an append needs the last page
	if err := errors.Join(os.Rename(lost, away), os.WriteFile(damaged, bad, 0o644)); err != nil {
		t.Fatal(err)
	}

	f := p.start(t, "--read-write", "--home", p.dir)
	in := func(name string) string { return filepath.Join(p.dir, name, "f") }
	for _, name := range []string{"lost", "damaged"} {
		if got, err := os.ReadFile(in(name)); !errors.Is(err, syscall.EIO) {
			t.Errorf("reading %s: %d bytes, %v; want EIO", name, len(got), err)
		}
	}
	if got, err := os.ReadFile(in("good")); err != nil || !bytes.Equal(got, distinct('g')) {
		t.Errorf("reading what is whole: %d bytes, %v", len(got), err)
	}
	sh(t, "echo more > "+p.dir+"/lost/more && echo more >> "+in("damaged")+" && sync "+p.dir+"/lost/more")
	if err := errors.Join(os.WriteFile(damaged, sound, 0o644), os.Rename(away, lost)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"lost": distinct('l'), "damaged": append(distinct('d'), "more\n"...)} {
		if got, err := os.ReadFile(in(name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, with its block back: %d bytes, %v; want the %d that were written", name, len(got), err, len(want))
		}
	}
	p.must(t, "--unmount", p.dir)
	f.end(t, 0)
	p.free(t)
}
