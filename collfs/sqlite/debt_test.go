package sqlite

import (
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

// Two collections may rely on one block file without being tied together.
func TestASyncPaysAllDebtsForABlock(t *testing.T) {
	for _, refs := range [][]collfs.UUID{{"a", "b"}, {"b", "a"}} {
		ds := make(debts)
		ds.join(1, []collfs.UUID{"a"}, []keepio.BlockID{7})
		ds.join(2, []collfs.UUID{"b"}, []keepio.BlockID{7})
		ds.paid(refs, ds.of(refs))
		if left := ds.of(refs); len(left) > 0 {
			t.Errorf("after all debts of %v were paid they owe %v", refs, left)
		}
	}
}
