package blockcache

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

const (
	// periodLength is how long a file that nobody reads stays open, at most twice.
	periodLength = 30 * time.Second

	// scanAgain is how long the count of bytes is believed in: other programs
	// do not keep it.
	scanAgain = 10 * time.Minute

	// defaultShare is the part of the file system that a cache may take.
	defaultShare = 10

	// The cache leaves a part of the file system free for others, also for the
	// spool: a sixteenth, but not more than maxKeepFree.
	keepFreeShare = 16
	maxKeepFree   = 1 << 30

	// scanFiles is how many files a scan remembers; of more, only the oldest.
	scanFiles = 1 << 17
)

// tidy looks after the directory until ctx ends.
func (s *Store) tidy(ctx context.Context) {
	tick := time.NewTicker(periodLength)
	defer tick.Stop()
	for {
		s.disk.look(ctx)
		select {
		case <-tick.C:
			s.cache.Period(func(b *openblock.Block) { touch(b.File()) })
		case <-s.disk.kick:
		case <-ctx.Done():
			s.disk.count()
			return
		}
	}
}

// look counts what was added and makes room if there is too much, or may be.
func (d *disk) look(ctx context.Context) {
	u := d.count()
	free, total, err := space(d.dir)
	if err != nil {
		return
	}
	limit := d.limit
	if limit == 0 {
		limit = total / defaultShare
	}
	short := min(total/keepFreeShare, maxKeepFree) - free
	if u.Bytes <= limit && short <= 0 && time.Since(u.Scanned) < scanAgain {
		return
	}
	d.scan(ctx, limit, short)
}

// A usage is what the processes that share a directory know of it together: in
// the file named usage, the bytes that blocks take and when they were last
// counted (nanoseconds since 1970), both little-endian, and the CRC-32C of that.
type usage struct {
	Bytes   int64
	Scanned time.Time
}

const usageSize = 20

func (u usage) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(u.Bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(u.Scanned.UnixNano()))
	return binary.LittleEndian.AppendUint32(b, keepio.Sum(b))
}

// decodeUsage returns the zero usage, never scanned, for what cannot be right.
func decodeUsage(b []byte) usage {
	if len(b) != usageSize || binary.LittleEndian.Uint32(b[16:]) != keepio.Sum(b[:16]) {
		return usage{}
	}
	u := usage{int64(binary.LittleEndian.Uint64(b)), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:])))}
	if u.Bytes < 0 || u.Scanned.After(time.Now()) {
		return usage{}
	}
	return u
}

// count adds what this process added to what all know.
func (d *disk) count() usage {
	n := d.added.Swap(0)
	return d.update(func(u *usage) bool {
		u.Bytes += n
		return n != 0
	})
}

// update changes the usage if change says so, and returns it. Without the file it
// is never scanned.
func (d *disk) update(change func(*usage) bool) (u usage) {
	dir, err := d.makeDirs(ownDir)
	if err != nil {
		return u
	}
	f, err := os.OpenFile(filepath.Join(dir, "usage"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return u
	}
	defer f.Close()
	if err := flock(f, unix.LOCK_EX); err != nil {
		return u
	}
	b := make([]byte, usageSize+1)
	n, _ := f.ReadAt(b, 0)
	u = decodeUsage(b[:n])
	if change(&u) {
		if _, err := f.WriteAt(u.encode(), 0); err != nil {
			_ = f.Truncate(0)
		}
	}
	d.used.Store(u.Bytes)
	return u
}

// A cachedFile is what a scan remembers of a block's file.
type cachedFile struct {
	hash  [16]byte
	used  int64 // nanoseconds since 1970
	bytes int64 // that it takes on the disk
}

// scan counts the bytes in the directory, and deletes blocks, the longest unused
// first, if there are more than limit or if short bytes more should be free. If
// another process is at it already it does nothing.
func (d *disk) scan(ctx context.Context, limit, short int64) {
	lock, err := os.OpenFile(filepath.Join(d.dir, ownDir, "scan"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return
	}
	defer lock.Close()
	if flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	d.removeTemps()
	total, files := d.list(ctx)
	if ctx.Err() != nil {
		return
	}
	excess := max(total-limit, short)
	if excess > 0 {
		total -= d.evict(ctx, files, excess+limit/16)
	}
	d.update(func(u *usage) bool {
		*u = usage{total, time.Now()}
		return true
	})
}

// list finds the files of all blocks and what they take together; of very many it
// returns only the longest unused. They come in that order.
func (d *disk) list(ctx context.Context) (total int64, files []cachedFile) {
	dirs, _ := os.ReadDir(d.dir)
	for _, e := range dirs {
		if ctx.Err() != nil {
			return total, nil
		}
		if len(e.Name()) != 3 || !e.IsDir() {
			continue
		}
		total += d.listDir(e.Name(), &files)
		if len(files) > scanFiles {
			sortFiles(files)
			files = files[:scanFiles/2]
		}
	}
	sortFiles(files)
	return total, files
}

func sortFiles(files []cachedFile) {
	slices.SortFunc(files, func(a, b cachedFile) int {
		switch {
		case a.used < b.used:
			return -1
		case a.used > b.used:
			return 1
		}
		return 0
	})
}

// listDir adds the files of one of the 4,096 directories, and forgets the sums of
// blocks that are not there any more.
func (d *disk) listDir(name string, files *[]cachedFile) (total int64) {
	entries, err := os.ReadDir(filepath.Join(d.dir, name))
	if err != nil {
		return 0
	}
	there := make(map[[16]byte]bool, len(entries))
	for _, e := range entries {
		hash, ok := parseName(name, e.Name())
		if !ok {
			continue
		}
		there[hash] = true
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(d.dir, name, e.Name()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		f := cachedFile{hash: hash, bytes: st.Blocks * 512, used: max(st.Atim.Nano(), st.Mtim.Nano())}
		total += f.bytes
		*files = append(*files, f)
	}
	sums, err := os.ReadDir(filepath.Join(d.sums.Dir, name))
	if err != nil {
		return total
	}
	for _, e := range sums {
		var hash [16]byte
		if n, err := hex.Decode(hash[:], []byte(e.Name()[:min(32, len(e.Name()))])); err == nil && n == 16 && !there[hash] {
			d.sums.Remove(hash)
		}
	}
	return total
}

// evict deletes files until that many bytes are free, and returns how many got
// free.
func (d *disk) evict(ctx context.Context, files []cachedFile, bytes int64) (freed int64) {
	for _, f := range files {
		if freed >= bytes || ctx.Err() != nil {
			break
		}
		d.mayEvict(f.hash)
		if d.remove(d.path(f.hash)) {
			d.sums.Remove(f.hash)
			freed += f.bytes
		}
	}
	d.evicted.Add(freed)
	return freed
}

// remove deletes a file that nobody uses.
func (d *disk) remove(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil || !sameFile(f, path) {
		return false
	}
	return os.Remove(path) == nil
}

// removeTemps deletes temporary files that no process fills any more.
func (d *disk) removeTemps() {
	dir := filepath.Join(d.dir, ownDir, "tmp")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > time.Minute {
			_ = d.remove(filepath.Join(dir, e.Name()))
		}
	}
}

// stats fills in what the disk knows.
func (d *disk) stats(st *Stats) {
	st.Evicted, st.Used, st.Limit = d.evicted.Load(), d.used.Load()+d.added.Load(), d.limit
	if _, total, err := space(d.dir); st.Limit == 0 && err == nil {
		st.Limit = total / defaultShare
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st.Trouble = d.trouble
}
