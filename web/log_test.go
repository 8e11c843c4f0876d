package web

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// A fullDisk takes nothing while it is full.
type fullDisk struct {
	bytes.Buffer
	full bool
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.full {
		return 0, errors.New("no space left on device")
	}
	return d.Buffer.Write(p)
}

func TestLogGoesOnAfterItsDiskWasFull(t *testing.T) {
	for what, line := range map[string]string{"short lines": "line\n", "lines longer than the buffer": strings.Repeat("x", 2*lineBufferSize) + "\n"} {
		t.Run(what, func(t *testing.T) {
			d := &fullDisk{full: true}
			b := NewLineBuffer(d)
			defer b.Close()
			b.Write([]byte(line))
			b.Flush()
			d.full = false
			b.Write([]byte("after\n"))
			b.Flush()
			if got := d.String(); !strings.HasSuffix(got, "after\n") {
				t.Errorf("after the disk had room again, it has %.20q; want the line", got)
			}
		})
	}
}
