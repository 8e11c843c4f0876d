package keepio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Sync makes all that was frozen in blocks survive a loss of power. Concurrent
// calls share the work. What it returned nil for stays durable. For blocks that go to other
// machines it does nothing: there a commit waits until they are stored.
func (s *Spool) Sync(ctx context.Context, blocks []*Block) error {
	if s.cfg.Remote {
		return ctx.Err()
	}
	return s.syncFiles(ctx, filesOf(blocks))
}

// SyncIDs is Sync by ids. Ids that are stored or unknown are fine: what is
// stored is durable, and what is unknown nobody can have committed.
func (s *Spool) SyncIDs(ctx context.Context, ids []BlockID) error {
	blocks := make([]*Block, 0, len(ids))
	for _, id := range ids {
		if b, err := s.ByID(id); err == nil {
			blocks = append(blocks, b)
		}
	}
	return s.Sync(ctx, blocks)
}

func (s *Spool) syncFiles(ctx context.Context, files []*blockFile) error {
	if s.cfg.NoSync {
		return ctx.Err()
	}
	if len(files) == 1 {
		return files[0].sync(ctx)
	}
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, bf := range files {
		wg.Go(func() { errs[i] = bf.sync(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sync makes what is settled durable; in a sealed file that is everything.
// Callers that come while a sync runs share the next one.
func (bf *blockFile) sync(ctx context.Context) error {
	if bf.spool.cfg.NoSync {
		return ctx.Err()
	}
	bf.mu.Lock()
	defer bf.mu.Unlock()
	to := bf.settledLocked()
	for {
		if bf.synced >= to || bf.state == fileStored || bf.state == fileDropped {
			return nil
		}
		if bf.lost != nil {
			return bf.lost
		}
		if !bf.syncing {
			break
		}
		if err := bf.waitLockedCtx(ctx); err != nil {
			return err
		}
	}
	target := bf.settledLocked()
	bf.syncing = true
	err := bf.syncLocked()
	bf.syncing = false
	bf.changed.fire()
	if err != nil {
		return fmt.Errorf("sync block file %d: %w", bf.block.id, err)
	}
	bf.synced = max(bf.synced, target)
	return nil
}

// settledLocked says up to where nothing is under way and nothing will change.
func (bf *blockFile) settledLocked() uint32 {
	if bf.state != fileOpen && len(bf.writes) == 0 {
		return bf.end
	}
	return bf.settled
}

// syncLocked gives up mu while it works; bf.syncing keeps others away.
func (bf *blockFile) syncLocked() error {
	if !bf.unsyncable {
		f := bf.f
		bf.mu.Unlock()
		err := f.Datasync()
		if err == nil {
			err = bf.spool.dir.syncNew(bf)
			bf.mu.Lock()
			return err
		}
		bf.mu.Lock()
		bf.unsyncable = true
	}
	return bf.replaceLocked()
}

// replaceLocked copies the file, whose sync failed, to a new one that takes its
// place. A second sync of the old one could report success for pages that the
// kernel has given up. The bytes are checked against the sums first. It gives up
// mu meanwhile.
func (bf *blockFile) replaceLocked() error {
	bf.sealLocked()
	for len(bf.writes) > 0 {
		bf.waitLocked()
	}
	if bf.lost != nil {
		return bf.lost
	}
	old, end, sums := bf.f, bf.end, bf.chunkSumsLocked()
	bf.mu.Unlock()
	f, lost, err := bf.spool.copyFile(old, bf.path, end, sums)
	bf.mu.Lock()
	if lost {
		bf.lost = err
	}
	if err != nil {
		return err
	}
	bf.f, bf.unsyncable = f, false
	_ = old.Close()
	return nil
}

// copyFile puts a durable copy of the first end bytes of old in the place of
// path; lost means that they are not what they were.
func (s *Spool) copyFile(old file, path string, end uint32, sums []uint32) (f file, lost bool, err error) {
	temp := path + newSuffix
	_ = s.fs.Remove(temp) // left by an attempt before
	if f, err = s.fs.Create(temp); err != nil {
		return nil, false, err
	}
	lost, err = copyBytes(f, old, end, sums)
	if err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = s.fs.Rename(temp, path)
	}
	if err == nil {
		err = s.dir.force()
	}
	if err != nil {
		_ = f.Close()
		_ = s.fs.Remove(temp)
		return nil, lost, err
	}
	return f, false, nil
}

// copyBytes copies the first end bytes of old, which it compares with sums if
// they are known.
func copyBytes(f io.WriterAt, old io.ReaderAt, end uint32, sums []uint32) (lost bool, err error) {
	buf := make([]byte, ChunkSize)
	for off := uint32(0); off < end; off += ChunkSize {
		p := buf[:min(ChunkSize, end-off)]
		if err := readZeroFilled(old, p, int64(off)); err != nil {
			return true, fmt.Errorf("copy: %w", err)
		}
		if sums != nil && Sum(p) != sums[off/ChunkSize] {
			return true, fmt.Errorf("copy: bytes at %d: %w", off, ErrCorrupt)
		}
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			return false, err
		}
	}
	return false, nil
}

// newSuffix ends the name of a file that is about to replace another one.
const newSuffix = ".new"

// A dirSyncer makes names of files in one directory durable. Callers that come
// while a sync runs share the next one. Unlike that of data, a failed sync of a
// directory is tried again: file systems with a journal refuse all further syncs
// once they could not write it.
type dirSyncer struct {
	sync func() error

	mu      sync.Mutex // guards the fields below
	changed signal
	running bool
	started int // syncs begun
	good    int // the number of the last one that worked
	named   map[*blockFile]bool
}

// syncNew makes bf's name durable; it is done once.
func (d *dirSyncer) syncNew(bf *blockFile) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.named[bf] {
		return nil
	}
	if err := d.forceLocked(); err != nil {
		return err
	}
	if d.named == nil {
		d.named = make(map[*blockFile]bool)
	}
	d.named[bf] = true
	return nil
}

// forget ends what syncNew remembers of bf.
func (d *dirSyncer) forget(bf *blockFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.named, bf)
}

// force syncs the directory.
func (d *dirSyncer) force() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.forceLocked()
}

// forceLocked gives up mu while it works.
func (d *dirSyncer) forceLocked() error {
	need := d.started + 1 // one that begins after now
	for {
		if d.good >= need {
			return nil
		}
		if !d.running {
			break
		}
		ch := d.changed.wait()
		d.mu.Unlock()
		<-ch
		d.mu.Lock()
	}
	d.started++
	mine := d.started
	d.running = true
	d.mu.Unlock()
	err := d.sync()
	d.mu.Lock()
	d.running = false
	if err == nil {
		d.good = max(d.good, mine)
	}
	d.changed.fire()
	return err
}
