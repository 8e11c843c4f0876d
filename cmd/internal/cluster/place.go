package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A place is a directory for what one session has written and the cluster does not
// have yet:
//
//	lock            held by the process that uses the place
//	open/           block files, see keepio.Spool
//	leftover/UUID   what could not be committed of a collection, when a session ended
//	names           what blocks are called that leftovers know by their ids
//
// Sessions of one user have places 1, 2, … below one directory.
type place struct {
	dir  string
	lock *os.File
	next atomic.Uint64 // the id given out last
	left []leftover    // what an earlier session left here, set by claim

	mu    sync.Mutex      // guards the fields below
	keep  bool            // names are written down: leftovers that need them may be there
	names *os.File        // nil: not opened yet
	taken map[string]bool // files of leftovers whose changes the session has, not committed yet
}

// A leftover is one that was read, with the file that it is in.
type leftover struct {
	collfs.Leftover
	path string
}

const (
	leftMagic = "KDleft1\n"
	nameSize  = 8 + 16 + 4 + 4 // of a record of names: id, hash, size, checksum
	maxPlaces = 10_000

	// maxLeft bounds what is read of a leftover. It is a tree, and a list of changes.
	maxLeft = 4 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTaken says that another process uses a place.
var errTaken = errors.New("another process uses it")

// claim takes a place below root that nobody uses: one with leftovers if there is one,
// else the first. bad is told about places that cannot be used because what is left
// there is damaged; nothing is ever removed from these.
func claim(root string, bad func(error)) (*place, error) {
	if p := claimLeft(root, bad); p != nil {
		return p, nil
	}
	for n := 1; n <= maxPlaces; n++ {
		p, err := take(filepath.Join(root, strconv.Itoa(n)))
		if err == nil && len(p.left) == 0 {
			return p, nil
		}
		if err == nil { // whoever left that has ended just now
			return p, nil
		}
		if !errors.Is(err, errTaken) && !errors.Is(err, errDamaged) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %d programs use it", root, maxPlaces)
}

// claimLeft takes a place with leftovers that nobody uses; nil if there is none.
func claimLeft(root string, bad func(error)) *place {
	found, err := filepath.Glob(filepath.Join(root, "*", "leftover", "*"))
	if err != nil {
		return nil // the pattern is good
	}
	tried := map[string]bool{}
	for _, f := range found {
		dir := filepath.Dir(filepath.Dir(f))
		if tried[dir] || strings.HasSuffix(f, newSuffix) {
			continue
		}
		tried[dir] = true
		p, err := take(dir)
		switch {
		case err == nil && len(p.left) > 0:
			return p
		case err == nil:
			p.release()
		case !errors.Is(err, errTaken):
			bad(err)
		}
	}
	return nil
}

// errDamaged says that what is left in a place cannot be read.
var errDamaged = errors.New("what is left there cannot be read, so it is left alone")

// take locks the place in dir, which is made if need be, and reads what is left there.
func take(dir string) (*place, error) {
	for _, d := range []string{dir, filepath.Join(dir, "leftover")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		lock.Close()
		return nil, fmt.Errorf("%s: %w", dir, errTaken)
	case err != nil:
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	p := &place{dir: dir, lock: lock, taken: make(map[string]bool)}
	if err := p.read(); err != nil {
		p.release()
		return nil, fmt.Errorf("%s: %w: %w", dir, errDamaged, err)
	}
	return p, nil
}

// release lets others use the place.
func (p *place) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names != nil {
		p.names.Close()
	}
	p.lock.Close()
}

func (p *place) openDir() string { return filepath.Join(p.dir, "open") }
func (p *place) leftDir() string { return filepath.Join(p.dir, "leftover") }
func (p *place) namesPath() string {
	return filepath.Join(p.dir, "names")
}

// nextID is an id that nothing in the place has.
func (p *place) nextID() (keepio.BlockID, error) { return keepio.BlockID(p.next.Add(1)), nil }

// read reads the leftovers and finds out which ids are taken.
func (p *place) read() error {
	files, err := os.ReadDir(p.leftDir())
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(p.leftDir(), f.Name())
		if strings.HasSuffix(path, newSuffix) { // it was not finished, and not told of
			continue
		}
		l, err := readLeftover(path)
		if err != nil {
			return err
		}
		p.left = append(p.left, leftover{l, path})
		for _, b := range l.Open {
			p.used(b.ID)
		}
	}
	p.keep = len(p.left) > 0
	if !p.keep {
		if err := os.Remove(p.namesPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	blocks, err := os.ReadDir(p.openDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, b := range blocks {
		if id, err := strconv.ParseUint(b.Name(), 16, 64); err == nil {
			p.used(keepio.BlockID(id))
		}
	}
	return nil
}

func (p *place) used(id keepio.BlockID) { p.next.Store(max(p.next.Load(), uint64(id))) }

// open are the block files that leftovers rely on.
func (p *place) open() []keepio.OpenBlock {
	ends := map[keepio.BlockID]uint32{}
	for _, l := range p.left {
		for _, b := range l.Open {
			ends[b.ID] = max(ends[b.ID], b.End)
		}
	}
	all := make([]keepio.OpenBlock, 0, len(ends))
	for id, end := range ends {
		all = append(all, keepio.OpenBlock{ID: id, End: end})
	}
	return all
}

// stored reads what blocks are called that leftovers know by their ids. A record that
// was cut by a crash was not relied on.
func (p *place) stored(known func(keepio.Stored)) error {
	data, err := os.ReadFile(p.namesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for ; len(data) >= nameSize; data = data[nameSize:] {
		rec := data[:nameSize]
		if crc32.Checksum(rec[:nameSize-4], castagnoli) != binary.LittleEndian.Uint32(rec[nameSize-4:]) {
			break
		}
		b := keepio.Stored{ID: keepio.BlockID(binary.LittleEndian.Uint64(rec)), Size: binary.LittleEndian.Uint32(rec[24:])}
		copy(b.Hash[:], rec[8:])
		p.used(b.ID)
		known(b)
	}
	return nil
}

// onStored makes durable what blocks are called, while there are leftovers that know
// them by their ids.
func (p *place) onStored(blocks []keepio.Stored) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.keep {
		return nil
	}
	if p.names == nil {
		var err error
		p.names, err = os.OpenFile(p.namesPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
	}
	var buf []byte
	for _, b := range blocks {
		rec := binary.LittleEndian.AppendUint64(nil, uint64(b.ID))
		rec = append(rec, b.Hash[:]...)
		rec = binary.LittleEndian.AppendUint32(rec, b.Size)
		buf = append(buf, binary.LittleEndian.AppendUint32(rec, crc32.Checksum(rec, castagnoli))...)
	}
	if _, err := p.names.Write(buf); err != nil {
		return err
	}
	return p.names.Sync()
}

// took notes that the session has the changes of a leftover. The file stays until they
// are committed, or kept again.
func (p *place) took(l leftover) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[l.path] = true
}

func (p *place) isTaken(l leftover) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken[l.path]
}

// done removes a leftover that was committed.
func (p *place) done(l leftover) error {
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// newSuffix is that of a file that is being written.
const newSuffix = ".new"

// keepLeftover writes l down, to survive a loss of power. It takes the place of those of
// the collection that the session has taken up.
func (p *place) keepLeftover(l collfs.Leftover) error {
	path := filepath.Join(p.leftDir(), string(l.Collection))
	var within []string // what l has, too
	for _, old := range p.left {
		if _, err := os.Stat(old.path); err != nil || old.Collection != l.Collection {
			continue
		}
		if p.isTaken(old) {
			within = append(within, old.path)
		} else if old.path == path { // it could not be taken up yet
			path += "+"
		}
	}
	if len(within) > 0 {
		path, within = within[0], within[1:]
	}
	data, err := encodeLeftover(l)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err == nil {
		err = syncDir(p.leftDir())
	}
	for _, old := range within {
		if err == nil {
			err = os.Remove(old)
		}
	}
	if err != nil {
		return fmt.Errorf("keep what could not be committed of collection %s: %w", l.Collection, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// leftHead is the head of the file of a leftover.
type leftHead struct {
	Collection collfs.UUID        `json:"collection"`
	Name       string             `json:"name"`
	Changes    int                `json:"changes"`
	Open       []keepio.OpenBlock `json:"open"`
}

// encodeLeftover makes the file of a leftover: a magic, the head as one line of JSON,
// the data, and the CRC-32C of all that.
func encodeLeftover(l collfs.Leftover) ([]byte, error) {
	head, err := json.Marshal(leftHead{l.Collection, l.Name, l.Changes, l.Open})
	if err != nil {
		return nil, err
	}
	if len(l.Data) > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes are too much", len(l.Data))
	}
	buf := append([]byte(leftMagic), head...)
	buf = append(append(buf, '\n'), l.Data...)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli)), nil
}

func readLeftover(path string) (collfs.Leftover, error) {
	info, err := os.Stat(path)
	if err != nil {
		return collfs.Leftover{}, err
	}
	if info.Size() > maxLeft {
		return collfs.Leftover{}, fmt.Errorf("%s: %d bytes are too much", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return collfs.Leftover{}, err
	}
	l, err := decodeLeftover(data)
	if err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func decodeLeftover(data []byte) (l collfs.Leftover, err error) {
	end := len(data) - 4
	if end < len(leftMagic) || string(data[:len(leftMagic)]) != leftMagic {
		return l, errors.New("this is no leftover of a collection")
	}
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return l, errors.New("the checksum is wrong")
	}
	line, rest, ok := bytes.Cut(data[len(leftMagic):end], []byte("\n"))
	if !ok {
		return l, errors.New("the head is cut")
	}
	var head leftHead
	if err := json.Unmarshal(line, &head); err != nil {
		return l, err
	}
	return collfs.Leftover{Collection: head.Collection, Name: head.Name, Changes: head.Changes, Open: head.Open, Data: rest}, nil
}
