package fstest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A SideStore keeps side files in memory. It is the reference for davfs.SideStore.
type SideStore struct {
	mu    sync.Mutex // guards files
	files map[collfs.UUID]map[string]davfs.SideFile
}

// NewSideStore returns an empty store.
func NewSideStore() *SideStore {
	return &SideStore{files: map[collfs.UUID]map[string]davfs.SideFile{}}
}

// PutSide implements davfs.SideStore.
func (s *SideStore) PutSide(ctx context.Context, key collfs.UUID, f davfs.SideFile) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.files[key] == nil {
		s.files[key] = map[string]davfs.SideFile{}
	}
	f.Data = slices.Clone(f.Data)
	s.files[key][f.Path] = f
	return nil
}

// GetSide implements davfs.SideStore.
func (s *SideStore) GetSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[key][p]
	if !ok {
		return davfs.SideFile{}, fmt.Errorf("side file %q: %w", p, fs.ErrNotExist)
	}
	f.Data = slices.Clone(f.Data)
	return f, ctx.Err()
}

// StatSide implements davfs.SideStore.
func (s *SideStore) StatSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.GetSide(ctx, key, p)
	f.Data = nil
	return f, err
}

// ListSide implements davfs.SideStore.
func (s *SideStore) ListSide(ctx context.Context, key collfs.UUID, dir string) ([]davfs.SideFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []davfs.SideFile
	for p, f := range s.files[key] {
		up := ""
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			up = p[:i]
		}
		if up == dir {
			f.Data = nil
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b davfs.SideFile) int { return strings.Compare(a.Path, b.Path) })
	return all, ctx.Err()
}

// HasSide implements davfs.SideStore.
func (s *SideStore) HasSide(ctx context.Context, key collfs.UUID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files[key]) > 0, ctx.Err()
}

// below reports whether p is top or lies below it.
func below(p, top string) bool { return top == "" || p == top || strings.HasPrefix(p, top+"/") }

// RemoveSide implements davfs.SideStore.
func (s *SideStore) RemoveSide(ctx context.Context, key collfs.UUID, p string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range s.files[key] {
		if below(q, p) {
			delete(s.files[key], q)
		}
	}
	return ctx.Err()
}

// RenameSide implements davfs.SideStore.
func (s *SideStore) RenameSide(ctx context.Context, key collfs.UUID, p string, toKey collfs.UUID, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var moved []davfs.SideFile
	for q, f := range s.files[key] {
		if below(q, p) {
			f.Path = strings.TrimPrefix(path.Join(to, q[len(p):]), "/")
			moved = append(moved, f)
			delete(s.files[key], q)
		}
	}
	for q := range s.files[toKey] {
		if below(q, to) {
			delete(s.files[toKey], q)
		}
	}
	if len(moved) > 0 && s.files[toKey] == nil {
		s.files[toKey] = map[string]davfs.SideFile{}
	}
	for _, f := range moved {
		s.files[toKey][f.Path] = f
	}
	return ctx.Err()
}

// RunSide checks the side stores that open makes.
func RunSide(t *testing.T, open func(*testing.T) davfs.SideStore) {
	for _, c := range SideCases {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Check(t.Context(), open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A SideCase is one clause of davfs.SideStore.
type SideCase struct {
	Name  string
	Check func(ctx context.Context, s davfs.SideStore) error
}

// SideCases are all clauses.
var SideCases = []SideCase{
	{"PutIsGot", sidePut},
	{"ListIsOneDirectory", sideList},
	{"RemoveTakesATree", sideRemove},
	{"RenameTakesATree", sideRename},
}

const (
	sideA collfs.UUID = "zzzzz-4zz18-aaaaaaaaaaaaaaa"
	sideB collfs.UUID = "zzzzz-4zz18-bbbbbbbbbbbbbbb"
)

func sideFiles(ctx context.Context, s davfs.SideStore, key collfs.UUID, paths ...string) error {
	for i, p := range paths {
		data := []byte(p + "\x00data")
		f := davfs.SideFile{Path: p, Size: int64(len(data)), ModTime: time.Unix(int64(1000+i), 5), Content: collfs.ContentID{byte(i), 1}, Data: data}
		if err := s.PutSide(ctx, key, f); err != nil {
			return fmt.Errorf("PutSide(%s): %w", p, err)
		}
	}
	return nil
}

func sideHas(ctx context.Context, s davfs.SideStore, key collfs.UUID, dir string, want ...string) error {
	got, err := s.ListSide(ctx, key, dir)
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range got {
		paths = append(paths, f.Path)
	}
	if strings.Join(paths, "|") != strings.Join(want, "|") {
		return fmt.Errorf("ListSide(%q) = %q; want %q", dir, paths, want)
	}
	return nil
}

func sidePut(ctx context.Context, s davfs.SideStore) error {
	if has, err := s.HasSide(ctx, sideA); err != nil || has {
		return fmt.Errorf("HasSide of an empty store = %v, %v", has, err)
	}
	if _, err := s.GetSide(ctx, sideA, "._x"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("GetSide of nothing: error %v; want fs.ErrNotExist", err)
	}
	if err := first(sideFiles(ctx, s, sideA, "._x", "d/._y"), sideFiles(ctx, s, sideA, "._x")); err != nil {
		return err
	}
	f, err := s.GetSide(ctx, sideA, "d/._y")
	if err != nil || string(f.Data) != "d/._y\x00data" || f.Size != 10 || !f.ModTime.Equal(time.Unix(1001, 5)) || f.Content != (collfs.ContentID{1, 1}) || f.Path != "d/._y" {
		return fmt.Errorf("GetSide = %+v, %v; want what was put", f, err)
	}
	f.Data = nil
	if i, err := s.StatSide(ctx, sideA, "d/._y"); err != nil || i.Data != nil || i.Path != f.Path || i.Size != f.Size || !i.ModTime.Equal(f.ModTime) || i.Content != f.Content {
		return fmt.Errorf("StatSide = %+v, %v; want %+v", i, err, f)
	}
	if _, err := s.StatSide(ctx, sideA, "d"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("StatSide of nothing: error %v; want fs.ErrNotExist", err)
	}
	if has, err := s.HasSide(ctx, sideB); err != nil || has {
		return fmt.Errorf("HasSide of another key = %v, %v", has, err)
	}
	if has, err := s.HasSide(ctx, sideA); err != nil || !has {
		return fmt.Errorf("HasSide = %v, %v; want true", has, err)
	}
	return nil
}

func sideList(ctx context.Context, s davfs.SideStore) error {
	if err := sideFiles(ctx, s, sideA, "b", "a", "d/x", "d/e/y", "dd/z", "d_/z", "%/q"); err != nil {
		return err
	}
	return first(sideHas(ctx, s, sideA, "", "a", "b"), sideHas(ctx, s, sideA, "d", "d/x"), sideHas(ctx, s, sideA, "d/e", "d/e/y"),
		sideHas(ctx, s, sideA, "nothing"), sideHas(ctx, s, sideB, ""))
}

func sideRemove(ctx context.Context, s davfs.SideStore) error {
	return first(sideFiles(ctx, s, sideA, "d", "d/x", "d/e/y", "dd", "d-"), sideFiles(ctx, s, sideB, "d/x"),
		s.RemoveSide(ctx, sideA, "d"), s.RemoveSide(ctx, sideA, "nothing"),
		sideHas(ctx, s, sideA, "", "d-", "dd"), sideHas(ctx, s, sideA, "d"), sideHas(ctx, s, sideA, "d/e"), sideHas(ctx, s, sideB, "d", "d/x"))
}

func sideRename(ctx context.Context, s davfs.SideStore) error {
	return first(sideFiles(ctx, s, sideA, "d/x", "d/e/y", "dd/x"), sideFiles(ctx, s, sideB, "t/old", "tt"),
		s.RenameSide(ctx, sideA, "d", sideB, "t"), s.RenameSide(ctx, sideA, "nothing", sideB, "tt/none"),
		sideHas(ctx, s, sideA, "d"), sideHas(ctx, s, sideA, "dd", "dd/x"),
		sideHas(ctx, s, sideB, "t", "t/x"), sideHas(ctx, s, sideB, "t/e", "t/e/y"), sideHas(ctx, s, sideB, "", "tt"),
		s.RenameSide(ctx, sideB, "t/x", sideB, "moved"), sideHas(ctx, s, sideB, "", "moved", "tt"),
		s.RenameSide(ctx, sideB, "", sideA, "root"), sideHas(ctx, s, sideB, ""), sideHas(ctx, s, sideA, "root", "root/moved", "root/tt"),
		s.RenameSide(ctx, sideA, "root/t", sideB, ""), sideHas(ctx, s, sideB, "e", "e/y"))
}
