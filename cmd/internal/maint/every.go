package maint

import (
	"context"
	"time"

	"keepdav/web/arvados/signing"
)

// DefaultEvery is how often a program looks for garbage that was told nothing about it.
const DefaultEvery = 24 * time.Hour

// DefaultCollect is how long such a program keeps things: versions and deleted
// collections as long as the store itself does.
func DefaultCollect() CollectOptions {
	return CollectOptions{Grace: signing.TTL, KeepVersions: 720 * time.Hour, KeepTrash: 336 * time.Hour, KeepBlocks: 24 * time.Hour, Repack: true}
}

// firstLook is how long after the start garbage is looked for, so that a program which is
// started again every day gets to it.
const firstLook = 10 * time.Minute

// CollectEvery collects garbage every so often, until ctx ends. What it does is logged.
func (k *Keeper) CollectEvery(ctx context.Context, every time.Duration, o CollectOptions) {
	next := time.NewTimer(min(every, firstLook))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(every)
		r, err := k.Collect(ctx, o)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.Log.Error().Err(err).Msg("garbage could not be collected")
		default:
			k.Log.Info().Int("versions", r.Versions).Int("collections", r.Collections).Int64("repacked", r.Repacked).
				Int("unreferenced", r.Unreferenced).Int("trashed", r.Trashed).Int64("deleted_bytes", r.DeletedBytes).Msg("garbage collected")
		}
	}
}
