package keepio

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memFiles is a file system in memory that knows what a loss of power leaves:
// what was synced, under the names that were synced. It can be full, and fail.
type memFiles struct {
	mu      sync.Mutex // guards the fields below
	names   map[string]*memNode
	durable map[string]*memNode // as of the last SyncDir
	room    int64               // bytes that can still be written; negative: any
	fault   func(op, path string) error
	syncs   map[string]int // Datasyncs by path
	slow    time.Duration  // how long a Datasync takes
	lazy    time.Duration  // how long a write takes to begin
}

type memNode struct {
	data    []byte
	durable []byte
	links   uint64
	bad     bool // a sync failed: what a later one says is a lie
}

func newMemFiles() *memFiles {
	return &memFiles{names: map[string]*memNode{}, durable: map[string]*memNode{}, room: -1, syncs: map[string]int{}}
}

// memFile is an open file.
type memFile struct {
	fs     *memFiles
	path   string
	node   *memNode
	closed bool
}

func (m *memFiles) failLocked(op, path string) error {
	if m.fault != nil {
		return m.fault(op, path)
	}
	return nil
}

// setFault makes operations fail as fault says.
func (m *memFiles) setFault(fault func(op, path string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// setRoom limits what can be written from now on.
func (m *memFiles) setRoom(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room = n
}

// cutPower returns what a loss of power leaves.
func (m *memFiles) cutPower() *memFiles {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFiles()
	for name, node := range m.durable {
		after.names[name] = &memNode{data: slices.Clone(node.durable), durable: slices.Clone(node.durable), links: node.links}
	}
	after.durable = maps.Clone(after.names)
	return after
}

func (m *memFiles) Create(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failLocked("create", path); err != nil {
		return nil, full(err)
	}
	if m.room == 0 {
		return nil, full(syscall.ENOSPC)
	}
	if m.names[path] != nil {
		return nil, fs.ErrExist
	}
	node := &memNode{links: 1}
	m.names[path] = node
	return &memFile{fs: m, path: path, node: node}, nil
}

func (m *memFiles) Open(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[path]
	if node == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{fs: m, path: path, node: node}, nil
}

func (m *memFiles) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil {
		return fs.ErrNotExist
	}
	delete(m.names, path)
	return nil
}

func (m *memFiles) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failLocked("rename", from); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFiles) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failLocked("syncdir", dir); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	return nil
}

func (m *memFiles) ReadDir(string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []fs.DirEntry
	for name := range m.names {
		entries = append(entries, memEntry(filepath.Base(name)))
	}
	return entries, nil
}

func (m *memFiles) Free(string) (free, total int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.room < 0 {
		return 1 << 40, 1 << 40, nil
	}
	return m.room, 1 << 40, nil
}

type memEntry string

func (e memEntry) Name() string               { return string(e) }
func (e memEntry) IsDir() bool                { return false }
func (e memEntry) Type() fs.FileMode          { return 0 }
func (e memEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrNotExist }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if err := f.fs.failLocked("read", f.path); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	lazy := f.fs.lazy
	f.fs.mu.Unlock()
	time.Sleep(lazy)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if err := f.fs.failLocked("write", f.path); err != nil {
		return 0, full(err)
	}
	n := int64(len(p))
	grow := max(off+n-int64(len(f.node.data)), 0)
	if f.fs.room >= 0 && grow > f.fs.room {
		n -= grow - f.fs.room
		grow = f.fs.room
	}
	if n <= 0 {
		return 0, full(syscall.ENOSPC)
	}
	if f.fs.room >= 0 {
		f.fs.room -= grow
	}
	if need := off + n - int64(len(f.node.data)); need > 0 {
		f.node.data = append(f.node.data, make([]byte, need)...)
	}
	copy(f.node.data[off:], p[:n])
	if n < int64(len(p)) {
		return int(n), full(syscall.ENOSPC)
	}
	return int(n), nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.failLocked("truncate", f.path); err != nil {
		return err
	}
	if size <= int64(len(f.node.data)) {
		f.node.data = f.node.data[:size:size]
	} else {
		f.node.data = append(f.node.data, make([]byte, size-int64(len(f.node.data)))...)
	}
	return nil
}

// Datasync behaves as Linux does: after a failure the next call succeeds, and
// has written nothing.
func (f *memFile) Datasync() error {
	f.fs.mu.Lock()
	slow := f.fs.slow
	f.fs.mu.Unlock()
	time.Sleep(slow)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.syncs[f.path]++
	if err := f.fs.failLocked("sync", f.path); err != nil {
		f.node.bad = true
		return full(err)
	}
	if !f.node.bad {
		f.node.durable = slices.Clone(f.node.data)
	}
	return nil
}

func (f *memFile) Size() (int64, uint64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), f.node.links, nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.closed = true
	return nil
}

func (f *memFile) Writeback(int64, int64) {}

func (f *memFile) Send(w io.Writer, off, n int64) (int64, error) {
	p := make([]byte, n)
	if _, err := f.ReadAt(p, off); err != nil {
		return 0, err
	}
	wrote, err := w.Write(p)
	return int64(wrote), err
}

// A linkStore is a store on memFiles: Adopt shares the file's node, as a link
// does. It checks what it is told.
type linkStore struct {
	files *memFiles

	mu     sync.Mutex // guards the fields below
	blocks map[storedName]*memNode
	fault  error
}

func newLinkStore(files *memFiles) *linkStore {
	return &linkStore{files: files, blocks: map[storedName]*memNode{}}
}

func (s *linkStore) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

func (s *linkStore) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks)
}

func (s *linkStore) Adopt(_ context.Context, path string, hash [16]byte, size uint32, sums []uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	node := s.files.names[path]
	if node == nil {
		return fs.ErrNotExist
	}
	if !slices.Equal(node.data, node.durable) {
		return errors.New("adopted a file that was not synced")
	}
	if md5.Sum(node.data) != hash || len(node.data) != int(size) {
		return fmt.Errorf("adopted %d bytes as %x+%d: %w", len(node.data), hash, size, ErrCorrupt)
	}
	for i := 0; i*ChunkSize < len(node.data); i++ {
		if Sum(node.data[i*ChunkSize:min((i+1)*ChunkSize, len(node.data))]) != sums[i] {
			return fmt.Errorf("adopted with a wrong sum of chunk %d", i)
		}
	}
	if s.blocks[storedName{hash, size}] == nil {
		s.blocks[storedName{hash, size}] = node
		node.links++
	}
	return nil
}

func (s *linkStore) ReadBlock(_ context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.blocks[storedName{hash, size}]
	if node == nil {
		return 0, ErrNotFound
	}
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if md5.Sum(node.data) != hash {
		return 0, ErrCorrupt
	}
	return copy(p, node.data[off:]), nil
}

func (s *linkStore) WriteBlock(context.Context, []byte) (hash [16]byte, err error) {
	return hash, errors.ErrUnsupported
}

func (s *linkStore) WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error) {
	p := make([]byte, n)
	if _, err := s.ReadBlock(ctx, hash, size, p, off); err != nil {
		return 0, err
	}
	wrote, err := w.Write(p)
	return int64(wrote), err
}

// memSpool is a spool on memFiles that counts ids and remembers what was stored.
type memSpool struct {
	*Spool
	files *memFiles
	store *linkStore

	mu     sync.Mutex // guards the fields below
	last   BlockID
	stored map[BlockID]Stored
}

// openMemSpool opens a spool on files, which continues the ids of before.
func openMemSpool(t testing.TB, files *memFiles, before *memSpool, change func(*SpoolConfig)) *memSpool {
	t.Helper()
	m := &memSpool{files: files, store: newLinkStore(files), stored: map[BlockID]Stored{}}
	if before != nil {
		before.mu.Lock()
		m.last, m.stored = before.last, maps.Clone(before.stored)
		before.mu.Unlock()
		before.store.mu.Lock()
		for name, node := range before.store.blocks { // what was adopted is durable
			m.store.blocks[name] = &memNode{data: slices.Clone(node.data), durable: slices.Clone(node.data), links: 1}
		}
		before.store.mu.Unlock()
	}
	cfg := SpoolConfig{
		Dir: t.TempDir(), Store: m.store, files: files,
		Patience: 50 * time.Millisecond, KeepFree: -1,
		NextID: func() (BlockID, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.last++
			return m.last, nil
		},
		OnStored: func(_ context.Context, blocks []Stored) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, b := range blocks {
				m.stored[b.ID] = b
			}
			return nil
		},
	}
	if before != nil {
		cfg.Dir = before.cfg.Dir
	}
	if change != nil {
		change(&cfg)
	}
	s, err := OpenSpool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Spool = s
	m.mu.Lock()
	for _, b := range m.stored {
		s.Known(b.ID, b.Hash, b.Size)
	}
	m.mu.Unlock()
	return m
}
