package storetest_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"io"
	"sync/atomic"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/memstore"
	"keepdav/keepio/storetest"
)

// broken is a store whose methods can be replaced by wrong ones.
type broken struct {
	memstore.Store
	read  func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error)
	write func(s *broken, ctx context.Context, data []byte) ([16]byte, error)
	calls atomic.Int64
	last  []byte
}

func (s *broken) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	if s.read == nil {
		return s.Store.ReadBlock(ctx, hash, size, p, off)
	}
	return s.read(s, ctx, hash, size, p, off)
}

func (s *broken) WriteBlock(ctx context.Context, data []byte) ([16]byte, error) {
	if s.write == nil {
		return s.Store.WriteBlock(ctx, data)
	}
	return s.write(s, ctx, data)
}

// TestEachCaseFailsOnAStoreThatBreaksItsClause breaks one clause at a time.
func TestEachCaseFailsOnAStoreThatBreaksItsClause(t *testing.T) {
	type read = func(*broken, context.Context, [16]byte, uint32, []byte, int64) (int, error)
	type write = func(*broken, context.Context, []byte) ([16]byte, error)
	through := func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
		return s.Store.ReadBlock(ctx, hash, size, p, off)
	}
	for name, c := range map[string]struct {
		read  read
		write write
	}{
		"ReadsBackWhatWasWritten": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			n, err := through(s, ctx, hash, size, p, off)
			if n == keepio.ChunkSize+1 {
				p[n-1] ^= 1
			}
			return n, err
		}},
		"NamesBlocksByTheirMD5": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			hash, err := s.Store.WriteBlock(ctx, data)
			if len(data) == 3 {
				hash[0] ^= 1
			}
			return hash, err
		}},
		"ReadsAnySpan": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			return through(s, ctx, hash, size, p, off/keepio.ChunkSize*keepio.ChunkSize)
		}},
		"IsShortOnlyAtTheEnd": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			return through(s, ctx, hash, size, p[:min(len(p), 999)], off)
		}},
		"UnknownBlockIsNotFound": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			n, err := through(s, ctx, hash, size, p, off)
			if err != nil && err != io.EOF && ctx.Err() == nil {
				err = keepio.ErrUnavailable
			}
			return n, err
		}},
		"OtherSizeIsNotFound": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			if hash == md5.Sum([]byte("foo")) {
				size = 3
			}
			return through(s, ctx, hash, size, p, off)
		}},
		"KnowsTheEmptyBlock": {read: func(s *broken, ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
			if size == 0 && hash == md5.Sum(nil) {
				return 0, keepio.ErrNotFound
			}
			return through(s, ctx, hash, size, p, off)
		}},
		"WritesTheSameBytesTwice": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			if s.calls.Add(1) > 1 {
				return [16]byte{}, keepio.ErrUnavailable
			}
			return s.Store.WriteBlock(ctx, data)
		}},
		"KeepsNoReferenceToData": {
			write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
				s.last = data
				return md5.Sum(data), nil
			},
			read: func(s *broken, _ context.Context, _ [16]byte, _ uint32, p []byte, off int64) (int, error) {
				return copy(p, s.last[off:]), nil
			}},
		"GivesNoReferenceToItsBytes": {
			write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
				s.last = bytes.Clone(data)
				return md5.Sum(data), nil
			},
			read: func(s *broken, _ context.Context, _ [16]byte, _ uint32, p []byte, off int64) (int, error) {
				n := copy(p, s.last[off:])
				clear(s.last) // as if p were its own memory, and the caller cleared it
				return n, nil
			}},
		"HoldsTheLargestBlock": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			if len(data) >= keepio.BlockSize {
				return [16]byte{}, keepio.ErrTooLarge
			}
			return s.Store.WriteBlock(ctx, data)
		}},
		"RefusesLargerBlocks": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			return md5.Sum(data), nil
		}},
		"EndsWithItsContext": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			return s.Store.WriteBlock(context.WithoutCancel(ctx), data)
		}},
		"TakesConcurrentCallers": {write: func(s *broken, ctx context.Context, data []byte) ([16]byte, error) {
			if s.calls.Add(1) > 50 {
				return [16]byte{}, keepio.ErrUnavailable
			}
			return s.Store.WriteBlock(ctx, data)
		}},
	} {
		found := false
		for _, check := range storetest.Cases {
			if check.Name != name {
				continue
			}
			found = true
			if err := check.Check(t.Context(), &broken{read: c.read, write: c.write}); err == nil {
				t.Errorf("%s passes on a store that breaks it", name)
			}
		}
		if !found {
			t.Errorf("there is no case %s", name)
		}
	}
	for _, c := range storetest.Cases {
		if err := c.Check(t.Context(), new(memstore.Store)); err != nil {
			t.Errorf("%s fails on the reference: %v", c.Name, err)
		}
	}
}
