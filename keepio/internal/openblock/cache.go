package openblock

import (
	"container/list"
	"sync"
	"sync/atomic"
)

const cacheShards = 16

// A Cache keeps the files of blocks open that were used last. Get and Put pin a
// block: its file stays open until Release.
type Cache struct {
	shards [cacheShards]cacheShard
	period atomic.Uint32
}

type cacheShard struct {
	limit int

	mu     sync.Mutex // guards the fields below
	blocks map[[16]byte]*Block
	recent list.List // of *Block, the last used first
}

// NewCache returns a cache of about so many files.
func NewCache(files int) *Cache {
	c := new(Cache)
	for i := range c.shards {
		c.shards[i].limit = max(files/cacheShards, 1)
		c.shards[i].blocks = make(map[[16]byte]*Block)
	}
	return c
}

func (c *Cache) shard(hash [16]byte) *cacheShard { return &c.shards[hash[15]%cacheShards] }

// Get returns a pinned block, or nil.
func (c *Cache) Get(hash [16]byte) *Block {
	sh := c.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.blocks[hash]
	if b != nil {
		b.refs++
		b.used = c.period.Load()
		sh.recent.MoveToFront(b.place)
	}
	return b
}

// Put adds a block that was just opened and returns it pinned; if there is one of
// that hash and size already that is returned, and b closed.
func (c *Cache) Put(b *Block) *Block {
	sh := c.shard(b.Hash)
	have, out := sh.put(b, c.period.Load())
	closeAll(out)
	return have
}

func (sh *cacheShard) put(b *Block, period uint32) (have *Block, out []*Block) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if have := sh.blocks[b.Hash]; have != nil {
		if have.Size == b.Size {
			have.refs++
			have.used = period
			return have, []*Block{b}
		}
		out = sh.dropLocked(have, out)
	}
	b.refs, b.used = 1, period
	b.place = sh.recent.PushFront(b)
	sh.blocks[b.Hash] = b
	for sh.recent.Len() > sh.limit {
		out = sh.dropLocked(sh.recent.Back().Value.(*Block), out)
	}
	return b, out
}

// Pin pins a block that somebody else has pinned.
func (c *Cache) Pin(b *Block) {
	sh := c.shard(b.Hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b.refs++
}

// Release unpins b.
func (c *Cache) Release(b *Block) {
	sh := c.shard(b.Hash)
	sh.mu.Lock()
	b.refs--
	last := b.refs == 0 && b.dropped
	sh.mu.Unlock()
	if last {
		_ = b.Close()
	}
}

// Drop forgets the block with that hash: its name stands for another file, or
// for none.
func (c *Cache) Drop(hash [16]byte) {
	sh := c.shard(hash)
	sh.mu.Lock()
	var out []*Block
	if b := sh.blocks[hash]; b != nil {
		out = sh.dropLocked(b, nil)
	}
	sh.mu.Unlock()
	closeAll(out)
}

// DropBlock forgets b, but not another one with the same hash.
func (c *Cache) DropBlock(b *Block) {
	sh := c.shard(b.Hash)
	sh.mu.Lock()
	var out []*Block
	if sh.blocks[b.Hash] == b {
		out = sh.dropLocked(b, nil)
	}
	sh.mu.Unlock()
	closeAll(out)
}

// DropIdle forgets the block with that hash unless it is pinned.
func (c *Cache) DropIdle(hash [16]byte) {
	sh := c.shard(hash)
	sh.mu.Lock()
	var out []*Block
	if b := sh.blocks[hash]; b != nil && b.refs == 0 {
		out = sh.dropLocked(b, nil)
	}
	sh.mu.Unlock()
	closeAll(out)
}

// dropLocked forgets b and adds it to out if it can be closed at once. sh.mu must
// be held.
func (sh *cacheShard) dropLocked(b *Block, out []*Block) []*Block {
	delete(sh.blocks, b.Hash)
	sh.recent.Remove(b.place)
	b.dropped = true
	if b.refs == 0 {
		out = append(out, b)
	}
	return out
}

func closeAll(blocks []*Block) {
	for _, b := range blocks {
		_ = b.Close()
	}
}

// Period begins a new period of time. It drops the blocks that were not asked
// for in the one that ends, nor in the one before, and are not pinned; it calls
// used for those that were asked for in the one that ends.
func (c *Cache) Period(used func(*Block)) {
	now := c.period.Add(1)
	for i := range c.shards {
		sh := &c.shards[i]
		var out, recent []*Block
		sh.mu.Lock()
		for _, b := range sh.blocks {
			switch {
			case b.used+1 == now:
				b.refs++
				recent = append(recent, b)
			case b.used+2 < now && b.refs == 0:
				out = sh.dropLocked(b, out)
			}
		}
		sh.mu.Unlock()
		closeAll(out)
		for _, b := range recent {
			used(b)
			c.Release(b)
		}
	}
}

// Clear closes all files that are not in use.
func (c *Cache) Clear() {
	for i := range c.shards {
		sh := &c.shards[i]
		var out []*Block
		sh.mu.Lock()
		for _, b := range sh.blocks {
			out = sh.dropLocked(b, out)
		}
		sh.mu.Unlock()
		closeAll(out)
	}
}
