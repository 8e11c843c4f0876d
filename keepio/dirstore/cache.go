package dirstore

import (
	"container/list"
	"sync"
	"sync/atomic"

	"keepdav/keepio"
	"keepdav/keepio/internal/blockio"
)

// An openBlock is the open file of a block with what is known of its chunks.
type openBlock struct {
	hash [16]byte
	f    *blockio.File
	size uint32
	good [keepio.BlockSize / keepio.ChunkSize / 64]atomic.Uint64 // bit per chunk: has been checked

	mu   sync.RWMutex // guards sums
	sums []uint32

	refs    int  // guarded by the shard's mu, like the next two
	dropped bool // closed when refs gets 0
	place   *list.Element
}

// checked reports whether chunks from..to have been checked.
func (b *openBlock) checked(from, to int) bool {
	for c := from; c <= to; c++ {
		if b.good[c/64].Load()&(1<<(c%64)) == 0 {
			return false
		}
	}
	return true
}

// checkedRun returns how many of the n bytes from off lie in chunks that have
// been checked, up to the first that has not.
func (b *openBlock) checkedRun(off, n int64) int64 {
	end := off + n
	at := off
	for at < end && b.checked(int(at/keepio.ChunkSize), int(at/keepio.ChunkSize)) {
		at = min(at-at%keepio.ChunkSize+keepio.ChunkSize, end)
	}
	return at - off
}

func (b *openBlock) setChecked(c int) { b.good[c/64].Or(1 << (c % 64)) }

// setSums replaces the sums after the whole block was checked.
func (b *openBlock) setSums(sums []uint32) {
	b.mu.Lock()
	b.sums = sums
	b.mu.Unlock()
	for c := range sums {
		b.setChecked(c)
	}
}

func (b *openBlock) sum(c int) uint32 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sums[c]
}

const cacheShards = 16

// A cache keeps the files of blocks open that were used last.
type cache struct {
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	limit int

	mu     sync.Mutex // guards the fields below
	blocks map[[16]byte]*openBlock
	recent list.List // of *openBlock, the last used first
}

func (c *cache) init(files int) {
	for i := range c.shards {
		c.shards[i].limit = max(files/cacheShards, 1)
		c.shards[i].blocks = make(map[[16]byte]*openBlock)
	}
}

func (c *cache) shard(hash [16]byte) *cacheShard { return &c.shards[hash[15]%cacheShards] }

// get returns a pinned block, or nil.
func (c *cache) get(hash [16]byte) *openBlock {
	sh := c.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.blocks[hash]
	if b != nil {
		b.refs++
		sh.recent.MoveToFront(b.place)
	}
	return b
}

// put adds a block that was just opened and returns it pinned; if there is one
// already that is returned, and b's file closed.
func (c *cache) put(b *openBlock) *openBlock {
	sh := c.shard(b.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if have := sh.blocks[b.hash]; have != nil {
		_ = b.f.Close()
		have.refs++
		return have
	}
	b.refs = 1
	b.place = sh.recent.PushFront(b)
	sh.blocks[b.hash] = b
	for sh.recent.Len() > sh.limit {
		sh.dropLocked(sh.recent.Back().Value.(*openBlock))
	}
	return b
}

// release unpins b.
func (c *cache) release(b *openBlock) {
	sh := c.shard(b.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if b.refs--; b.refs == 0 && b.dropped {
		_ = b.f.Close()
	}
}

// drop forgets a block: its name stands for another file, or for none.
func (c *cache) drop(hash [16]byte) {
	sh := c.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if b := sh.blocks[hash]; b != nil {
		sh.dropLocked(b)
	}
}

func (sh *cacheShard) dropLocked(b *openBlock) {
	delete(sh.blocks, b.hash)
	sh.recent.Remove(b.place)
	b.dropped = true
	if b.refs == 0 {
		_ = b.f.Close()
	}
}

// clear closes all files that are not in use.
func (c *cache) clear() {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		for _, b := range sh.blocks {
			sh.dropLocked(b)
		}
		sh.mu.Unlock()
	}
}
