package sqlite

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestThereIsAReserveOnAFileSystemThatCannotAllocate(t *testing.T) {
	const size = 1 << 20
	r := reserve{path: filepath.Join(t.TempDir(), "reserve"), size: size}
	r.fallocate = func(int, uint32, int64, int64) error { return unix.EOPNOTSUPP }
	r.restore()
	if err := r.err(); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(r.path, &st); err != nil || st.Size != size || st.Blocks*512 < size {
		t.Errorf("the reserve has %d bytes and takes up %d, %v; want %d", st.Size, st.Blocks*512, err, size)
	}
}
