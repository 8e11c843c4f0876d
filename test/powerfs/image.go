package powerfs

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Image is a tree as a power cut left it. It doesn't change any more.
type Image struct {
	root *imageNode
}

type imageNode struct {
	mode     uint32
	target   string
	file     content
	children map[string]*imageNode
}

// How a draw treats what isn't synced. The extremes come often: most bugs show
// when nothing survives, or when only the names or only the data do.
type fate int

const (
	loseAll fate = iota
	keepAll
	keepPrefix // of the changes in time; of a file's pages, from its start
	keepSome
	fates
)

func (d *Disk) imageLocked(seed uint64) *Image {
	rng := rand.New(rand.NewPCG(seed, 0x706f776572))
	im := &imager{rng: rng, data: fate(rng.IntN(int(fates))), dirs: map[*inode]map[string]*inode{}, files: map[*inode]content{}}
	im.drawNames(d, fate(rng.IntN(int(fates))))
	return &Image{root: im.build(d.root, map[*inode]bool{})}
}

type imager struct {
	rng   *rand.Rand
	data  fate
	dirs  map[*inode]map[string]*inode // those that differ from the disk's state
	files map[*inode]content           // drawn once, whatever links lead to them
}

func (im *imager) drawNames(d *Disk, f fate) {
	var changes []*change
	seen := map[*change]bool{}
	for dir := range d.pending {
		for _, c := range dir.log {
			if !c.done && !seen[c] {
				seen[c] = true
				changes = append(changes, c)
			}
		}
	}
	slices.SortFunc(changes, func(a, b *change) int { return cmp.Compare(a.seq, b.seq) })
	switch f {
	case loseAll:
		changes = nil
	case keepPrefix:
		changes = changes[:im.rng.IntN(len(changes)+1)]
	case keepSome:
		share := im.rng.Float64()
		changes = slices.DeleteFunc(changes, func(*change) bool { return im.rng.Float64() > share })
	}
	for _, c := range changes {
		for _, s := range c.sets {
			if im.dirs[s.dir] == nil {
				im.dirs[s.dir] = cloneEntries(s.dir)
			}
			apply(im.dirs[s.dir], s)
		}
	}
}

// build copies what is reachable. above guards against a directory that a set
// of kept moves has put below itself.
func (im *imager) build(n *inode, above map[*inode]bool) *imageNode {
	out := &imageNode{mode: n.mode, target: n.target}
	switch n.mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		above[n] = true
		out.children = map[string]*imageNode{}
		entries := n.diskEntries
		if e := im.dirs[n]; e != nil {
			entries = e
		}
		// In order, so that the same seed draws the same image.
		names := make([]string, 0, len(entries))
		for name := range entries {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if child := entries[name]; !above[child] {
				out.children[name] = im.build(child, above)
			}
		}
		delete(above, n)
	case syscall.S_IFREG:
		c, ok := im.files[n]
		if !ok {
			c = im.drawContent(n)
			im.files[n] = c
		}
		out.file = c
	}
	return out
}

func (im *imager) drawContent(n *inode) content {
	f := im.data
	if f == keepSome { // of the files, each its own way
		f = fate(im.rng.IntN(int(fates)))
	}
	old := content{slices.Clone(n.disk.pages), n.disk.size}
	if f == loseAll || n.low < n.disk.size && im.rng.IntN(2) == 0 {
		return old // also: the shortening, and all after it, is lost
	}
	if f == keepAll {
		for _, p := range n.now.pages {
			if p != nil {
				p.frozen = true
			}
		}
		return content{slices.Clone(n.now.pages), n.now.size}
	}
	// The size: as it was, as it is, or on the way.
	out := content{size: n.now.size}
	low, high := min(n.low, n.now.size), n.now.size
	switch im.rng.IntN(3) {
	case 0:
		out.size = low
	case 1:
		out.size = low + im.rng.Int64N(high-low+1)
	}
	out.pages = make([]*page, pagesOf(out.size))
	prefix, share := im.rng.IntN(len(out.pages)+1), im.rng.Float64()
	for i := range out.pages {
		keep := i < prefix
		if f == keepSome {
			keep = im.rng.Float64() < share
		}
		switch {
		case i < len(n.now.pages) && (keep || !n.dirty[i]):
			out.pages[i] = n.now.pages[i]
		case i < len(old.pages) && int64(i)*pageSize < n.low:
			out.pages[i] = old.pages[i]
			if in := n.low - int64(i)*pageSize; out.pages[i] != nil && n.low < n.disk.size && in < pageSize {
				out.pages[i] = &page{data: old.pages[i].data}
				clear(out.pages[i].data[in:]) // cut off, then made longer again
			}
		}
		if p := out.pages[i]; p != nil {
			p.frozen = true
		}
	}
	// The last page ends with zeros after the size, as on any disk.
	if in := out.size % pageSize; in != 0 && out.pages[len(out.pages)-1] != nil {
		p := &page{data: out.pages[len(out.pages)-1].data}
		clear(p.data[in:])
		out.pages[len(out.pages)-1] = p
	}
	return out
}

// WriteTo writes the image into a directory, which is made. Sockets and the
// like are left out.
func (im *Image) WriteTo(dir string) error { return im.root.writeTo(dir) }

func (n *imageNode) writeTo(path string) error {
	switch n.mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		for name, child := range n.children {
			if err := child.writeTo(filepath.Join(path, name)); err != nil {
				return err
			}
		}
		return os.Chmod(path, os.FileMode(n.mode&0o777))
	case syscall.S_IFLNK:
		return os.Symlink(n.target, path)
	case syscall.S_IFREG:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, os.FileMode(n.mode&0o777))
		if err != nil {
			return err
		}
		return errors.Join(n.file.writeTo(f), f.Close())
	}
	return nil
}

func (c content) writeTo(f *os.File) error {
	if err := f.Truncate(c.size); err != nil {
		return err
	}
	for i, p := range c.pages {
		at := int64(i) * pageSize
		if p == nil || at >= c.size {
			continue
		}
		if _, err := f.WriteAt(p.data[:min(pageSize, c.size-at)], at); err != nil {
			return err
		}
	}
	return nil
}
