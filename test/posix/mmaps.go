package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A mapping is memory that is touched by system calls only: bytes go through a
// memory file, so that a fault is EFAULT instead of a signal, and Go knows that
// the thread may wait.
type mapping struct {
	mem []byte
	via int
}

func (e *Env) mmap(fd int, off int64, n, prot, flags int) *mapping {
	mem := must(unix.Mmap(fd, off, n, prot, flags))
	via := must(unix.MemfdCreate("mapping", unix.MFD_CLOEXEC))
	e.fds = append(e.fds, via)
	return &mapping{mem, via}
}

func (m *mapping) load(off, n int) (string, error) {
	if _, err := unix.Pwrite(m.via, m.mem[off:off+n], 0); err != nil {
		return "", err
	}
	return readAt(m.via, n, 0), nil
}

func (m *mapping) store(off int, s string) error {
	writeAt(m.via, s, 0)
	_, err := unix.Pread(m.via, m.mem[off:off+len(s)], 0)
	return err
}

func (m *mapping) close() { do(unix.Munmap(m.mem)) }

const rw = unix.PROT_READ | unix.PROT_WRITE

func mmapCases() []Case {
	const page = 4096
	return []Case{
		{"mmap/private-reads-the-file-and-keeps-its-writes", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDONLY, 0)
			m := e.mmap(fd, 0, page, rw, unix.MAP_PRIVATE)
			equal("bytes", must(m.load(0, 8)), "content\x00")
			do(m.store(0, "CHANGED"))
			equal("file", content("f"), "content")
			m.close()
		}},
		{"mmap/shared-reads-and-file-writes-are-one", 0, func(e *Env) {
			file("f", strings.Repeat("x", 3*page))
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, 3*page, unix.PROT_READ, unix.MAP_SHARED)
			for i := range 50 {
				s := fmt.Sprintf("<%d>", i)
				writeAt(fd, s, int64(i*200))
				equal("mapped bytes", must(m.load(i*200, len(s))), s)
			}
			m.close()
		}},
		{"mmap/shared-writes-and-file-reads-are-one", Mmap, func(e *Env) {
			file("f", strings.Repeat("x", 3*page))
			fd := e.open("f", unix.O_RDWR, 0)
			other := e.open("f", unix.O_RDONLY, 0)
			m := e.mmap(fd, 0, 3*page, rw, unix.MAP_SHARED)
			for i := range 50 {
				s := fmt.Sprintf("<%d>", i)
				do(m.store(i*200, s))
				equal("bytes of the file", readAt(other, len(s), int64(i*200)), s)
			}
			m.close()
		}},
		{"mmap/survives-msync-munmap-close-and-dropped-cache", Mmap, func(e *Env) {
			file("f", strings.Repeat("x", 2*page))
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, 2*page, rw, unix.MAP_SHARED)
			do(m.store(page-2, "over"))
			do(unix.Msync(m.mem, unix.MS_SYNC))
			do(m.store(0, "late"))
			e.closeNow(fd)
			m.close()
			fd = e.open("f", unix.O_RDWR, 0)
			do(unix.Fsync(fd))
			do(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
			want := []byte(strings.Repeat("x", 2*page))
			copy(want, "late")
			copy(want[page-2:], "over")
			equal("content", readAll(fd), string(want))
		}},
		{"mmap/outlives-its-descriptor-and-its-name", Mmap, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, page, rw, unix.MAP_SHARED)
			e.closeNow(fd)
			do(m.store(0, "C"))
			do(unix.Rename("f", "g"))
			do(m.store(6, "T"))
			do(unix.Msync(m.mem, unix.MS_SYNC))
			equal("content", content("g"), "ContenT")
			do(unix.Unlink("g"))
			equal("bytes", must(m.load(0, 7)), "ContenT")
			do(m.store(0, "k"))
			equal("bytes", must(m.load(0, 7)), "kontenT")
			m.close()
		}},
		{"mmap/stores-behind-the-end-are-not-in-the-file", Mmap, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, page, rw, unix.MAP_SHARED)
			do(m.store(7, "behind"))
			do(unix.Msync(m.mem, unix.MS_SYNC))
			equal("size", fstat(fd).Size, 7)
			equal("content", content("f"), "content")
			m.close()
			do(unix.Fsync(fd))
			do(unix.Ftruncate(fd, 20))
			equal("content", content("f"), "content"+strings.Repeat("\x00", 13))
		}},
		{"mmap/pages-beyond-the-end-fault", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, 2*page, unix.PROT_READ, unix.MAP_SHARED)
			_, err := m.load(page, 1)
			want(err, unix.EFAULT)
			do(unix.Ftruncate(fd, page+10))
			equal("bytes", must(m.load(page, 3)), "\x00\x00\x00")
			do(unix.Ftruncate(fd, 3))
			_, err = m.load(page, 1)
			want(err, unix.EFAULT)
			equal("bytes", must(m.load(0, 7)), "con\x00\x00\x00\x00")
			m.close()
		}},
		{"mmap/truncate-and-grow-shows-zeros", Mmap, func(e *Env) {
			file("f", strings.Repeat("x", 3*page))
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, 3*page, rw, unix.MAP_SHARED)
			do(m.store(0, strings.Repeat("y", 3*page)))
			do(unix.Ftruncate(fd, page+10))
			do(unix.Ftruncate(fd, 3*page))
			equal("mapped bytes", must(m.load(0, 3*page)), strings.Repeat("y", page+10)+strings.Repeat("\x00", 2*page-10))
			equal("content", content("f"), strings.Repeat("y", page+10)+strings.Repeat("\x00", 2*page-10))
			m.close()
		}},
		{"mmap/punched-holes-show", Mmap | Punch, func(e *Env) {
			file("f", strings.Repeat("x", 3*page))
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, 3*page, rw, unix.MAP_SHARED)
			do(m.store(0, strings.Repeat("y", 3*page)))
			do(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, 2*page))
			equal("mapped bytes", must(m.load(0, 3*page)), strings.Repeat("y", 100)+strings.Repeat("\x00", 2*page)+strings.Repeat("y", page-100))
			m.close()
		}},
		{"mmap/two-mappings-are-one-memory", Mmap, func(e *Env) {
			file("f", strings.Repeat("x", 2*page))
			a := e.mmap(e.open("f", unix.O_RDWR, 0), 0, 2*page, rw, unix.MAP_SHARED)
			b := e.mmap(e.open("f", unix.O_RDWR, 0), page, page, rw, unix.MAP_SHARED)
			do(a.store(page+5, "from a"))
			equal("bytes", must(b.load(5, 6)), "from a")
			do(b.store(50, "from b"))
			equal("bytes", must(a.load(page+50, 6)), "from b")
			a.close()
			b.close()
		}},
		{"mmap/another-process-sees-stores", Mmap, func(e *Env) {
			file("f", "........")
			m := e.mmap(e.open("f", unix.O_RDWR, 0), 0, page, rw, unix.MAP_SHARED)
			peer := e.child("read", "f")
			for i := range 10 {
				do(m.store(0, fmt.Sprintf("store %2d", i)[:8]))
				peer.say("again")
				equal("what it reads", peer.line(), fmt.Sprintf("store %2d", i)[:8])
			}
			peer.end()
			m.close()
		}},
		{"mmap/permissions", 0, func(e *Env) {
			file("f", "content")
			_, err := unix.Mmap(e.open("f", unix.O_RDONLY, 0), 0, page, rw, unix.MAP_SHARED)
			want(err, unix.EACCES)
			_, err = unix.Mmap(e.open("f", unix.O_WRONLY, 0), 0, page, unix.PROT_READ, unix.MAP_SHARED)
			want(err, unix.EACCES)
			mkdir("d")
			_, err = unix.Mmap(e.open("d", unix.O_RDONLY, 0), 0, page, unix.PROT_READ, unix.MAP_SHARED)
			want(err, unix.ENODEV, unix.EACCES)
		}},
		{"mmap/store-moves-mtime-at-msync", Mmap, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			m := e.mmap(fd, 0, page, rw, unix.MAP_SHARED)
			from := tick()
			do(m.store(0, "C"))
			do(unix.Msync(m.mem, unix.MS_SYNC))
			check(!stamp(fstat(fd).Mtim).Before(from), "mtime = %v; want one after %v", stamp(fstat(fd).Mtim), from)
			m.close()
		}},
	}
}
