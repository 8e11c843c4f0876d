package stress

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// The variant "moves": every other process moves its things one by one, each
// once and one way, and puts new versions of a published file in its place. A
// neighbour watches. Since things go one way it can be strict: when the old name
// is gone the new one must be there, and when the new one is there the old one
// must be gone. A published file is always there, whole, and never gets older.

const (
	moves     = 12
	publishes = 3 // beside each move
)

// A move is one thing of a process: a file, or a directory with a file in it.
type move struct {
	dir      bool
	from, to string
	c        *content // of the file
}

// file is the name of m's file when m has the name p.
func (m move) file(p string) string {
	if m.dir {
		return p + "/in"
	}
	return p
}

func (w *worker) movesOf(process int) []move {
	a, b := process%w.cfg.Tops, (process+1)%w.cfg.Tops
	var all []move
	for k := range moves {
		m := move{dir: k%4 >= 2}
		m.from = fmt.Sprintf("c%d/mv-w%d-%d", a, process, k)
		switch {
		case k%2 == 0: // in the directory
			m.to = m.from + "-moved"
		case k%3 == 0 || !w.cfg.Can.CrossMove: // into another one of the collection
			m.to = fmt.Sprintf("c%d/mv-w%d/%d", a, process, k)
		default:
			m.to = fmt.Sprintf("c%d/mv-w%d-%d", b, process, k)
			if a == b {
				m.to += "-moved"
			}
		}
		m.c = &content{}
		m.c.write(0, 1500+int64(k)*100, w.sameVersion(process, 10+k, 0))
		all = append(all, m)
	}
	return all
}

func (w *worker) published(process int) string {
	return fmt.Sprintf("c%d/published-w%d", process%w.cfg.Tops, process)
}

func (w *worker) publishedContent(process, n int) *content {
	c := &content{}
	c.write(0, 1000+int64(n*777%9000), w.sameVersion(process, 3, n))
	return c
}

// put writes c to a new file.
func (w *worker) put(name string, c *content, sync bool) error {
	return w.with(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, sync, func(f *tracedFile) error {
		p := make([]byte, c.Size)
		c.fill(p, 0)
		return w.must("write", name, f.writeAt(p, 0))
	})
}

func (w *worker) publish(n int) error {
	name := w.published(w.cfg.Index)
	if err := w.put(name+".new", w.publishedContent(w.cfg.Index, n), n%8 == 0); err != nil {
		return err
	}
	return w.must("rename", name+".new to "+name, w.t.rename(name+".new", name))
}

func (w *worker) stepMovesMake() error {
	for _, d := range w.moveDirs() {
		if err := w.must("mkdir", d, w.t.mkdir(d)); err != nil {
			return err
		}
	}
	for _, m := range w.movesOf(w.cfg.Index) {
		if m.dir {
			if err := w.must("mkdir", m.from, w.t.mkdir(m.from)); err != nil {
				return err
			}
		}
		if err := w.put(m.file(m.from), m.c, false); err != nil {
			return err
		}
	}
	return w.publish(0)
}

func (w *worker) moveDirs() []string {
	return []string{fmt.Sprintf("c%d/mv-w%d", w.cfg.Index%w.cfg.Tops, w.cfg.Index)}
}

// stepMoves has those move whose number is of the parity asked for.
func (w *worker) stepMoves() error {
	i, p := w.cfg.Index, w.step.Parity
	switch {
	case i%2 == p:
		return w.moveAll()
	case p == 0:
		return w.observe(i - 1)
	case i+1 < w.cfg.Processes:
		return w.observe(i + 1)
	}
	return nil
}

func (w *worker) moveAll() error {
	n := 1
	for _, m := range w.movesOf(w.cfg.Index) {
		if err := w.rename(m.from, m.to); err != nil {
			return err
		}
		for range publishes {
			if w.stopped() {
				return nil
			}
			if err := w.publish(n); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// observe watches until all things of a process have moved.
func (w *worker) observe(process int) error {
	last := 0
	waiting := w.movesOf(process)
	for len(waiting) > 0 && !w.stopped() {
		var rest []move
		for _, m := range waiting {
			done, err := w.observeMove(m)
			if err != nil {
				return err
			}
			if !done {
				rest = append(rest, m)
			}
		}
		waiting = rest
		n, err := w.readPublished(process, last)
		if err != nil {
			return err
		}
		last = n
	}
	return nil
}

func (w *worker) observeMove(m move) (done bool, err error) {
	both := m.from + " to " + m.to
	_, ferr := w.t.lstat(m.file(m.from))
	_, terr := w.t.lstat(m.file(m.to))
	switch {
	case gone(ferr) && gone(terr):
		return false, w.bad(neither, "rename", both, "the new name once the old one is gone", "neither")
	case terr == nil:
		if _, err := w.t.lstat(m.from); !gone(err) {
			return false, w.bad(bothNames, "rename", both, "no old name once the new one is there", "both")
		}
		return true, w.check(m.file(m.to), m.c)
	case ferr != nil && !gone(ferr):
		return false, w.must("stat", m.from, ferr)
	case !gone(terr):
		return false, w.must("stat", m.to, terr)
	}
	return false, nil
}

// readPublished reads a file that is replaced meanwhile.
func (w *worker) readPublished(process, last int) (n int, err error) {
	name := w.published(process)
	f, err := w.t.open(name, os.O_RDONLY)
	if err != nil {
		return 0, w.must("open", name, err)
	}
	buf := make([]byte, 16<<10)
	size, err := f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	if err := errors.Join(w.must("read", name, err), w.must("close", name, f.close())); err != nil {
		return 0, err
	}
	v, _, ok := parseCell(buf[:size])
	n = int(v.Seq) - known
	if !ok || v != w.sameVersion(process, 3, n) {
		return 0, w.bad(damaged, "read", name, "a published version", fmt.Sprintf("%d bytes, %v", size, v))
	}
	if f := w.publishedContent(process, n).explain(buf[:size]); f != nil {
		return 0, w.bad(tornWrite, "read", name, "one version, whole: "+f.Expected, f.Got)
	}
	if n < last {
		return 0, w.bad(staleRead, "read", name, fmt.Sprintf("version %d or a later one, which was read before", last), fmt.Sprintf("version %d", n))
	}
	return n, nil
}

// stepMovesCheck looks at what the next process has moved.
func (w *worker) stepMovesCheck() error {
	next := (w.cfg.Index + 1) % w.cfg.Processes
	for _, m := range w.movesOf(next) {
		if err := w.moved(m.from, m.to); err != nil {
			return err
		}
		if err := w.check(m.file(m.to), m.c); err != nil {
			return err
		}
	}
	return w.check(w.published(next), w.publishedContent(next, moves*publishes))
}

func (w *worker) stepMovesRemove() error {
	gone := model{w.published(w.cfg.Index): {File: &content{}}}
	for _, m := range w.movesOf(w.cfg.Index) {
		gone[m.to] = &node{Dir: m.dir}
		gone[m.file(m.to)] = &node{Dir: m.dir && m.file(m.to) == m.to}
	}
	for _, d := range w.moveDirs() {
		gone[d] = &node{Dir: true}
	}
	return w.remove(gone)
}
