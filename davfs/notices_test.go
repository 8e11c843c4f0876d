package davfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"keepdav/collfs"
	"keepdav/davfs"
)

// notices subscribes, and returns what waits for the next notices.
func (r *rig) notices() (next func(n int) []davfs.RecordNotice, stop func()) {
	heard := make(chan davfs.RecordNotice, 1000)
	stop = r.site.SubscribeRecords(func(n davfs.RecordNotice) { heard <- n })
	return func(n int) (all []davfs.RecordNotice) {
		r.t.Helper()
		for range n {
			select {
			case x := <-heard:
				all = append(all, x)
			case <-r.ctx.Done():
				r.t.Fatal(r.ctx.Err())
			}
		}
		return all
	}, stop
}

func TestChangesOfRecordsAreTold(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	next, stop := r.notices()
	defer stop()
	home := r.admin.UUID
	var id collfs.UUID
	want := func(what string, want ...davfs.RecordNotice) {
		t.Helper()
		got := next(len(want))
		for i, w := range want {
			if w.UUID == "" {
				w.UUID = id
			}
			if got[i] != w {
				t.Errorf("%s: notice %+v; want %+v", what, got[i], w)
			}
		}
	}
	r.mkdir("/home/c")
	id = r.entry(home, "c").Collection.UUID
	want("mkdir", davfs.RecordNotice{Kind: collfs.Created, Owner: home, Name: "c"})
	r.put("/home/c/f", "no change of a record")
	r.move("/home/c", "/home/d")
	want("rename", davfs.RecordNotice{Kind: collfs.RecordChanged, Owner: home, Name: "d", OldName: "c"})
	r.move("/home/d", "/home/p/d")
	want("move", davfs.RecordNotice{Kind: collfs.RecordChanged, Owner: p, OldOwner: home, Name: "d"})
	r.move("/home/p/d", "/home/e")
	want("both", davfs.RecordNotice{Kind: collfs.RecordChanged, Owner: home, OldOwner: p, Name: "e", OldName: "d"})
	r.records(collfs.RecordOp{Kind: collfs.Move, UUID: id, Owner: p, Name: "d"})
	want("move by another", davfs.RecordNotice{Kind: collfs.RecordChanged, Owner: p, OldOwner: home, Name: "d", OldName: "e"})
	r.must(r.Remove(r.ctx, "/home/p", nil))
	want("removal with all below", davfs.RecordNotice{Kind: collfs.Trashed, UUID: p, Owner: home, Name: "p"},
		davfs.RecordNotice{Kind: collfs.Trashed, Owner: p, Name: "d"})
	r.records(collfs.RecordOp{Kind: collfs.Untrash, UUID: p, Name: "q"})
	want("return", davfs.RecordNotice{Kind: collfs.Untrashed, UUID: p, Owner: home, Name: "q"},
		davfs.RecordNotice{Kind: collfs.Untrashed, Owner: p, Name: "d"})
	r.records(collfs.RecordOp{Kind: collfs.Trash, UUID: id}, collfs.RecordOp{Kind: collfs.DeleteNow, UUID: id})
	want("end", davfs.RecordNotice{Kind: collfs.Trashed, Owner: p, Name: "d"}, davfs.RecordNotice{Kind: collfs.Deleted, Owner: p, Name: "d"})
}

// Who hears of a change finds what is true then: no cache has anything older. The
// subscriber is called without a lock that a method of the site takes.
func TestWhoIsToldOfARecordFindsIt(t *testing.T) {
	r := newRig(t)
	const rounds = 20
	failed := make(chan error, rounds)
	stop := r.site.SubscribeRecords(func(n davfs.RecordNotice) {
		if n.Kind != collfs.RecordChanged {
			return
		}
		_, err := r.Stat(r.ctx, "/home/"+n.OldName)
		if errors.Is(err, fs.ErrNotExist) {
			_, err = r.Stat(r.ctx, "/home/"+n.Name)
		} else if err == nil {
			err = fmt.Errorf("the old name %q is still there", n.OldName)
		}
		if err == nil {
			_, err = r.Mkdir(r.ctx, "/home/"+n.OldName+" again", davfs.AttrChange{})
		}
		failed <- err
	})
	defer stop()
	id := r.collection(r.admin.UUID, "c0")
	for i := range rounds {
		now := fmt.Sprintf("c%d", i+1)
		if _, err := r.Stat(r.ctx, fmt.Sprintf("/home/c%d", i)); err != nil { // so that both are cached
			t.Error(err)
		}
		r.wantGone("/home/" + now)
		_, err := r.catalog.Commit(r.ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Move, UUID: id, Owner: r.admin.UUID, Name: now}}})
		r.must(err)
		if err := <-failed; err != nil {
			t.Errorf("after notice %d: %v", i, err)
		}
	}
}

func TestNoNoticeAfterStop(t *testing.T) {
	r := newRig(t)
	calls := 0
	stop := r.site.SubscribeRecords(func(davfs.RecordNotice) { calls++ })
	r.mkdir("/home/a")
	stop()
	before := calls // stop has waited for the call under way
	next, stop := r.notices()
	defer stop()
	r.mkdir("/home/b")
	for next(1)[0].Name != "b" {
	}
	if calls != before {
		t.Errorf("%d calls after stop", calls-before)
	}
}

// What came before the end of the site is told.
func TestNoticesAreToldBeforeTheSiteIsClosed(t *testing.T) {
	r := newRig(t)
	held, names := make(chan struct{}), make(chan string, 10)
	r.site.SubscribeRecords(func(n davfs.RecordNotice) {
		<-held
		names <- n.Name
	})
	r.collection(r.admin.UUID, "a") // waits until the site has heard of it
	r.collection(r.admin.UUID, "b")
	close(held)
	r.reopen()
	if len(names) != 2 {
		t.Errorf("%d notices before the site was closed; want 2", len(names))
	}
}
