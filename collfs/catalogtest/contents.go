package catalogtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"keepdav/collfs"
)

// contentCases are about Load and the changes of Commit.
var contentCases = []Case{
	{Name: "UnknownCollectionIsErrNotExist", Check: func(ctx context.Context, e *Env) error {
		id := e.NewUUID("4zz18")
		_, err := e.Catalog.Record(ctx, id)
		_, _, err2 := e.Catalog.Load(ctx, id, 0)
		_, err3 := e.change(ctx, id, 0, 1, 1, put("f", 1))
		return all(want("Record", err, errNotExist), want("Load", err2, errNotExist), want("Commit", err3, errNotExist))
	}},
	{Name: "NewCollectionIsEmpty", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		rec, err := e.Catalog.Record(ctx, id)
		if err != nil {
			return err
		}
		if rec.UUID != id || rec.Owner != e.User || rec.Name != "c" || rec.Revision != 0 || rec.Version != 1 || rec.Files != 0 || rec.CreatedAt.IsZero() || !rec.TrashAt.IsZero() {
			return fmt.Errorf("record of a new collection: %+v", rec)
		}
		return e.holds(ctx, id, 0, map[string]byte{})
	}},
	{Name: "LoadReturnsWhatWasCommitted", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		mkdir := collfs.Op{Kind: collfs.OpMkdir, Path: "d"}
		rec, err := e.change(ctx, id, 0, 2, 3, put("a", 1), mkdir, put("d/\xff ü", 2))
		if err != nil {
			return err
		}
		if rec.Revision != 1 || rec.Files != 2 || rec.Bytes != 3 || rec.UUID != id || rec.Name != "c" {
			return fmt.Errorf("record after a commit: %+v", rec)
		}
		if _, err := e.change(ctx, id, rec.Revision, 1, 1, collfs.Op{Kind: collfs.OpDelete, Path: "a"}, collfs.Op{Kind: collfs.OpRename, Src: "d", Path: "e"}); err != nil {
			return err
		}
		again, err := e.Catalog.Record(ctx, id)
		if err != nil || again.Revision != 2 || again.Files != 1 {
			return fmt.Errorf("record after two commits: %+v, %v", again, err)
		}
		return e.holds(ctx, id, 0, map[string]byte{"e/\xff ü": 2})
	}},
	{Name: "ManyChangesAreLoadedInOrder", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		for i := range 100 {
			if _, err := e.change(ctx, id, int64(i), 1, 1, put("f", byte(i+1))); err != nil {
				return err
			}
		}
		return e.holds(ctx, id, 0, map[string]byte{"f": 100})
	}},
	{Name: "StaleBaseIsErrStaleAndChangesNothing", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		_, low := e.change(ctx, id, 0, 1, 2, put("f", 2))
		_, high := e.change(ctx, id, 2, 1, 2, put("f", 2))
		return all(want("Commit on an old base", low, collfs.ErrStale), want("Commit on a future base", high, collfs.ErrStale),
			e.holds(ctx, id, 0, map[string]byte{"f": 1}))
	}},
	{Name: "TxIsAllOrNothing", Check: func(ctx context.Context, e *Env) error {
		a, err := e.create(ctx, "a")
		if err != nil {
			return err
		}
		b, err := e.create(ctx, "b")
		if err != nil {
			return err
		}
		fresh := e.NewUUID("4zz18")
		tx := collfs.Tx{
			Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: fresh, Owner: e.User, Name: "fresh"}},
			Changes: []collfs.Change{
				{Collection: fresh, Ops: []collfs.Op{put("n", 3)}, Files: 1, Bytes: 3},
				{Collection: a, Ops: []collfs.Op{put("f", 1)}, Files: 1, Bytes: 1},
				{Collection: b, Base: 7, Ops: []collfs.Op{put("f", 2)}, Files: 1, Bytes: 2},
			},
		}
		_, err = e.Catalog.Commit(ctx, tx)
		_, gone := e.Catalog.Record(ctx, fresh)
		if err := all(want("Commit", err, collfs.ErrStale), want("Record of what was not created", gone, errNotExist), e.holds(ctx, a, 0, map[string]byte{})); err != nil {
			return err
		}
		tx.Changes[2].Base = 0
		recs, err := e.Catalog.Commit(ctx, tx)
		if err != nil {
			return err
		}
		if len(recs) != 3 || recs[0].UUID != fresh || recs[1].UUID != a || recs[2].UUID != b || recs[2].Revision != 1 || recs[0].Revision != 1 {
			return fmt.Errorf("records of three changes: %+v", recs)
		}
		return all(e.holds(ctx, a, 0, map[string]byte{"f": 1}), e.holds(ctx, b, 0, map[string]byte{"f": 2}), e.holds(ctx, fresh, 0, map[string]byte{"n": 3}))
	}},
	{Name: "EmptyDurableTxIsABarrier", Check: func(ctx context.Context, e *Env) error {
		recs, err := e.Catalog.Commit(ctx, collfs.Tx{Durable: true})
		if len(recs) != 0 {
			return fmt.Errorf("records of nothing: %+v", recs)
		}
		return err
	}},
	{Name: "NotDurableCommitsAreSeenAtOnce", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if _, err := e.Catalog.Commit(ctx, collfs.Tx{Changes: []collfs.Change{{Collection: id, Ops: []collfs.Op{put("f", 1)}, Files: 1, Bytes: 1}}}); err != nil {
			return err
		}
		return e.holds(ctx, id, 0, map[string]byte{"f": 1})
	}},
	{Name: "OldVersionsStay", NeedsClock: true, Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		for i := range 3 {
			rec, err := e.change(ctx, id, int64(i), 1, 1, put("f", byte(i+1)))
			if err != nil {
				return err
			}
			if rec.Version != i+1 {
				return fmt.Errorf("version %d after %d commits a minute apart", rec.Version, i+1)
			}
			e.Advance(time.Minute)
		}
		rec, _, err := e.Catalog.Load(ctx, id, 2)
		if err != nil {
			return err
		}
		if rec.Version != 2 || rec.Revision != 2 || rec.UUID != id {
			return fmt.Errorf("record of version 2: %+v", rec)
		}
		_, _, none := e.Catalog.Load(ctx, id, 9)
		return all(e.holds(ctx, id, 1, map[string]byte{"f": 1}), e.holds(ctx, id, 2, map[string]byte{"f": 2}), e.holds(ctx, id, 3, map[string]byte{"f": 3}),
			e.holds(ctx, id, 0, map[string]byte{"f": 3}), want("Load of a version that never was", none, errNotExist))
	}},
	{Name: "KeepMakesAVersionAtOnce", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		var recs []collfs.Record
		for i, keep := range []bool{true, false, true} {
			made, err := e.Catalog.Commit(ctx, collfs.Tx{Changes: []collfs.Change{
				{Collection: id, Base: int64(i), Ops: []collfs.Op{put("f", byte(i+1))}, Files: 1, Bytes: int64(i) + 1, Keep: keep},
			}})
			if err != nil {
				return err
			}
			recs = append(recs, made...)
		}
		if recs[0].Version != 1 || recs[1].Version != 1 || recs[2].Version != 2 {
			return fmt.Errorf("versions are %d, %d, %d; want 1, 1, 2", recs[0].Version, recs[1].Version, recs[2].Version)
		}
		return all(e.holds(ctx, id, 1, map[string]byte{"f": 2}), e.holds(ctx, id, 2, map[string]byte{"f": 3}))
	}},
	{Name: "ChangeSetsAreToldSinceEachRevision", Check: func(ctx context.Context, e *Env) error {
		d, ok := e.Catalog.(collfs.Deltas)
		if !ok {
			return nil // not every catalog keeps them
		}
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		const n = 5
		for i := range n {
			if i == n/2 {
				if _, _, err := e.Catalog.Load(ctx, id, 0); err != nil { // what came before is perhaps stored elsewhere from now on
					return err
				}
			}
			if _, err := e.change(ctx, id, int64(i), 1, 1, put("f", byte(i+1))); err != nil {
				return err
			}
		}
		for _, again := range []string{"", " after a load"} {
			for since := range n + 1 {
				rec, changes, kept, err := d.Since(ctx, id, int64(since))
				if err != nil || !kept || rec.Revision != n || len(changes) != n-since {
					return fmt.Errorf("Since(%d)%s = revision %d, %d changes, %v, %v; want %d of revision %d", since, again, rec.Revision, len(changes), kept, err, n-since, n)
				}
				for i, data := range changes {
					ops, err := collfs.DecodeOps(data, e.Blocks)
					if err != nil || len(ops) != 1 || ops[0].Content.ID[0] != byte(since+i+1) {
						return fmt.Errorf("Since(%d)%s: change %d is %+v, %v", since, again, i, ops, err)
					}
				}
			}
			for _, since := range []int64{-1, n + 1} {
				if _, _, kept, err := d.Since(ctx, id, since); kept || err != nil {
					return fmt.Errorf("Since(%d)%s = kept %v, %v", since, again, kept, err)
				}
			}
			if _, _, err := e.Catalog.Load(ctx, id, 0); err != nil {
				return err
			}
		}
		_, _, _, err = d.Since(ctx, e.NewUUID("4zz18"), 0)
		return want("Since of an unknown collection", err, errNotExist)
	}},
	{Name: "CanceledContextIsReported", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = e.Catalog.Record(ended, id)
		_, _, err2 := e.Catalog.Load(ended, id, 0)
		return all(want("Record", err, context.Canceled), want("Load", err2, context.Canceled))
	}},
	{Name: "ConcurrentUseIsSafe", Check: func(ctx context.Context, e *Env) error {
		const writers, commits = 8, 20
		errs := make(chan error, 2*writers)
		shared, err := e.create(ctx, "shared")
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				id, err := e.create(ctx, fmt.Sprint("c", i))
				for n := 0; n < commits && err == nil; n++ {
					_, err = e.change(ctx, id, int64(n), 1, 1, put("f", byte(n+1)))
				}
				if err == nil {
					err = e.holds(ctx, id, 0, map[string]byte{"f": commits})
				}
				errs <- err
			})
			wg.Go(func() { // of those on one base, one wins
				_, err := e.change(ctx, shared, 0, 1, 1, put("f", byte(i+1)))
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		stale := 0
		for err := range errs {
			if err != nil && want("", err, collfs.ErrStale) != nil {
				return err
			}
			if err != nil {
				stale++
			}
		}
		if stale != writers-1 {
			return fmt.Errorf("%d of %d commits on one base were stale; want all but one", stale, writers)
		}
		return nil
	}},
}
