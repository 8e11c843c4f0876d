package davfs

import (
	"container/list"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sync"

	"keepdav/collfs"
)

var algorithms = map[string]func() hash.Hash{"MD5": md5.New, "SHA1": sha1.New}

// Sum implements FileSystem.
func (f *FS) Sum(ctx context.Context, name, algorithm string) (string, error) {
	make, ok := algorithms[algorithm]
	if !ok {
		return "", pathError("sum", name, fmt.Errorf("checksum %q: %w", algorithm, collfs.ErrNotSupported))
	}
	file, err := f.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	i := file.Info()
	if sum := i.Attr.Extra[collfs.ExtraSum+algorithm]; sum != "" {
		return sum, nil
	}
	if sum := blockSum(file, algorithm); sum != "" {
		return sum, nil
	}
	sum, err := f.site.sums.sum(ctx, sumKey{i.Content, algorithm}, func() (string, error) {
		h := make()
		n, err := file.WriteRange(ctx, h, 0, i.Size)
		if err == nil && n != i.Size {
			err = io.ErrUnexpectedEOF
		}
		return hex.EncodeToString(h.Sum(nil)), err
	})
	return sum, pathError("sum", name, err)
}

// blockSum is the sum of a file that is one whole block, whose name is its MD5.
func blockSum(file File, algorithm string) string {
	o, ok := file.(*openFile)
	if !ok || algorithm != "MD5" {
		return ""
	}
	segs := o.r.Content().Segments
	if len(segs) != 1 || segs[0].Block == nil {
		return ""
	}
	hash, size, stored := segs[0].Block.Stored()
	if !stored || segs[0].Off != 0 || segs[0].Len != size {
		return ""
	}
	return hex.EncodeToString(hash[:])
}

// sumCache remembers whole-file checksums by content id, which says all about
// the content. The least recently used go first.
type sumCache struct {
	mu    sync.Mutex // guards the fields below
	sums  map[sumKey]*list.Element
	order *list.List               // of sumEntry; the front was used last
	busy  map[sumKey]chan struct{} // closed when the sum is made, or has failed
}

type sumKey struct {
	id        collfs.ContentID
	algorithm string
}

type sumEntry struct {
	key sumKey
	hex string
}

const maxSums = 100_000

func (c *sumCache) init() {
	c.sums, c.order, c.busy = map[sumKey]*list.Element{}, list.New(), map[sumKey]chan struct{}{}
}

// sum returns a sum that it remembers, or makes it. One of several callers makes
// it, the others wait; if it fails the next one tries.
func (c *sumCache) sum(ctx context.Context, key sumKey, make func() (string, error)) (string, error) {
	for {
		hex, busy, finish := c.turn(key)
		switch {
		case hex != "":
			return hex, nil
		case finish != nil:
			hex, err := make()
			finish(hex, err)
			return hex, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// turn returns the sum, or whom to wait for, or finish: then it is the caller's
// turn to make it.
func (c *sumCache) turn(key sumKey) (hex string, busy <-chan struct{}, finish func(string, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.sums[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(sumEntry).hex, nil, nil
	}
	if ch, ok := c.busy[key]; ok {
		return "", ch, nil
	}
	ch := make(chan struct{})
	c.busy[key] = ch
	return "", nil, func(hex string, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.busy, key)
		close(ch)
		if err != nil {
			return
		}
		c.sums[key] = c.order.PushFront(sumEntry{key, hex})
		for len(c.sums) > maxSums {
			last := c.order.Back()
			c.order.Remove(last)
			delete(c.sums, last.Value.(sumEntry).key)
		}
	}
}
