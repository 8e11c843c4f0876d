// Package storetest checks that a keepio.Store does what its contract says: one
// case for each clause. Cases return errors, so that the suite itself can be
// tried on stores that are broken on purpose.
package storetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"keepdav/keepio"
)

// A Case checks one clause of the contract on a fresh store.
type Case struct {
	Name  string
	Check func(ctx context.Context, s keepio.Store) error
}

// Run checks the stores that open makes, one fresh store a case.
func Run(t *testing.T, open func(*testing.T) keepio.Store) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Check(t.Context(), open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Cases are the clauses.
var Cases = []Case{
	{"ReadsBackWhatWasWritten", readsBack},
	{"NamesBlocksByTheirMD5", namesByMD5},
	{"ReadsAnySpan", readsAnySpan},
	{"IsShortOnlyAtTheEnd", shortAtEnd},
	{"UnknownBlockIsNotFound", unknownIsNotFound},
	{"OtherSizeIsNotFound", otherSizeIsNotFound},
	{"KnowsTheEmptyBlock", knowsEmpty},
	{"WritesTheSameBytesTwice", writesTwice},
	{"KeepsNoReferenceToData", keepsNoReference},
	{"GivesNoReferenceToItsBytes", givesNoReference},
	{"HoldsTheLargestBlock", holdsLargest},
	{"RefusesLargerBlocks", refusesLarger},
	{"EndsWithItsContext", endsWithContext},
	{"TakesConcurrentCallers", concurrent},
}

// Data returns n bytes that look random and depend on seed.
func Data(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return data
}

// expect reads all of a block and compares.
func expect(ctx context.Context, s keepio.Store, want []byte) error {
	p := make([]byte, len(want)+1)
	n, err := s.ReadBlock(ctx, md5.Sum(want), uint32(len(want)), p, 0)
	if err != nil && len(want) > 0 {
		return fmt.Errorf("ReadBlock of %d bytes: %w", len(want), err)
	}
	if !bytes.Equal(p[:n], want) {
		return fmt.Errorf("ReadBlock of %d bytes returned %d, or other ones", len(want), n)
	}
	return nil
}

// write stores data.
func write(ctx context.Context, s keepio.Store, data []byte) error {
	hash, err := s.WriteBlock(ctx, data)
	if err != nil {
		return fmt.Errorf("WriteBlock of %d bytes: %w", len(data), err)
	}
	if hash != md5.Sum(data) {
		return fmt.Errorf("WriteBlock of %d bytes = %x; want their MD5", len(data), hash)
	}
	return nil
}

func readsBack(ctx context.Context, s keepio.Store) error {
	for i, n := range []int{1, 3, 4096, keepio.ChunkSize - 1, keepio.ChunkSize, keepio.ChunkSize + 1, 1 << 20, 3<<20 + 5} {
		data := Data(uint64(i), n)
		if err := write(ctx, s, data); err != nil {
			return err
		}
		if err := expect(ctx, s, data); err != nil {
			return err
		}
	}
	return nil
}

func namesByMD5(ctx context.Context, s keepio.Store) error {
	return errors.Join(write(ctx, s, []byte("foo")), write(ctx, s, []byte("bar")))
}

func readsAnySpan(ctx context.Context, s keepio.Store) error {
	data := Data(1, 5*keepio.ChunkSize+77)
	if err := write(ctx, s, data); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		off := r.IntN(len(data))
		p := make([]byte, 1+r.IntN(len(data)-off))
		n, err := s.ReadBlock(ctx, md5.Sum(data), uint32(len(data)), p, int64(off))
		if err != nil || n != len(p) || !bytes.Equal(p, data[off:off+n]) {
			return fmt.Errorf("ReadBlock of %d bytes at %d = %d, %v, or other bytes", len(p), off, n, err)
		}
	}
	return nil
}

func shortAtEnd(ctx context.Context, s keepio.Store) error {
	data := Data(2, 1000)
	if err := write(ctx, s, data); err != nil {
		return err
	}
	for _, c := range []struct {
		off     int64
		ask, n  int
		wantErr error
	}{{0, 1000, 1000, nil}, {0, 2000, 1000, nil}, {999, 5, 1, nil}, {1000, 5, 0, io.EOF}, {5000, 5, 0, io.EOF}, {1000, 0, 0, nil}} {
		p := make([]byte, c.ask)
		n, err := s.ReadBlock(ctx, md5.Sum(data), 1000, p, c.off)
		if n != c.n || !errors.Is(err, c.wantErr) {
			return fmt.Errorf("ReadBlock of %d bytes at %d of 1000 = %d, %v; want %d, %v", c.ask, c.off, n, err, c.n, c.wantErr)
		}
		if n > 0 && !bytes.Equal(p[:n], data[c.off:c.off+int64(n)]) {
			return fmt.Errorf("ReadBlock of %d bytes at %d returns other bytes", c.ask, c.off)
		}
	}
	return nil
}

func unknownIsNotFound(ctx context.Context, s keepio.Store) error {
	n, err := s.ReadBlock(ctx, md5.Sum([]byte("nobody wrote this")), 17, make([]byte, 17), 0)
	if n != 0 || !errors.Is(err, keepio.ErrNotFound) {
		return fmt.Errorf("ReadBlock of an unknown block = %d, %w; want ErrNotFound", n, err)
	}
	return nil
}

func otherSizeIsNotFound(ctx context.Context, s keepio.Store) error {
	if err := write(ctx, s, []byte("foo")); err != nil {
		return err
	}
	for _, size := range []uint32{0, 2, 4} {
		n, err := s.ReadBlock(ctx, md5.Sum([]byte("foo")), size, make([]byte, 3), 0)
		if n != 0 || !errors.Is(err, keepio.ErrNotFound) {
			return fmt.Errorf("ReadBlock of foo with size %d = %d, %w; want ErrNotFound", size, n, err)
		}
	}
	return nil
}

func knowsEmpty(ctx context.Context, s keepio.Store) error {
	for range 2 {
		n, err := s.ReadBlock(ctx, md5.Sum(nil), 0, make([]byte, 1), 0)
		if n != 0 || !errors.Is(err, io.EOF) {
			return fmt.Errorf("ReadBlock of the empty block = %d, %w; want io.EOF", n, err)
		}
		if _, err := s.ReadBlock(ctx, md5.Sum(nil), 0, nil, 0); err != nil {
			return fmt.Errorf("ReadBlock of nothing of the empty block: %w", err)
		}
		if err := write(ctx, s, nil); err != nil {
			return err
		}
	}
	return nil
}

func writesTwice(ctx context.Context, s keepio.Store) error {
	data := Data(3, 100000)
	return errors.Join(write(ctx, s, data), write(ctx, s, bytes.Clone(data)), expect(ctx, s, data))
}

func keepsNoReference(ctx context.Context, s keepio.Store) error {
	data := Data(4, 100000)
	want := bytes.Clone(data)
	if err := write(ctx, s, data); err != nil {
		return err
	}
	clear(data)
	return expect(ctx, s, want)
}

func givesNoReference(ctx context.Context, s keepio.Store) error {
	data := Data(5, 100000)
	if err := write(ctx, s, data); err != nil {
		return err
	}
	p := make([]byte, len(data))
	if _, err := s.ReadBlock(ctx, md5.Sum(data), uint32(len(data)), p, 0); err != nil {
		return err
	}
	clear(p)
	return expect(ctx, s, data)
}

func holdsLargest(ctx context.Context, s keepio.Store) error {
	data := make([]byte, keepio.BlockSize)
	copy(data, "first")
	copy(data[keepio.BlockSize-4:], "last")
	return errors.Join(write(ctx, s, data), expect(ctx, s, data))
}

func refusesLarger(ctx context.Context, s keepio.Store) error {
	if _, err := s.WriteBlock(ctx, make([]byte, keepio.BlockSize+1)); !errors.Is(err, keepio.ErrTooLarge) {
		return fmt.Errorf("WriteBlock of 64 MiB and a byte: %w; want ErrTooLarge", err)
	}
	return nil
}

func endsWithContext(ctx context.Context, s keepio.Store) error {
	if err := write(ctx, s, []byte("foo")); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.ReadBlock(ended, md5.Sum([]byte("foo")), 3, make([]byte, 3), 0); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("ReadBlock with an ended context: %w; want context.Canceled", err)
	}
	if _, err := s.WriteBlock(ended, []byte("bar")); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("WriteBlock with an ended context: %w; want context.Canceled", err)
	}
	return nil
}

// concurrent has many callers write few blocks, so that the same one is written
// by several at once, and read while others write it.
func concurrent(ctx context.Context, s keepio.Store) error {
	blocks := make([][]byte, 8)
	for i := range blocks {
		blocks[i] = Data(uint64(100+i), 50000+i)
	}
	errs := make([]error, 32)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for j := range 20 {
				data := blocks[(i*j+j)%len(blocks)]
				if errs[i] = errors.Join(write(ctx, s, data), expect(ctx, s, data)); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
