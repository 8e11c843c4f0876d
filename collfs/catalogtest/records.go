package catalogtest

import (
	"context"
	"fmt"
	"io/fs"
	"sync"

	"keepdav/collfs"
)

// recordCases are about the record operations of Commit.
var recordCases = []Case{
	{Name: "TakenNameIsErrExist", Check: func(ctx context.Context, e *Env) error {
		if _, err := e.create(ctx, "c"); err != nil {
			return err
		}
		if _, err := e.project(ctx, e.User, "p"); err != nil {
			return err
		}
		_, c := e.create(ctx, "c")
		_, cp := e.create(ctx, "p")
		_, pc := e.project(ctx, e.User, "c")
		return all(want("create with a collection's name", c, fs.ErrExist), want("create with a project's name", cp, fs.ErrExist), want("create project with a collection's name", pc, fs.ErrExist))
	}},
	{Name: "UniqueGetsAnotherName", Check: func(ctx context.Context, e *Env) error {
		for _, name := range []string{"c", "c (2)", "c (3)"} {
			id := e.NewUUID("4zz18")
			if err := e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: e.User, Name: "c", Unique: true}); err != nil {
				return err
			}
			if rec, err := e.Catalog.Record(ctx, id); err != nil || rec.Name != name {
				return fmt.Errorf("name = %q, %v; want %q", rec.Name, err, name)
			}
		}
		return nil
	}},
	{Name: "OneNameInTwoProjects", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		if _, err := e.create(ctx, "c"); err != nil {
			return err
		}
		return e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: e.NewUUID("4zz18"), Owner: p, Name: "c"})
	}},
	{Name: "CreateInNoProjectIsErrNotExist", Check: func(ctx context.Context, e *Env) error {
		err := e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: e.NewUUID("4zz18"), Owner: e.NewUUID("j7d0g"), Name: "c"})
		return want("create", err, errNotExist)
	}},
	{Name: "MoveChangesOwnerAndName", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: id, Owner: p, Name: "d"}); err != nil {
			return err
		}
		rec, err := e.Catalog.Record(ctx, id)
		if err != nil || rec.Owner != p || rec.Name != "d" || rec.Revision != 1 {
			return fmt.Errorf("record after a move: %+v, %v", rec, err)
		}
		other, err := e.create(ctx, "c") // the old name is free
		if err != nil {
			return err
		}
		taken := e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: other, Owner: p, Name: "d"})
		same := e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: other, Owner: e.User, Name: "c"})
		return all(want("move to a taken name", taken, fs.ErrExist), want("move to its own name", same, nil), e.holds(ctx, id, 0, map[string]byte{"f": 1}))
	}},
	{Name: "ProjectCannotMoveIntoItself", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		q, err := e.project(ctx, p, "q")
		if err != nil {
			return err
		}
		return want("move", e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: p, Owner: q, Name: "p"}), collfs.ErrIntoItself)
	}},
	{Name: "UpdateReplacesPropertiesAndDescription", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Update, UUID: id, Properties: []byte(`{"a":1}`), Desc: "text"}); err != nil {
			return err
		}
		rec, err := e.Catalog.Record(ctx, id)
		if err != nil || string(rec.Properties) != `{"a":1}` || rec.Description != "text" || rec.Name != "c" {
			return fmt.Errorf("record after an update: %+v, %v", rec, err)
		}
		return nil
	}},
	{Name: "TrashTakesAllBelowAndUntrashBringsItBack", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		q, err := e.project(ctx, p, "q")
		if err != nil {
			return err
		}
		id := e.NewUUID("4zz18")
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: q, Name: "c"}); err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Trash, UUID: p}); err != nil {
			return err
		}
		rec, err := e.Catalog.Record(ctx, id)
		if err != nil || rec.TrashAt.IsZero() || rec.DeleteAt.IsZero() {
			return fmt.Errorf("record of a collection in a project in the trash: %+v, %v", rec, err)
		}
		if _, err := e.project(ctx, e.User, "p"); err != nil {
			return wrap("the name of what is in the trash is free", err)
		}
		taken := e.records(ctx, collfs.RecordOp{Kind: collfs.Untrash, UUID: p})
		if err := want("untrash to a taken name", taken, fs.ErrExist); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Untrash, UUID: p, Name: "back"}); err != nil {
			return err
		}
		if rec, err = e.Catalog.Record(ctx, id); err != nil || !rec.TrashAt.IsZero() {
			return fmt.Errorf("record after untrash: %+v, %v", rec, err)
		}
		return e.holds(ctx, id, 0, map[string]byte{"f": 1})
	}},
	{Name: "TrashOfWhatWasSeenIsThatOnly", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		id := e.NewUUID("4zz18")
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: p, Name: "c"}); err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		project := collfs.RecordOp{Kind: collfs.Trash, UUID: p, Still: true}
		collection := collfs.RecordOp{Kind: collfs.Trash, UUID: id, Still: true}
		full := e.records(ctx, project)
		changed := e.records(ctx, collection)
		both := e.records(ctx, collection, project)
		if err := all(want("trash of a project with a collection in it", full, collfs.ErrNotEmpty),
			want("trash of a collection that has changed", changed, collfs.ErrStale), want("trash of both", both, collfs.ErrStale),
			e.holds(ctx, id, 0, map[string]byte{"f": 1})); err != nil {
			return err
		}
		if rec, err := e.Catalog.Record(ctx, id); err != nil || !rec.TrashAt.IsZero() {
			return fmt.Errorf("record after refused operations: %+v, %v", rec, err)
		}
		if _, err := e.change(ctx, id, 1, 0, 0, collfs.Op{Kind: collfs.OpDelete, Path: "f"}); err != nil {
			return err
		}
		collection.Base = 2
		if err := e.records(ctx, collection, project); err != nil {
			return wrap("trash of both as they are", err)
		}
		rec, err := e.Catalog.Record(ctx, id)
		if err != nil || rec.TrashAt.IsZero() {
			return fmt.Errorf("record of what was trashed: %+v, %v", rec, err)
		}
		if _, err := e.project(ctx, e.User, "p"); err != nil {
			return wrap("the name of what is in the trash is free", err)
		}
		return nil
	}},
	{Name: "TrashTakesNoChanges", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		other, err := e.create(ctx, "other")
		if err != nil {
			return err
		}
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		trash := collfs.RecordOp{Kind: collfs.Trash, UUID: id}
		if err := e.records(ctx, trash); err != nil {
			return err
		}
		_, changed := e.change(ctx, id, 1, 1, 1, put("f", 2))
		moved := e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: id, Owner: p, Name: "c"})
		again := e.records(ctx, trash)
		// A transfer that takes something from there takes nothing at all.
		_, both := e.Catalog.Commit(ctx, collfs.Tx{Changes: []collfs.Change{
			{Collection: other, Ops: []collfs.Op{put("f", 1)}, Files: 1, Bytes: 1},
			{Collection: id, Base: 1, Ops: []collfs.Op{{Kind: collfs.OpDelete, Path: "f"}}},
		}})
		if err := all(want("change of a collection in the trash", changed, errNotExist), want("move", moved, errNotExist), want("trash again", again, errNotExist),
			want("change with another", both, errNotExist), e.holds(ctx, other, 0, map[string]byte{}), e.holds(ctx, id, 0, map[string]byte{"f": 1})); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Untrash, UUID: id}); err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 1, 1, 2, put("f", 2)); err != nil {
			return err
		}
		return e.holds(ctx, id, 0, map[string]byte{"f": 2})
	}},
	{Name: "DeleteNowNeedsTrash", Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.DeleteNow, UUID: id}); err == nil {
			return fmt.Errorf("a collection that isn't in the trash was deleted")
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Trash, UUID: id}); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.DeleteNow, UUID: id}); err != nil {
			return err
		}
		_, err = e.Catalog.Record(ctx, id)
		return want("Record", err, errNotExist)
	}},
}

// eventCases are about Watch.
var eventCases = []Case{
	{Name: "WatchSeesEventsInOrderUntilStop", Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		events := make(chan collfs.Event, 100)
		stop := e.Catalog.Watch(func(ev collfs.Event) { events <- ev })
		stopped := sync.OnceFunc(stop)
		defer stopped()
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		if _, err := e.change(ctx, id, 0, 1, 1, put("f", 1)); err != nil {
			return err
		}
		err = e.records(ctx, collfs.RecordOp{Kind: collfs.Move, UUID: id, Owner: p, Name: "d"},
			collfs.RecordOp{Kind: collfs.Trash, UUID: id})
		if err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Untrash, UUID: id}); err != nil {
			return err
		}
		seq := int64(-1)
		for _, w := range []collfs.Event{
			{Kind: collfs.Created, Owner: e.User, Name: "c"},
			{Kind: collfs.ContentChanged, Owner: e.User, Revision: 1},
			{Kind: collfs.RecordChanged, Owner: p, OldOwner: e.User, Name: "d", OldName: "c", Revision: 1},
			{Kind: collfs.Trashed, Owner: p, Name: "d", Revision: 1},
			{Kind: collfs.Untrashed, Owner: p, Name: "d", Revision: 1},
		} {
			var ev collfs.Event
			select {
			case ev = <-events:
			case <-ctx.Done():
				return ctx.Err()
			}
			if ev.Kind != w.Kind || ev.UUID != id || ev.Owner != w.Owner || ev.OldOwner != w.OldOwner || ev.Revision != w.Revision || ev.At.IsZero() {
				return fmt.Errorf("event %+v; want one like %+v", ev, w)
			}
			if ev.Name != "" && ev.Name != w.Name || ev.OldName != "" && ev.OldName != w.OldName {
				return fmt.Errorf("names of event %+v; want those of %+v or none", ev, w)
			}
			if ev.Seq <= seq {
				return fmt.Errorf("event %d after %d", ev.Seq, seq)
			}
			seq = ev.Seq
		}
		stopped()
		if _, err := e.change(ctx, id, 1, 1, 1, put("f", 2)); err != nil {
			return err
		}
		select {
		case ev := <-events:
			return fmt.Errorf("event %+v after stop", ev)
		default:
			return nil
		}
	}},
	{Name: "WatchersAreIndependent", Check: func(ctx context.Context, e *Env) error {
		one, two := make(chan collfs.Event, 10), make(chan collfs.Event, 10)
		stop := e.Catalog.Watch(func(ev collfs.Event) { one <- ev })
		defer e.Catalog.Watch(func(ev collfs.Event) { two <- ev })()
		if _, err := e.create(ctx, "a"); err != nil {
			return err
		}
		for _, ch := range []chan collfs.Event{one, two} {
			select {
			case <-ch:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		stop()
		if _, err := e.create(ctx, "b"); err != nil {
			return err
		}
		select {
		case <-two:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}},
}
