package posix

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

func dataCases() []Case {
	return []Case{
		{"data/read-at-and-beyond-the-end", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDONLY, 0)
			equal("bytes", readAt(fd, 100, 3), "tent")
			equal("bytes", readAt(fd, 100, 7), "")
			equal("bytes", readAt(fd, 100, 1<<40), "")
			_, err := unix.Pread(fd, make([]byte, 1), -1)
			want(err, unix.EINVAL)
		}},
		{"data/write-beyond-the-end-leaves-zeros", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			writeAt(fd, "end", 10000)
			equal("content", content("f"), "content"+strings.Repeat("\x00", 9993)+"end")
			_, err := unix.Pwrite(fd, []byte("x"), -1)
			want(err, unix.EINVAL)
		}},
		{"data/small-writes-at-all-places", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			model := make([]byte, 40000)
			rng := rand.New(rand.NewPCG(1, 2))
			size := 0
			for i := range 600 {
				off, n := rng.IntN(len(model)-200), 1+rng.IntN(200)
				for j := off; j < off+n; j++ {
					model[j] = byte(i)
				}
				writeAt(fd, string(model[off:off+n]), int64(off))
				size = max(size, off+n)
				equal("size", fstat(fd).Size, int64(size))
			}
			equal("content", content("f"), string(model[:size]))
			equal("content", readAll(fd), string(model[:size]))
		}},
		{"data/one-byte-at-a-time", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			for i := range 5000 {
				writeAll(fd, string([]byte{byte(i)}))
			}
			s := content("f")
			equal("size", len(s), 5000)
			for i := range s {
				equal(fmt.Sprint("byte ", i), s[i], byte(i))
			}
		}},
		{"data/vectors", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			equal("bytes written", must(unix.Writev(fd, [][]byte{[]byte("one"), []byte("two"), []byte("three")})), 11)
			equal("bytes written", must(unix.Pwritev(fd, [][]byte{[]byte("X"), []byte("YZ")}, 2)), 3)
			a, b := make([]byte, 4), make([]byte, 10)
			equal("bytes read", must(unix.Preadv(fd, [][]byte{a, b}, 0)), 11)
			equal("bytes", string(a)+string(b[:7]), "onXYZothree")
		}},
		{"data/beyond-4-GiB", Big, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			offs := []int64{1<<31 - 3, 1<<32 - 3, 1 << 32, 5<<30 + 7}
			for i, off := range offs {
				writeAt(fd, fmt.Sprint("at ", i), off)
			}
			equal("size", lstat("f").Size, 5<<30+7+4)
			equal("bytes", readAt(fd, 4, 1<<31-3), "at 0")
			equal("bytes", readAt(fd, 7, 1<<32-3), "at at 2")
			equal("bytes", readAt(fd, 6, 5<<30+5), "\x00\x00at 3")
			equal("position", must(unix.Seek(fd, -4, unix.SEEK_END)), 5<<30+7)
			equal("bytes", readAt(fd, 3, 0), "\x00\x00\x00")
			do(unix.Ftruncate(fd, 1<<32+2))
			equal("bytes", readAt(fd, 100, 1<<32-2), "t at")
		}},
		{"data/200-MiB-in-a-single-write", Big, func(e *Env) {
			const size = 200 << 20
			block := make([]byte, size)
			for i := 0; i < size; i += 4093 {
				block[i] = byte(i / 4093)
			}
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			for n := 0; n < size; {
				n += must(unix.Write(fd, block[n:]))
			}
			equal("size", fstat(fd).Size, size)
			back := make([]byte, size)
			for n := 0; n < size; {
				m := must(unix.Pread(fd, back[n:], int64(n)))
				check(m > 0, "the file ends at %d", n)
				n += m
			}
			check(string(back) == string(block), "the bytes are not those that were written")
			do(unix.Ftruncate(fd, 0))
		}},
		{"data/seek", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDONLY, 0)
			equal("end", must(unix.Seek(fd, 0, unix.SEEK_END)), 7)
			equal("beyond", must(unix.Seek(fd, 100, unix.SEEK_CUR)), 107)
			equal("bytes there", must(unix.Read(fd, make([]byte, 1))), 0)
			_, err := unix.Seek(fd, -108, unix.SEEK_CUR)
			want(err, unix.EINVAL)
			_, err = unix.Seek(fd, 0, 99)
			want(err, unix.EINVAL)
		}},
		{"data/fsync-of-file-and-directory", 0, func(e *Env) {
			mkdir("d")
			fd := e.open("d/f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAll(fd, "content")
			do(unix.Fsync(fd))
			do(unix.Fdatasync(fd))
			dir := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			do(unix.Fsync(dir))
			do(unix.Fdatasync(dir))
			do(unix.Fsync(e.open("d/f", unix.O_RDONLY, 0)))
			do(unix.Syncfs(dir))
			equal("content", content("d/f"), "content")
			do(unix.Unlink("d/f"))
			do(unix.Fsync(fd))
			do(unix.Fsync(dir))
		}},
		{"data/sendfile", 0, func(e *Env) {
			file("a", strings.Repeat("0123456789", 30000))
			from, to := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_CREAT|unix.O_WRONLY, 0o644)
			for {
				if must(unix.Sendfile(to, from, nil, 70000)) == 0 {
					break
				}
			}
			check(content("a") == content("b"), "the copy differs")
		}},
		{"data/dropping-the-cache-loses-nothing", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAt(fd, strings.Repeat("x", 100000), 0)
			do(unix.Fsync(fd))
			do(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
			equal("content", readAll(fd), strings.Repeat("x", 100000))
			writeAt(fd, "y", 50000)
			do(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
			equal("content", readAt(fd, 3, 49999), "xyx")
		}},
		{"data/two-descriptors-see-each-other", 0, func(e *Env) {
			a := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			b := e.open("f", unix.O_RDWR, 0)
			for i := range 200 {
				s := fmt.Sprintf("round %d", i)
				w, r := a, b
				if i%2 == 1 {
					w, r = b, a
				}
				writeAt(w, s, int64(i*3))
				equal("bytes", readAt(r, 100, int64(i*3)), s)
				equal("size", fstat(r).Size, int64(i*3+len(s)))
			}
		}},
		{"data/another-process-sees-it-at-once", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			peer := e.child("read", "f")
			for i := range 20 {
				s := fmt.Sprintf("line %d", i)
				writeAt(fd, s, 0)
				peer.say("again")
				equal("what it reads", peer.line(), s)
			}
			peer.end()
		}},
		{"statfs/is-sane", 0, func(e *Env) {
			var st unix.Statfs_t
			do(unix.Statfs(".", &st))
			check(st.Bsize > 0 && st.Bsize&(st.Bsize-1) == 0, "block size %d", st.Bsize)
			check(st.Namelen >= 255, "names have %d bytes at most", st.Namelen)
			check(st.Blocks >= st.Bfree && st.Bfree >= st.Bavail && st.Blocks > 0, "blocks %d, free %d, available %d", st.Blocks, st.Bfree, st.Bavail)
			check(st.Files >= st.Ffree, "files %d, free %d", st.Files, st.Ffree)
			fd := e.open(".", unix.O_RDONLY, 0)
			var same unix.Statfs_t
			do(unix.Fstatfs(fd, &same))
			equal("type", same.Type, st.Type)
		}},
		{"stat/blocks-and-device-are-plausible", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAll(fd, strings.Repeat("x", 100000))
			do(unix.Fsync(fd))
			st := fstat(fd)
			check(st.Blocks >= 100000/512 && st.Blocks < 10*100000/512, "100000 bytes have %d blocks", st.Blocks)
			check(st.Blksize > 0, "block size %d", st.Blksize)
			equal("device", st.Dev, lstat(".").Dev)
		}},
		{"stat/inodes-differ-and-stay", 0, func(e *Env) {
			seen := make(map[uint64]string)
			for i := range 200 {
				p := fmt.Sprint(i)
				file(p, "")
				ino := lstat(p).Ino
				check(seen[ino] == "", "%s and %s have inode %d", p, seen[ino], ino)
				seen[ino] = p
			}
			for ino, p := range seen {
				equal("inode later", lstat(p).Ino, ino)
			}
		}},
	}
}

func holeCases() []Case {
	const block = 64 << 10
	xs := func(n int) string { return strings.Repeat("x", n) }
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	return []Case{
		{"fallocate/grows-with-zeros", Allocate, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Fallocate(fd, 0, 3, 10000))
			equal("content", content("f"), "content"+zeros(9996))
			do(unix.Fallocate(fd, 0, 0, 100))
			equal("size", fstat(fd).Size, 10003)
		}},
		{"fallocate/moves-mtime-and-ctime", Allocate | Ctime, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			moves(at{"f": mtime | ctime}, func() { do(unix.Fallocate(fd, 0, 0, 10000)) })
		}},
		{"fallocate/KEEP_SIZE-keeps-it", Allocate, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 100000))
			equal("content", content("f"), "content")
			do(unix.Ftruncate(fd, 20))
			equal("content", content("f"), "content"+zeros(13))
		}},
		{"fallocate/errors", Allocate, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			want(unix.Fallocate(fd, 0, 0, 0), unix.EINVAL)
			want(unix.Fallocate(fd, 0, -1, 10), unix.EINVAL)
			want(unix.Fallocate(fd, 0, 0, -1), unix.EINVAL)
			want(unix.Fallocate(fd, 0, 1<<62, 1<<62), unix.EFBIG)
			want(unix.Fallocate(e.open("f", unix.O_RDONLY, 0), 0, 0, 10), unix.EBADF)
			equal("content", content("f"), "content")
		}},
		{"fallocate/fifo-is-ESPIPE", Specials, func(e *Env) {
			fifo("p")
			want(unix.Fallocate(e.open("p", unix.O_RDWR, 0), 0, 0, 10), unix.ESPIPE)
		}},
		{"fallocate/PUNCH_HOLE-reads-as-zeros", Punch, func(e *Env) {
			file("f", xs(3*block))
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, block-5, block+10))
			equal("content", content("f"), xs(block-5)+zeros(block+10)+xs(block-5))
			do(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 3*block-3, 1<<30))
			equal("content", content("f"), xs(block-5)+zeros(block+10)+xs(block-8)+zeros(3))
			do(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1, 1))
			equal("start", readAt(fd, 3, 0), "x\x00x")
			writeAt(fd, "y", block)
			equal("in the hole", readAt(fd, 3, block-1), "\x00y\x00")
		}},
		{"fallocate/PUNCH_HOLE-without-KEEP_SIZE-is-an-error", Punch, func(e *Env) {
			file("f", "content")
			want(unix.Fallocate(e.open("f", unix.O_RDWR, 0), unix.FALLOC_FL_PUNCH_HOLE, 0, 3), unix.EOPNOTSUPP, unix.EINVAL)
		}},
		{"fallocate/ZERO_RANGE", ZeroRange, func(e *Env) {
			file("f", xs(10000))
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 10, 5000))
			equal("content", content("f"), xs(10)+zeros(5000)+xs(4990))
			do(unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 9990, 500))
			equal("size", fstat(fd).Size, 10000)
			do(unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 9000, 5000))
			equal("content", content("f"), xs(10)+zeros(5000)+xs(3990)+zeros(5000))
		}},
		{"fallocate/what-is-refused-changes-nothing", 0, func(e *Env) {
			for _, mode := range []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
				unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE, unix.FALLOC_FL_UNSHARE_RANGE} {
				file("f", xs(10000))
				if err := unix.Fallocate(e.open("f", unix.O_RDWR, 0), mode, 100, 20000); err != nil {
					want(err, unix.EOPNOTSUPP, unix.EINVAL)
					check(content("f") == xs(10000), "mode %#x failed and changed the file", mode)
				}
				do(unix.Unlink("f"))
			}
		}},
		{"seek/SEEK_DATA-and-SEEK_HOLE-tell-no-data-a-hole", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAt(fd, xs(block), 0)
			writeAt(fd, xs(block), 4<<20)
			var found int64
			for off := int64(0); ; {
				data, err := unix.Seek(fd, off, unix.SEEK_DATA)
				if err != nil {
					want(err, unix.ENXIO)
					break
				}
				hole := must(unix.Seek(fd, data, unix.SEEK_HOLE))
				check(data >= off && hole > data, "data from %d to %d when asked at %d", data, hole, off)
				check(strings.Trim(readAt(fd, int(data-off), off), "\x00") == "", "bytes other than 0 between %d and %d", off, data)
				found += int64(strings.Count(readAt(fd, int(hole-data), data), "x"))
				off = hole
			}
			equal("bytes of data", found, 2*block)
		}},
		{"seek/SEEK_HOLE-finds-holes", SeekHole, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAt(fd, xs(block), 4<<20)
			equal("hole", must(unix.Seek(fd, 0, unix.SEEK_HOLE)), 0)
			equal("data", must(unix.Seek(fd, 0, unix.SEEK_DATA)), 4<<20)
			equal("hole at the end", must(unix.Seek(fd, 4<<20, unix.SEEK_HOLE)), 4<<20+block)
			do(unix.Ftruncate(fd, 8<<20))
			equal("hole", must(unix.Seek(fd, 4<<20, unix.SEEK_HOLE)), 4<<20+block)
			_, err := unix.Seek(fd, 5<<20, unix.SEEK_DATA)
			want(err, unix.ENXIO)
		}},
		{"seek/SEEK_HOLE-without-holes-is-the-end", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDONLY, 0)
			equal("hole", must(unix.Seek(fd, 0, unix.SEEK_HOLE)), 7)
			equal("data", must(unix.Seek(fd, 3, unix.SEEK_DATA)), 3)
			for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
				_, err := unix.Seek(fd, 7, whence)
				want(err, unix.ENXIO)
				_, err = unix.Seek(fd, 100, whence)
				want(err, unix.ENXIO)
			}
		}},
		{"hole/punched-blocks-are-given-back", Punch | SeekHole, func(e *Env) {
			file("f", xs(1<<20))
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Fsync(fd))
			before := fstat(fd).Blocks
			do(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1<<19))
			check(fstat(fd).Blocks < before, "blocks = %d; want fewer than %d", fstat(fd).Blocks, before)
		}},
	}
}

func copyCases() []Case {
	copyRange := func(from int, fromOff int64, to int, toOff int64, n int) (int, error) {
		return unix.CopyFileRange(from, &fromOff, to, &toOff, n, 0)
	}
	return []Case{
		{"copy/across-files", 0, func(e *Env) {
			src := strings.Repeat("0123456789", 30000)
			file("a", src)
			file("b", "target")
			from, to := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_RDWR, 0)
			for n := 0; n < 200000; {
				m := must(copyRange(from, int64(7+n), to, int64(3+n), 200000-n))
				check(m > 0, "copied 0 bytes of what is there")
				n += m
			}
			check(content("b") == "tar"+src[7:200007], "the copy differs")
		}},
		{"copy/moves-positions", 0, func(e *Env) {
			file("a", "content")
			from, to := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_CREAT|unix.O_RDWR, 0o644)
			equal("bytes", must(unix.CopyFileRange(from, nil, to, nil, 3, 0)), 3)
			equal("bytes", must(unix.CopyFileRange(from, nil, to, nil, 100, 0)), 4)
			equal("bytes at the end", must(unix.CopyFileRange(from, nil, to, nil, 100, 0)), 0)
			equal("content", content("b"), "content")
			equal("position", must(unix.Seek(to, 0, unix.SEEK_CUR)), 7)
		}},
		{"copy/beyond-the-end-is-nothing", 0, func(e *Env) {
			file("a", "content")
			file("b", "b")
			from, to := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_RDWR, 0)
			equal("bytes", must(copyRange(from, 7, to, 0, 10)), 0)
			equal("bytes", must(copyRange(from, 1000, to, 1000, 10)), 0)
			equal("content", content("b"), "b")
		}},
		{"copy/within-a-file", 0, func(e *Env) {
			file("f", "0123456789")
			fd := e.open("f", unix.O_RDWR, 0)
			equal("bytes", must(copyRange(fd, 0, fd, 5, 5)), 5)
			equal("content", content("f"), "0123401234")
			equal("bytes", must(copyRange(fd, 5, fd, 20, 5)), 5)
			equal("content", content("f"), "0123401234"+strings.Repeat("\x00", 10)+"01234")
		}},
		{"copy/overlap-is-EINVAL", 0, func(e *Env) {
			file("f", "0123456789")
			fd := e.open("f", unix.O_RDWR, 0)
			_, err := copyRange(fd, 0, fd, 3, 5)
			want(err, unix.EINVAL)
			_, err = copyRange(fd, 3, e.open("f", unix.O_RDWR, 0), 0, 5)
			want(err, unix.EINVAL)
			equal("content", content("f"), "0123456789")
		}},
		{"copy/needs-the-right-descriptors", 0, func(e *Env) {
			file("a", "content")
			file("b", "b")
			mkdir("d")
			r, w := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_WRONLY, 0)
			for _, c := range []struct{ from, to int }{{w, w}, {r, r}, {r, e.open("b", unix.O_WRONLY|unix.O_APPEND, 0)}} {
				_, err := copyRange(c.from, 0, c.to, 0, 3)
				want(err, unix.EBADF)
			}
			_, err := copyRange(e.open("d", unix.O_RDONLY, 0), 0, w, 0, 3)
			want(err, unix.EISDIR)
			_, err = unix.CopyFileRange(r, nil, w, nil, 3, 1)
			want(err, unix.EINVAL)
			equal("content", content("b"), "b")
		}},
		{"copy/sees-what-was-just-written", 0, func(e *Env) {
			from, to := e.open("a", unix.O_CREAT|unix.O_RDWR, 0o644), e.open("b", unix.O_CREAT|unix.O_RDWR, 0o644)
			for i := range 50 {
				s := fmt.Sprintf("round %02d", i)
				writeAt(from, s, 0)
				equal("bytes", must(copyRange(from, 0, to, int64(i)*8, 8)), 8)
				equal("copy", readAt(to, 8, int64(i)*8), s)
			}
		}},
		{"copy/is-no-link", 0, func(e *Env) {
			file("a", "content")
			from, to := e.open("a", unix.O_RDWR, 0), e.open("b", unix.O_CREAT|unix.O_RDWR, 0o644)
			must(copyRange(from, 0, to, 0, 7))
			writeAt(from, "C", 0)
			equal("copy", content("b"), "content")
			writeAt(to, "K", 0)
			equal("source", content("a"), "Content")
		}},
		{"copy/moves-mtime", Ctime, func(e *Env) {
			file("a", "content")
			file("b", "")
			from, to := e.open("a", unix.O_RDONLY, 0), e.open("b", unix.O_WRONLY, 0)
			moves(at{"a": still, "b": mtime | ctime}, func() { must(copyRange(from, 0, to, 0, 7)) })
		}},
	}
}
