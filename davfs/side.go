package davfs

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"keepdav/collfs"
)

// sideIndex remembers which collections and projects have side files at all, so
// that changes elsewhere cost no query. Only this process changes side files.
type sideIndex struct {
	mu  sync.Mutex // guards the fields below
	has map[collfs.UUID]bool
	gen uint64 // counts additions
}

func (x *sideIndex) get(key collfs.UUID) (has, known bool, gen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	has, known = x.has[key]
	return has, known, x.gen
}

func (x *sideIndex) set(key collfs.UUID, has bool, gen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gen != gen {
		return
	}
	if x.has == nil || len(x.has) > 100_000 {
		x.has = map[collfs.UUID]bool{}
	}
	x.has[key] = has
}

func (x *sideIndex) added(key collfs.UUID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gen++
	if x.has == nil {
		x.has = map[collfs.UUID]bool{}
	}
	x.has[key] = true
}

func (s *Site) hasSide(ctx context.Context, key collfs.UUID) (bool, error) {
	if s.conf.Side == nil {
		return false, nil
	}
	has, known, gen := s.side.get(key)
	if known {
		return has, nil
	}
	has, err := s.conf.Side.HasSide(ctx, key)
	if err == nil {
		s.side.set(key, has, gen)
	}
	return has, err
}

func (s *Site) putSide(ctx context.Context, key collfs.UUID, f SideFile) error {
	// Before and after: a set between the two is of a state without f.
	s.side.added(key)
	defer s.side.added(key)
	return s.conf.Side.PutSide(ctx, key, f)
}

// hasTwin reports whether there is a resource fork of what is at p. Writing to
// the side store costs a sync, looking does not.
func (s *Site) hasTwin(ctx context.Context, key collfs.UUID, p string) (bool, error) {
	if p == "" { // a root has its twin in the folder of its project
		return false, nil
	}
	_, err := s.conf.Side.StatSide(ctx, key, appleTwin(p))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// dropSide forgets the side files of what was at p: its resource fork and, of a
// directory, those below it.
func (s *Site) dropSide(ctx context.Context, key collfs.UUID, p string, dir bool) error {
	has, err := s.hasSide(ctx, key)
	if !has {
		return err
	}
	s.sideMu.Lock()
	defer s.sideMu.Unlock()
	return s.dropSideLocked(ctx, key, p, dir)
}

// dropSideLocked is dropSide where there are side files. s.sideMu must be held.
func (s *Site) dropSideLocked(ctx context.Context, key collfs.UUID, p string, dir bool) error {
	if dir {
		if err := s.conf.Side.RemoveSide(ctx, key, p); err != nil {
			return err
		}
	}
	if has, err := s.hasTwin(ctx, key, p); !has {
		return err
	}
	return s.conf.Side.RemoveSide(ctx, key, appleTwin(p))
}

// moveSide takes the side files of what was at p along to another place, where
// they replace what is there.
func (s *Site) moveSide(ctx context.Context, key collfs.UUID, p string, toKey collfs.UUID, to string, dir bool) error {
	there, err := s.hasSide(ctx, toKey)
	if err != nil {
		return err
	}
	has, err := s.hasSide(ctx, key)
	if err != nil || !has && !there {
		return err
	}
	s.sideMu.Lock()
	defer s.sideMu.Unlock()
	if there {
		if err := s.dropSideLocked(ctx, toKey, to, dir); err != nil {
			return err
		}
	}
	if !has {
		return nil
	}
	s.side.added(toKey)
	defer s.side.added(toKey)
	if dir {
		if err := s.conf.Side.RenameSide(ctx, key, p, toKey, to); err != nil {
			return err
		}
	}
	if has, err := s.hasTwin(ctx, key, p); !has || to == "" {
		return err
	}
	return s.conf.Side.RenameSide(ctx, key, appleTwin(p), toKey, appleTwin(to))
}

// sideInfo describes a side file.
func sideInfo(key collfs.UUID, f SideFile) Info {
	name := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	return Info{
		Name: name, Size: f.Size, ModTime: f.ModTime, Content: f.Content,
		Collection: key, Path: f.Path, Entries: -1,
	}
}

func contentOf(data []byte) collfs.ContentID { return xxh3.Hash128(data).Bytes() }

// sideStat describes a side file; a missing one is fs.ErrNotExist.
func (f *FS) sideStat(ctx context.Context, key collfs.UUID, p string) (Info, error) {
	file, err := f.findSide(ctx, key, p)
	return sideInfo(key, file), err
}

func (f *FS) openSide(ctx context.Context, key collfs.UUID, p string) (File, error) {
	file, done, err := f.loadSide(ctx, key, p, asLarge)
	if err != nil {
		return nil, err
	}
	b := newBytesFile(sideInfo(key, file), file.Data)
	b.done = done
	return b, nil
}

// loadSide returns a side file with its data, for which there is room in memory
// until done is called. need is how much that takes, by the size of the file.
func (f *FS) loadSide(ctx context.Context, key collfs.UUID, p string, need func(size int64) int64) (file SideFile, done func(), err error) {
	for {
		known, err := f.findSide(ctx, key, p)
		if err != nil {
			return SideFile{}, nil, err
		}
		n := need(known.Size)
		if err := f.site.sideRoom.take(ctx, n); err != nil {
			return SideFile{}, nil, err
		}
		done = sync.OnceFunc(func() { f.site.sideRoom.give(n) })
		file, err = f.site.conf.Side.GetSide(ctx, key, p)
		if err == nil && file.Size <= known.Size {
			return file, done, nil
		}
		done()
		if err != nil {
			return SideFile{}, nil, err
		}
	}
}

// asLarge is what a file needs that is only read.
func asLarge(size int64) int64 { return size }

// findSide returns a side file without its data.
func (f *FS) findSide(ctx context.Context, key collfs.UUID, p string) (SideFile, error) {
	if _, base := splitPath(p); !isAppleLitter(base) {
		return SideFile{}, fs.ErrNotExist
	}
	has, err := f.site.hasSide(ctx, key)
	if err != nil {
		return SideFile{}, err
	}
	if !has {
		return SideFile{}, fs.ErrNotExist
	}
	return f.site.conf.Side.StatSide(ctx, key, p)
}

// withSide adds the side files of a directory to a listing for an Apple client.
func (f *FS) withSide(ctx context.Context, l Listing, key collfs.UUID, dir string) (Listing, error) {
	if !clientOf(ctx).Apple {
		return l, nil
	}
	has, err := f.site.hasSide(ctx, key)
	if err != nil || !has {
		return l, err
	}
	files, err := f.site.conf.Side.ListSide(ctx, key, dir)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, len(files))
	for i, file := range files {
		infos[i] = sideInfo(key, file)
	}
	return newMergeListing(l, newSliceListing(infos)), nil
}

// checkSide calls a Check with the side file that there is, if any.
func (f *FS) checkSide(ctx context.Context, key collfs.UUID, p string, check Check) (Info, bool, error) {
	i, err := f.sideStat(ctx, key, p)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, false, err
	}
	if !exists {
		i = Info{}
	}
	if check != nil {
		if err := check(i, exists); err != nil {
			return i, exists, checkError{err}
		}
	}
	return i, exists, nil
}

func (f *FS) removeSide(ctx context.Context, key collfs.UUID, p string, mayWrite bool, check Check) error {
	if _, err := f.sideStat(ctx, key, p); err != nil {
		return err
	}
	if !mayWrite {
		return collfs.ErrReadOnly
	}
	f.site.sideMu.Lock()
	defer f.site.sideMu.Unlock()
	if _, _, err := f.checkSide(ctx, key, p, check); err != nil {
		return err
	}
	return f.site.conf.Side.RemoveSide(ctx, key, p)
}

// setSideAttr changes the time of a side file; other attributes it has none.
func (f *FS) setSideAttr(ctx context.Context, key collfs.UUID, p string, mayWrite bool, c AttrChange) (i Info, err error) {
	for done := false; err == nil && !done; {
		done, err = f.trySideAttr(ctx, key, p, mayWrite, c, &i)
	}
	return i, err
}

// trySideAttr is one attempt of setSideAttr; done is false if the file changed meanwhile.
func (f *FS) trySideAttr(ctx context.Context, key collfs.UUID, p string, mayWrite bool, c AttrChange, i *Info) (done bool, err error) {
	file, release, err := f.loadSide(ctx, key, p, asLarge)
	if err != nil {
		return false, err
	}
	defer release()
	if !mayWrite {
		return false, collfs.ErrReadOnly
	}
	return f.ifStill(ctx, key, file, func() error {
		*i, _, err = f.checkSide(ctx, key, p, c.Check)
		if err != nil || c.ModTime == nil {
			return err
		}
		file.ModTime = *c.ModTime
		*i = sideInfo(key, file)
		return f.site.putSide(ctx, key, file)
	})
}

// ifStill calls change if a side file is as it was loaded, while no other changes
// are made, and reports whether it was. Room in memory is not waited for meanwhile:
// those who have it may be waiting to make their changes.
func (f *FS) ifStill(ctx context.Context, key collfs.UUID, was SideFile, change func() error) (bool, error) {
	f.site.sideMu.Lock()
	defer f.site.sideMu.Unlock()
	now, err := f.findSide(ctx, key, was.Path)
	if err != nil || now.Content != was.Content || !now.ModTime.Equal(was.ModTime) {
		return false, err
	}
	return true, change()
}

// removeMoved removes a side file that has been moved away; one that was put in its
// place meanwhile stays.
func (f *FS) removeMoved(ctx context.Context, key collfs.UUID, moved SideFile) error {
	f.site.sideMu.Lock()
	defer f.site.sideMu.Unlock()
	now, err := f.findSide(ctx, key, moved.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && now.Content != moved.Content {
		return nil
	}
	if err != nil {
		return err
	}
	return f.site.conf.Side.RemoveSide(ctx, key, moved.Path)
}
