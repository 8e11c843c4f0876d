package keepio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	storeBatch    = 16               // blocks hashed side by side
	storeEnough   = 8                // so many fill the lanes of the hash
	storeWait     = 2 * time.Second  // a block waits so long for others
	storeLull     = time.Second      // nothing was appended for so long: a good time to store
	storeLate     = 20 * time.Second // a block waits so long for a lull
	retryFirst    = time.Second
	retrySlowest  = 10 * time.Second
	adoptParallel = 8

	// uploadParallel is how many blocks are on their way to a store on other
	// machines at a time: as many as a keepdav server hashes side by side.
	uploadParallel = 8
)

// A storer brings sealed block files into the store. Blocks for a store on this
// machine are stored in batches, when nothing else wants the disk. Those for one
// on other machines are hashed as they come, and each is uploaded on its own, so
// that hashing never waits for the network.
type storer struct {
	spool *Spool
	hash  *hasher
	wg    sync.WaitGroup // uploaders; run waits for them

	mu        sync.Mutex // guards the fields below; comes after blockFile.mu
	changed   signal
	queue     []*blockFile // sealed, in order
	oldest    time.Time    // when the first of queue came
	hashed    []*storeJob  // wait to be uploaded, in order
	uploaders int
	failed    []*blockFile
	retryAt   time.Time
	backoff   time.Duration
	wanted    map[*blockFile]int // callers that wait for a block
	hurrying  bool
	working   int   // files that have left the queue and are not stored
	err       error // of the last attempt; nil after a success
}

func newStorer(s *Spool) *storer {
	st := &storer{spool: s, wanted: make(map[*blockFile]int)}
	st.hash = newHasher(st.giveWay)
	return st
}

// giveWay reports whether hashing should let requests go first: not when
// somebody waits for it, nor the network.
func (st *storer) giveWay() bool {
	st.mu.Lock()
	urgent := len(st.wanted) > 0
	st.mu.Unlock()
	if _, tight := st.spool.budget.load(); urgent || tight || st.spool.cfg.Remote {
		return false
	}
	return st.spool.active.busy()
}

// enqueue adds a sealed file. Its mu is held.
func (st *storer) enqueue(bf *blockFile) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.queue) == 0 {
		st.oldest = time.Now()
	}
	st.queue = append(st.queue, bf)
	st.changed.fire()
}

// hurry makes storing start now; it reports whether there is something to store
// or being stored.
func (st *storer) hurry() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.hurrying = true
	st.changed.fire()
	return len(st.queue) > 0 || st.working > 0
}

// trouble returns why the last attempt to store failed.
func (st *storer) trouble() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

func (st *storer) run(ctx context.Context) {
	defer st.wg.Wait()
	for {
		batch := st.next(ctx)
		if batch == nil {
			return
		}
		jobs := st.prepare(ctx, batch)
		if st.spool.cfg.Remote {
			st.upload(ctx, jobs)
		} else {
			st.store(ctx, jobs)
		}
	}
}

// next waits for a batch that is worth while; nil means that ctx has ended.
func (st *storer) next(ctx context.Context) []*blockFile {
	st.mu.Lock()
	defer st.mu.Unlock()
	for ctx.Err() == nil {
		now := time.Now()
		if len(st.failed) > 0 && !now.Before(st.retryAt) {
			again := st.failed
			st.failed = nil
			st.mu.Unlock()
			for _, bf := range again {
				bf.retry()
			}
			st.mu.Lock()
		}
		wait := time.Duration(-1)
		if len(st.queue) > 0 {
			if wait = st.untilWorthLocked(now); wait <= 0 {
				return st.takeLocked()
			}
		}
		if len(st.failed) > 0 {
			if left := st.retryAt.Sub(now); wait < 0 || left < wait {
				wait = left
			}
		}
		st.waitLocked(ctx, wait)
	}
	return nil
}

// untilWorthLocked returns how long to wait, if at all, before what is in the
// queue is stored.
func (st *storer) untilWorthLocked(now time.Time) time.Duration {
	if st.spool.cfg.Remote || len(st.wanted) > 0 || st.hurrying {
		return 0
	}
	if wait := storeWait - now.Sub(st.oldest); wait > 0 && len(st.queue) < storeEnough {
		return wait
	}
	return st.untilLull(now)
}

// takeLocked takes a batch from the queue: what somebody waits for comes first,
// and for a store on other machines it comes alone.
func (st *storer) takeLocked() []*blockFile {
	first, rest := st.queue, []*blockFile(nil)
	if len(st.wanted) > 0 {
		first = nil
		for _, bf := range st.queue {
			if st.wanted[bf] > 0 {
				first = append(first, bf)
			} else {
				rest = append(rest, bf)
			}
		}
		if !st.spool.cfg.Remote || len(first) == 0 {
			first, rest = append(first, rest...), nil
		}
	}
	most := storeBatch
	if st.spool.cfg.Remote {
		most = storeEnough
	}
	n := min(len(first), most)
	batch := slices.Clone(first[:n])
	st.queue = append(slices.Clone(first[n:]), rest...)
	st.hurrying = false
	st.working += n
	return batch
}

// untilLull returns how long to wait, if at all, before what is worth storing is
// stored: bytes that are being written come first as long as the budget has room.
func (st *storer) untilLull(now time.Time) time.Duration {
	s := st.spool
	if _, tight := s.budget.load(); tight || !s.active.within(storeLull) {
		return 0
	}
	return min(storeLull, storeLate-now.Sub(st.oldest))
}

// waitLocked gives up mu until something changes or wait, if not negative, is over.
func (st *storer) waitLocked(ctx context.Context, wait time.Duration) {
	ch := st.changed.wait()
	st.mu.Unlock()
	defer st.mu.Lock()
	var over <-chan time.Time
	if wait >= 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ch:
	case <-over:
	case <-ctx.Done():
	}
}

// A storeJob is one file of a batch.
type storeJob struct {
	bf    *blockFile
	f     file
	size  uint32
	hash  [16]byte
	named bool // hash and sums are known
	again bool // an attempt before has failed
	sums  []uint32
	err   error
}

// prepare syncs and hashes a batch.
func (st *storer) prepare(ctx context.Context, batch []*blockFile) []*storeJob {
	jobs := make([]*storeJob, 0, len(batch))
	for _, bf := range batch {
		if j := bf.beginStore(); j != nil {
			jobs = append(jobs, j)
		}
	}
	st.mu.Lock()
	st.working -= len(batch) - len(jobs) // dropped
	st.mu.Unlock()
	if !st.spool.cfg.Remote { // a block on other machines doesn't need its file any more
		st.eachJob(jobs, func(j *storeJob) error { return j.bf.sync(ctx) })
		for _, j := range jobs {
			if j.err == nil {
				j.bf.mu.Lock()
				j.f = j.bf.f // sync may have replaced it
				j.bf.mu.Unlock()
			}
		}
	}
	st.hash.hashJobs(ctx, jobs)
	for _, j := range jobs {
		if j.err == nil {
			j.bf.block.naming.Store(&storedName{j.hash, j.size})
		}
	}
	return jobs
}

// upload leaves jobs to uploaders.
func (st *storer) upload(ctx context.Context, jobs []*storeJob) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.hashed = append(st.hashed, jobs...)
	for range min(len(st.hashed), uploadParallel-st.uploaders) {
		st.uploaders++
		st.wg.Go(func() {
			for j := st.takeHashed(); j != nil; j = st.takeHashed() {
				st.store(ctx, []*storeJob{j})
			}
		})
	}
}

// takeHashed returns what to upload next, of what somebody waits for if there is
// such a block. Nil ends an uploader.
func (st *storer) takeHashed() *storeJob {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.hashed) == 0 {
		st.uploaders--
		return nil
	}
	i := max(0, slices.IndexFunc(st.hashed, func(j *storeJob) bool { return st.wanted[j.bf] > 0 }))
	j := st.hashed[i]
	st.hashed = slices.Delete(st.hashed, i, i+1)
	return j
}

// store hands hashed blocks to the store.
func (st *storer) store(ctx context.Context, jobs []*storeJob) {
	st.eachJob(jobs, func(j *storeJob) error {
		return st.spool.store.Adopt(ctx, j.bf.path, j.hash, j.size, j.sums)
	})
	st.announce(ctx, jobs)
	var err error
	for _, j := range jobs {
		if j.err != nil {
			err = fmt.Errorf("store block file %d: %w", j.bf.block.id, j.err)
		}
		j.bf.endStore(j, err)
	}
	st.finish(ctx, jobs, err)
}

// eachJob calls do, several at a time, for the jobs that have not failed.
func (st *storer) eachJob(jobs []*storeJob, do func(*storeJob) error) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, adoptParallel)
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			j.err = do(j)
			<-slots
		})
	}
	wg.Wait()
}

// announce tells the catalog what the blocks are called.
func (st *storer) announce(ctx context.Context, jobs []*storeJob) {
	var stored []Stored
	for _, j := range jobs {
		if j.err == nil {
			stored = append(stored, Stored{j.bf.block.id, j.hash, j.size})
		}
	}
	if len(stored) == 0 || st.spool.cfg.OnStored == nil {
		return
	}
	if err := st.spool.cfg.OnStored(ctx, stored); err != nil {
		for _, j := range jobs {
			if j.err == nil {
				j.err = err
			}
		}
	}
}

// finish notes how jobs fared and plans the next attempt for those that failed:
// files that fail while one is planned join it. Attempts come less and less often
// until one of them works.
func (st *storer) finish(ctx context.Context, jobs []*storeJob, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.working -= len(jobs)
	planned, before := len(st.failed) > 0, len(st.failed)
	for _, j := range jobs {
		if j.err != nil {
			st.failed = append(st.failed, j.bf)
		} else if j.again {
			st.backoff = 0
		}
	}
	failed := len(st.failed) - before
	switch {
	case len(jobs) == 0 || ctx.Err() != nil:
		return
	case failed == 0:
		st.err = nil
		return
	}
	st.err = err
	if planned {
		return
	}
	st.backoff = min(max(2*st.backoff, retryFirst), retrySlowest)
	st.retryAt = time.Now().Add(st.backoff)
	st.spool.cfg.Log.Error().Err(err).Int("blocks", failed).Dur("retry_in", st.backoff).Msg("storing blocks failed")
	st.changed.fire()
}

// beginStore takes the file out of sealed; nil means that it was dropped.
func (bf *blockFile) beginStore() *storeJob {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	for len(bf.writes) > 0 && bf.state == fileSealed {
		bf.waitLocked()
	}
	if bf.state != fileSealed {
		return nil
	}
	bf.state.step(fileStoring)
	bf.attempts++
	j := &storeJob{bf: bf, f: bf.f, size: bf.end, sums: bf.chunkSumsLocked(), err: bf.lost, again: bf.attempts > 1}
	if h := bf.hashed; h != nil {
		j.hash, j.sums, j.named = h.hash, h.sums, true
	}
	if j.err == nil {
		j.err = bf.fitLocked()
	}
	return j
}

// fitLocked gives the file its right length: a write that failed may have left
// more or less. If that is not what the disk has, a sync is due before the block
// gets its name, which tells the length, though there is nothing new to sync.
func (bf *blockFile) fitLocked() error {
	size, _, err := bf.f.Size()
	if err == nil && size != int64(bf.end) {
		bf.cut = true
		err = bf.f.Truncate(int64(bf.end))
	}
	if bf.cut {
		bf.synced, bf.cut = 0, false
	}
	return err
}

// endStore notes how an attempt went.
func (bf *blockFile) endStore(j *storeJob, err error) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	defer bf.changed.fire()
	if j.err != nil {
		bf.state.step(fileFailed)
		bf.failure = err
		bf.hashed = nil
		if j.named && !errors.Is(j.err, ErrCorrupt) {
			bf.hashed = &hashed{j.hash, j.sums}
		}
		return
	}
	bf.state.step(fileStored)
	bf.block.stored.Store(&storedName{j.hash, j.size})
	bf.block.file.Store(nil)
	bf.spool.forget(bf)
	bf.spool.dir.forget(bf)
	_ = bf.f.Close()
	_ = bf.spool.fs.Remove(bf.path) // the start after a crash removes it too
	bf.spool.budget.release(int64(bf.end))
}

// retry queues a failed file again.
func (bf *blockFile) retry() {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	if bf.state == fileFailed {
		bf.state.step(fileSealed)
		bf.spool.storer.enqueue(bf)
	}
}

// Store seals blocks and waits until the store has them, or fails to take one.
func (s *Spool) Store(ctx context.Context, blocks []*Block) error {
	files := filesOf(blocks)
	if len(files) == 0 {
		return ctx.Err()
	}
	before := make([]int, len(files))
	for i, bf := range files {
		s.sealFile(bf)
		bf.mu.Lock()
		before[i] = bf.attempts
		if bf.state == fileStoring {
			before[i]-- // that attempt is good enough
		}
		bf.mu.Unlock()
	}
	s.storer.want(files)
	defer s.storer.unwant(files)
	var errs []error
	for i, bf := range files {
		errs = append(errs, bf.waitStored(ctx, before[i]))
	}
	return errors.Join(errs...)
}

// want says that somebody waits for files. What failed before is tried again at
// once, but only once.
func (st *storer) want(files []*blockFile) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, bf := range files {
		st.wanted[bf]++
	}
	st.retryAt = time.Time{}
	st.changed.fire()
}

// unwant takes want back.
func (st *storer) unwant(files []*blockFile) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, bf := range files {
		if st.wanted[bf]--; st.wanted[bf] == 0 {
			delete(st.wanted, bf)
		}
	}
}

// waitStored waits for the end of an attempt after the one with that number.
func (bf *blockFile) waitStored(ctx context.Context, after int) error {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	for {
		switch {
		case bf.state == fileStored:
			return nil
		case bf.state == fileDropped && bf.end == 0:
			return nil // there is nothing to store
		case bf.state == fileDropped:
			return fmt.Errorf("block file %d: %w", bf.block.id, ErrNotFound)
		case bf.state == fileFailed && bf.attempts > after:
			return bf.failure
		}
		if err := bf.waitLockedCtx(ctx); err != nil {
			return err
		}
	}
}

// StoreAll seals and stores all there is.
func (s *Spool) StoreAll(ctx context.Context) error {
	var blocks []*Block
	for _, bf := range s.openFiles() {
		blocks = append(blocks, bf.block)
	}
	return s.Store(ctx, blocks)
}
