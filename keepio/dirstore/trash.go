package dirstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

// An Info describes a stored block.
type Info = keepio.Info

// Walk calls fn for each block, in the order of their hashes, until fn fails.
// Files that are no blocks are passed over; so is a block that comes or goes
// meanwhile, or not.
func (s *Store) Walk(ctx context.Context, fn func(Info) error) error {
	return s.WalkPrefix(ctx, "", fn)
}

// WalkPrefix is Walk of the blocks whose hash, in hex, begins with prefix.
func (s *Store) WalkPrefix(ctx context.Context, prefix string, fn func(Info) error) error {
	dirs, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("walk blocks: %w", err)
	}
	for _, d := range dirs {
		if len(d.Name()) != 3 || !d.IsDir() || !strings.HasPrefix(d.Name(), prefix[:min(3, len(prefix))]) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.cfg.Dir, d.Name()))
		if err != nil {
			return fmt.Errorf("walk blocks: %w", err)
		}
		for _, f := range files {
			hash, ok := parseHash(f.Name())
			if !ok || f.Name()[:3] != d.Name() || !strings.HasPrefix(f.Name(), prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			info, err := f.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
				continue
			}
			if err != nil {
				return fmt.Errorf("walk blocks: %w", err)
			}
			if err := fn(Info{Hash: hash, Size: info.Size(), Modified: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseHash reads a block's file name.
func parseHash(name string) (hash [16]byte, ok bool) {
	if len(name) != 32 || strings.ToLower(name) != name {
		return hash, false
	}
	_, err := hex.Decode(hash[:], []byte(name))
	return hash, err == nil
}

// Verify reads all of a block and compares its MD5 with its name. It passes by
// what is known of chunks, and sets it right.
func (s *Store) Verify(ctx context.Context, hash [16]byte, size uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if size == 0 && hash == emptyHash {
		return nil
	}
	f, err := os.Open(s.path(hash))
	if errors.Is(err, fs.ErrNotExist) {
		err = keepio.ErrNotFound
	}
	if err == nil {
		defer f.Close()
		err = s.verifyFile(f, hash, size)
	}
	if err != nil {
		return fmt.Errorf("verify block %x+%d: %w", hash, size, err)
	}
	return nil
}

func (s *Store) verifyFile(f *os.File, hash [16]byte, size uint32) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != int64(size) {
		return fmt.Errorf("%w: the file has %d bytes", keepio.ErrCorrupt, info.Size())
	}
	sums, err := openblock.HashFile(f, hash, size)
	if err != nil {
		s.cache.Drop(hash) // so that reads look again, too
		s.sums.Remove(hash)
		return err
	}
	s.sums.Write(hash, size, sums)
	return nil
}

// Trash takes a block out of the store and keeps it aside until EmptyTrash,
// if doomed, called while nobody can write or adopt that block, says so. It
// reports whether it did. An unknown block is keepio.ErrNotFound.
func (s *Store) Trash(ctx context.Context, hash [16]byte, doomed func(Info) bool) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	defer s.lock(hash)()
	path := s.path(hash)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = keepio.ErrNotFound
	}
	if err != nil {
		return false, fmt.Errorf("trash block %x: %w", hash, err)
	}
	if !doomed(Info{Hash: hash, Size: info.Size(), Modified: info.ModTime()}) {
		return false, nil
	}
	target := filepath.Join(s.cfg.Trash, fmt.Sprintf("%x.%d", hash, time.Now().Unix()))
	if err := os.Rename(path, target); err != nil {
		return false, fmt.Errorf("trash block %x: %w", hash, err)
	}
	s.cache.Drop(hash)
	return true, nil
}

// Untrash puts a block back that is in the trash. One that is not there is
// keepio.ErrNotFound.
func (s *Store) Untrash(ctx context.Context, hash [16]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.lock(hash)()
	found, err := filepath.Glob(filepath.Join(s.cfg.Trash, fmt.Sprintf("%x.*", hash)))
	if err == nil && len(found) == 0 {
		err = keepio.ErrNotFound
	}
	if err == nil {
		err = s.untrashFile(found[len(found)-1], hash)
	}
	if err != nil {
		return fmt.Errorf("take block %x out of the trash: %w", hash, err)
	}
	return nil
}

// untrashFile gives a file in the trash its name back, as new as one just
// written. The name's lock is held.
func (s *Store) untrashFile(trashed string, hash [16]byte) error {
	target := s.path(hash)
	if err := s.makeDir(filepath.Dir(target)); err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(trashed, now, now); err != nil {
		return err
	}
	if err := os.Link(trashed, target); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.syncName(target, false); err != nil {
		return err
	}
	return os.Remove(trashed)
}

// EmptyTrash deletes the blocks that were put in the trash before that time. It
// reports how many and their bytes.
func (s *Store) EmptyTrash(ctx context.Context, before time.Time) (blocks int, bytes int64, err error) {
	files, err := os.ReadDir(s.cfg.Trash)
	if err != nil {
		return 0, 0, fmt.Errorf("empty the trash: %w", err)
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return blocks, bytes, err
		}
		name, stamp, _ := strings.Cut(f.Name(), ".")
		hash, ok := parseHash(name)
		at, err := strconv.ParseInt(stamp, 10, 64)
		if !ok || err != nil || !time.Unix(at, 0).Before(before) {
			continue
		}
		info, err := f.Info()
		if err == nil {
			err = os.Remove(filepath.Join(s.cfg.Trash, f.Name()))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return blocks, bytes, fmt.Errorf("empty the trash: %w", err)
		}
		blocks, bytes = blocks+1, bytes+info.Size()
		s.forgetSums(hash)
	}
	return blocks, bytes, nil
}

// forgetSums removes the sums of a block that is gone.
func (s *Store) forgetSums(hash [16]byte) {
	defer s.lock(hash)()
	if _, err := os.Stat(s.path(hash)); errors.Is(err, fs.ErrNotExist) {
		s.sums.Remove(hash)
	}
}
