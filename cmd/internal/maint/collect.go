package maint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// CollectOptions say what is garbage, and since when.
type CollectOptions struct {
	Grace        time.Duration // between the first look that finds a block unreferenced and the one that takes it away
	KeepVersions time.Duration
	KeepTrash    time.Duration
	KeepBlocks   time.Duration // in the trash of blocks
	Repack       bool
	DryRun       bool
	Tell         func(what string, done, total, bytes int64) `json:"-"`
}

// Collected says what Collect did, or would do.
type Collected struct {
	Versions          int   `json:"expired_versions"`
	Collections       int   `json:"expired_collections"`
	Repacked          int64 `json:"repacked_bytes"`
	Used              int   `json:"used_blocks"`
	UsedBytes         int64 `json:"used_bytes"`
	Unreferenced      int   `json:"unreferenced_blocks"`
	UnreferencedBytes int64 `json:"unreferenced_bytes"`
	Trashed           int   `json:"trashed_blocks"`
	TrashedBytes      int64 `json:"trashed_bytes"`
	Deleted           int   `json:"deleted_blocks"`
	DeletedBytes      int64 `json:"deleted_bytes"`
}

// Collect takes away what nobody needs any more. It can run while the store is
// used, but only once at a time.
func (k *Keeper) Collect(ctx context.Context, o CollectOptions) (r Collected, err error) {
	if !k.collecting.TryLock() {
		return r, fmt.Errorf("garbage is being collected already")
	}
	defer k.collecting.Unlock()
	if o.Tell == nil {
		o.Tell = func(string, int64, int64, int64) {}
	}
	now := time.Now()
	expire := k.Catalog.Expire
	if o.DryRun {
		expire = k.Catalog.Expirable
	}
	if r.Versions, r.Collections, err = expire(ctx, now.Add(-o.KeepVersions), now.Add(-o.KeepTrash)); err != nil {
		return r, fmt.Errorf("expire versions and trash: %w", err)
	}
	if o.Repack && !o.DryRun {
		if err := k.repack(ctx, o, &r); err != nil {
			return r, err
		}
	}
	k.unload(ctx)
	doomed, err := k.look(ctx, o, &r)
	if err == nil && o.Grace == 0 && !o.DryRun {
		// Without a grace time the two looks follow each other.
		doomed.done()
		doomed, err = k.look(ctx, o, &r)
	}
	if err != nil {
		return r, err
	}
	if o.DryRun {
		for _, i := range doomed.blocks {
			r.Trashed++
			r.TrashedBytes += i.Size
		}
		doomed.done()
		return r, nil
	}
	err = k.takeAway(ctx, o, doomed, &r)
	doomed.done()
	if err != nil {
		return r, err
	}
	// A block is as long in the trash as was asked for, to the second that names
	// of files there tell.
	before := time.Now().Add(-o.KeepBlocks)
	if o.KeepBlocks == 0 {
		before = before.Add(time.Second)
	}
	// What the catalog knows of blocks that are gone stays: a change that is kept
	// may name one that a later change has replaced, and can't be read without.
	r.Deleted, r.DeletedBytes, err = k.Blocks.EmptyTrash(ctx, before)
	return r, err
}

// repack frees the blocks that are mostly garbage.
func (k *Keeper) repack(ctx context.Context, o CollectOptions, r *Collected) error {
	o.Tell("repacking", 0, 0, 0)
	atOnce := o.Grace == 0
	if atOnce { // blocks in the making count too
		if err := k.Spool.StoreAll(ctx); err != nil {
			return fmt.Errorf("store what is in the making: %w", err)
		}
	}
	report, err := k.Files.Repack(ctx, k.Catalog, collfs.RepackOptions{})
	r.Repacked = report.Copied
	if err == nil && atOnce && report.Copied > 0 {
		err = k.Spool.StoreAll(ctx)
	}
	return err
}

// unload drops from memory what has been deleted, and versions that nobody looks
// at: what is loaded counts as used.
func (k *Keeper) unload(ctx context.Context) {
	k.Files.Unload(func(id collfs.UUID, version int) bool {
		if version != 0 {
			return true
		}
		_, err := k.Catalog.Record(ctx, id)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// doomed are blocks to be taken away, while the gate notes what commits name.
type doomed struct {
	blocks []dirstore.Info
	done   func()
}

// look finds out which blocks are used, brings the marks up to date, and returns
// the blocks that may go. done has to be called when they are gone.
func (k *Keeper) look(ctx context.Context, o CollectOptions, r *Collected) (d doomed, err error) {
	if d.done == nil {
		d.done = func() {}
	}
	done := k.Gate.watch()
	defer func() {
		if err != nil {
			done()
		}
	}()
	now := time.Now()
	used, err := k.used(ctx, o)
	if err != nil {
		return d, err
	}
	marks, err := k.Catalog.Marks(ctx)
	if err != nil {
		return d, fmt.Errorf("read the marks: %w", err)
	}
	r.Used, r.UsedBytes, r.Unreferenced, r.UnreferencedBytes = 0, 0, 0, 0
	fresh, stale := [][16]byte{}, [][16]byte{}
	err = k.Blocks.Walk(ctx, func(i dirstore.Info) error {
		since, marked := marks[i.Hash]
		delete(marks, i.Hash)
		if _, ok := used[i.Hash]; ok {
			r.Used++
			r.UsedBytes += i.Size
			if marked {
				stale = append(stale, i.Hash)
			}
			return nil
		}
		r.Unreferenced++
		r.UnreferencedBytes += i.Size
		switch {
		case !marked && !(o.DryRun && o.Grace == 0): // else the second look would find it marked
			fresh = append(fresh, i.Hash)
		case since.After(now): // the clock was set back: the wait begins anew
			stale, fresh = append(stale, i.Hash), append(fresh, i.Hash)
		case now.Sub(since) >= o.Grace && now.Sub(i.Modified) >= o.Grace:
			d.blocks = append(d.blocks, i)
		}
		return nil
	})
	if err != nil {
		return d, err
	}
	for hash := range marks { // of blocks that are gone
		stale = append(stale, hash)
	}
	if !o.DryRun {
		if err := k.Catalog.SetMarks(ctx, stale, fresh, now); err != nil {
			return d, fmt.Errorf("write the marks: %w", err)
		}
	}
	d.done = done
	return d, nil
}

// used returns the stored blocks that something refers to.
func (k *Keeper) used(ctx context.Context, o CollectOptions) (map[[16]byte]struct{}, error) {
	used := map[[16]byte]struct{}{}
	seen := int64(0)
	add := func(s keepio.Segment) {
		seen++
		if seen%100_000 == 0 {
			o.Tell("following references", seen, 0, 0)
		}
		if s.Block == nil {
			return
		}
		// A block that gets its name in the store after this has a newer file than
		// the look that is under way.
		if hash, _, ok := s.Block.Name(); ok {
			used[hash] = struct{}{}
		}
	}
	err := k.Catalog.Roots(ctx, func(_ collfs.UUID, _ bool, s keepio.Segment) error {
		add(s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("follow references: %w", err)
	}
	k.Files.Held(func(_ collfs.UUID, s keepio.Segment) { add(s) })
	used[zeros] = struct{}{}
	return used, nil
}

// zeros is the MD5 of a block of 64 MiB zeros, which manifests name for holes.
// Trees don't refer to it, and the spool stores it once only.
var zeros = [16]byte{0x7f, 0x61, 0x4d, 0xa9, 0x32, 0x9c, 0xd3, 0xae, 0xbf, 0x59, 0xb9, 0x1a, 0xad, 0xc3, 0x0b, 0xf0}

// takeBatch is how many blocks go while the gate is closed.
const takeBatch = 32

// takeAway moves doomed blocks to the trash, but for those that a commit has
// named, or that were written again.
func (k *Keeper) takeAway(ctx context.Context, o CollectOptions, d doomed, r *Collected) error {
	limit := time.Now().Add(-o.Grace)
	for at := 0; at < len(d.blocks); at += takeBatch {
		batch := d.blocks[at:min(at+takeBatch, len(d.blocks))]
		err := k.Gate.closed(func(named map[[16]byte]struct{}) error {
			for _, i := range batch {
				if _, ok := named[i.Hash]; ok {
					continue
				}
				gone, err := k.Blocks.Trash(ctx, i.Hash, func(now dirstore.Info) bool {
					return now.Modified.Equal(i.Modified) && !now.Modified.After(limit)
				})
				if err != nil {
					return err
				}
				if gone {
					r.Trashed++
					r.TrashedBytes += i.Size
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("take blocks away: %w", err)
		}
		o.Tell("taking blocks away", int64(r.Trashed), int64(len(d.blocks)), r.TrashedBytes)
	}
	return nil
}

// Trash lists the blocks in the trash; Modified is when each was last written.
func (k *Keeper) Trash() ([]dirstore.Info, error) {
	files, err := os.ReadDir(k.TrashDir)
	if err != nil {
		return nil, fmt.Errorf("list the trash of blocks: %w", err)
	}
	var all []dirstore.Info
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), ".")
		var i dirstore.Info
		if n, err := fmt.Sscanf(name, "%32x", &i.Hash); n != 1 || err != nil {
			continue
		}
		info, err := f.Info()
		if err != nil {
			if os.IsNotExist(err) {
				continue
			}
			return nil, err
		}
		i.Size, i.Modified = info.Size(), info.ModTime()
		all = append(all, i)
	}
	return all, nil
}
