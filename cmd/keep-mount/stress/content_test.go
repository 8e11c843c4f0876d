package stress

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

func TestContentIsWhatWasWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		c, want := &content{}, []byte{}
		for seq := range 12 {
			if rng.IntN(4) == 0 {
				size := rng.IntN(5000)
				c.truncate(int64(size))
				want = append(want, make([]byte, max(0, size-len(want)))...)[:size]
				continue
			}
			off, n := rng.IntN(4000), rng.IntN(2000)+1
			v := version{Writer: 1, Seq: uint32(seq + 1), File: 1}
			c.write(int64(off), int64(n), v)
			want = append(want, make([]byte, max(0, off+n-len(want)))...)
			v.fill(want[off:off+n], int64(off))
		}
		got := make([]byte, c.Size)
		c.fill(got, 0)
		if !bytes.Equal(got, want) {
			t.Fatalf("content of %+v is not what was written", c)
		}
		if err := c.compare(bytes.NewReader(want)); err != nil {
			t.Fatalf("compare = %v", err)
		}
		for at := int64(0); len(want) > 0 && at < c.Size; at = c.at(at).To {
			want[at] ^= 1
			if err := c.compare(bytes.NewReader(want)); err == nil {
				t.Fatalf("compare does not see byte %d changed", at)
			}
			want[at] ^= 1
		}
		if err := c.compare(bytes.NewReader(append(want, 0))); err == nil {
			t.Fatal("compare does not see a byte more")
		}
	}
}

func FuzzExplain(f *testing.F) {
	c := &content{}
	c.write(0, 2000, version{Writer: 1, Seq: 1, File: 1})
	c.write(700, 900, version{Writer: 1, Seq: 2, File: 1})
	good := make([]byte, c.Size)
	c.fill(good, 0)
	f.Add(good, uint16(0))
	f.Add(good[:100], uint16(0))
	f.Add([]byte{0, 1}, uint16(512))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		got := bytes.Clone(good)
		got = append(got[:min(int(at), len(got))], patch...)
		if finding := c.explain(got); (finding == nil) != bytes.Equal(got, good) {
			t.Errorf("explain(%x) = %v", got, finding)
		} else if finding != nil && finding.Kind == "" {
			t.Errorf("explain(%x) gives no kind", got)
		}
	})
}

func TestQuantilesAreExactToASixteenth(t *testing.T) {
	l := &latencies{Buckets: map[int]uint64{}}
	for i := range 10000 {
		l.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 5000 * time.Microsecond, 0.99: 9900 * time.Microsecond} {
		if got := l.quantile(q); got < want || got > want+want/15 {
			t.Errorf("quantile(%v) = %v; want %v or a sixteenth more", q, got, want)
		}
	}
	for d := time.Duration(1); d > 0 && d < 1<<60; d += d/3 + 1 {
		if b := bucketOf(d); bucketEnd(b) < d || b > 0 && bucketEnd(b-1) >= d {
			t.Errorf("%d is in bucket %d, which ends at %d", d, b, bucketEnd(b))
		}
	}
}
