package keepio

import (
	"context"
	"crypto/md5"
	"hash"
)

// hashJobs sets the hash of each job that has not failed, and the sums of those
// that have none.
func hashJobs(ctx context.Context, jobs []*storeJob) {
	buf := make([]byte, ChunkSize)
	for _, j := range jobs {
		if j.err == nil {
			j.err = hashJob(ctx, j, md5.New(), buf)
		}
	}
}

func hashJob(ctx context.Context, j *storeJob, h hash.Hash, buf []byte) error {
	known := j.sums != nil
	for off := uint32(0); off < j.size; off += ChunkSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(ChunkSize, j.size-off)]
		if _, err := j.f.ReadAt(p, int64(off)); err != nil {
			return err
		}
		h.Write(p)
		if !known {
			j.sums = append(j.sums, Sum(p))
		}
	}
	h.Sum(j.hash[:0])
	return nil
}
