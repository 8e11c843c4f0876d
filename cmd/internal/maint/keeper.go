package maint

import (
	"context"
	"sync"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// A Keeper looks after one open store. All fields must be set.
type Keeper struct {
	Blocks   *dirstore.Store
	Spool    *keepio.Spool
	Catalog  *sqlite.Store
	Files    *collfs.FS
	Gate     *Gate
	TrashDir string // of Blocks
	Log      zerolog.Logger

	collecting sync.Mutex // held by Collect
}

// restore brings a block back from the trash, if it is there and whole.
func (k *Keeper) restore(ctx context.Context, hash [16]byte, size uint32) bool {
	if err := k.Blocks.Untrash(ctx, hash); err != nil {
		return false
	}
	if err := k.Blocks.Verify(ctx, hash, size); err != nil {
		k.Log.Warn().Err(err).Msg("the block in the trash is damaged, too")
		return false
	}
	k.Log.Warn().Hex("block", hash[:]).Msg("a block was taken out of the trash again")
	return true
}
