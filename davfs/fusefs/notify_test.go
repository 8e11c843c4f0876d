package fusefs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// overtaken is a kernel that gets the answer which makes inodes known to it after the
// first notice. It is used by the notifier alone.
type overtaken struct{ told int }

func (k *overtaken) EntryNotify(uint64, string) fuse.Status { return fuse.OK }

func (k *overtaken) InodeNotify(uint64, int64, int64) fuse.Status {
	if k.told++; k.told == 1 {
		return fuse.ENOENT
	}
	return fuse.OK
}

func TestNoticeThatOvertakesAnAnswerIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Mounted)
		m.notes = newNotifier(m)
		k := new(overtaken)
		m.notes.start(k)
		m.notes.put(notice{id: 7})
		time.Sleep(5 * repeatAfter)
		m.notes.close()
		if k.told != 2 {
			t.Errorf("the kernel was told %d times; want 2", k.told)
		}
	})
}
