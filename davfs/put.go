package davfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
)

// Put implements FileSystem.
func (f *FS) Put(ctx context.Context, name string, o PutOptions) (Upload, error) {
	p, err := f.resolveNew(ctx, name)
	var up Upload
	if err == nil {
		up, err = f.put(ctx, p, o)
	}
	if err != nil {
		return nil, pathError("put", name, err)
	}
	return up, nil
}

func (f *FS) put(ctx context.Context, p place, o PutOptions) (Upload, error) {
	p, err := f.placeForFile(ctx, p, o.Size)
	if err != nil {
		return nil, err
	}
	if p.kind == atNothing {
		return newSideUpload(ctx, f, p, p.project, p.base, o), nil
	}
	s, err := f.visit(ctx, p)
	if err != nil {
		return nil, err
	}
	err = s.mayPut()
	if err == nil && !s.ok && f.toSide(s.path, o.Size) {
		defer s.close()
		key, inside := s.key(s.path)
		return newSideUpload(ctx, f, p, key, inside, o), nil
	}
	if err == nil {
		var stage *collfs.Stage
		if stage, err = s.c.NewStage(o.Size); err == nil {
			return &upload{fs: f, ctx: ctx, spot: s, o: o, stage: stage}, nil
		}
	}
	s.close()
	return nil, err
}

// placeForFile returns where the file is to be made that has the name of p: one
// in a project's folder is made in the collection of its loose files. A place
// that stays atNothing is for a side file of that project.
func (f *FS) placeForFile(ctx context.Context, p place, size int64) (place, error) {
	if p.kind == atCollection && p.path != "" {
		return p, nil
	}
	if p.kind != atNothing {
		return p, collfs.ErrIsDir
	}
	if err := p.mayMake(); err != nil {
		return p, err
	}
	if f.toSide(p.base, size) {
		return p, nil
	}
	loose, err := f.makeLoose(ctx, p.project)
	if err != nil {
		return p, err
	}
	p.kind, p.uuid, p.path, p.loose, p.direct = atCollection, loose, p.base, true, true
	return p, nil
}

// mayPut says why a file may not be made at s or replaced.
func (s *spot) mayPut() error {
	if err := s.parent(); err != nil {
		return err
	}
	if s.ok && s.node.Dir {
		return collfs.ErrIsDir
	}
	if !s.mayWrite() {
		return collfs.ErrReadOnly
	}
	return s.mayName()
}

// mayName says why the last name of s.path may not be made.
func (s *spot) mayName() error {
	_, base := splitPath(s.path)
	if s.path == metaCollection || s.direct && s.path == metaProject {
		return collfs.ErrNameInvalid
	}
	return collfs.CheckName(base)
}

// upload is a file in the making in a collection.
type upload struct {
	fs    *FS
	ctx   context.Context // of the request that it lives in
	spot  spot
	o     PutOptions
	stage *collfs.Stage // nil when it has ended
	err   error         // why it must not be linked
}

var errTooLong = fmt.Errorf("%w: it is longer", collfs.ErrShortBody)

func (u *upload) Write(p []byte) (int, error) {
	if u.stage == nil {
		return 0, fs.ErrClosed
	}
	if u.err == nil && u.o.Size >= 0 && u.stage.Size()+int64(len(p)) > u.o.Size {
		u.err = errTooLong
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.stage.Write(u.ctx, p)
	if err != nil {
		u.err = err
	}
	return n, err
}

// ReadFrom reads r to its end. Only io.EOF is its end: a body that was cut gives
// another error, after which the upload can only be aborted.
func (u *upload) ReadFrom(r io.Reader) (int64, error) {
	n, err := copyAll(u, r)
	if err != nil && u.err == nil {
		u.err = err
	}
	return n, err
}

// copyBuffers are large, because each Write of a stage costs a system call, and
// hold less than what counts as a small file.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copyAll writes what r has in large pieces. A last piece that comes with an
// error is not written.
func copyAll(w io.Writer, r io.Reader) (total int64, err error) {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	for err == nil {
		n := 0
		for n < len(buf) && err == nil {
			var k int
			k, err = r.Read(buf[n:])
			n += k
		}
		if n == 0 || err != nil && err != io.EOF {
			break
		}
		k, werr := w.Write(buf[:n])
		total += int64(k)
		if werr != nil {
			return total, werr
		}
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// Commit implements Upload.
func (u *upload) Commit(ctx context.Context) (Info, bool, error) {
	if u.stage == nil {
		return Info{}, false, pathError("put", u.spot.name, fs.ErrClosed)
	}
	defer u.Abort()
	info, created, err := u.commit(ctx)
	return info, created, pathError("put", u.spot.name, err)
}

func (u *upload) commit(ctx context.Context) (Info, bool, error) {
	s := &u.spot
	if u.err != nil {
		return Info{}, false, u.err
	}
	if u.o.Size >= 0 && u.stage.Size() != u.o.Size {
		return Info{}, false, fmt.Errorf("%w: %d of %d bytes", collfs.ErrShortBody, u.stage.Size(), u.o.Size)
	}
	if err := ctx.Err(); err != nil {
		return Info{}, false, err
	}
	if err := u.fs.stillWrites(ctx, s.uuid); err != nil {
		return Info{}, false, err
	}
	node, created, err := s.c.Link(u.stage, s.path, collfs.LinkOptions{Attr: u.o.attr, Check: s.check(u.o.Check)})
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the directory meanwhile
		dir, _ := splitPath(s.path)
		err = &atName{s.siteName(dir), ErrNoParent}
	}
	if err != nil {
		return Info{}, false, err
	}
	s.node, s.ok = node, true
	if err := s.c.Commit(ctx, true); err != nil {
		return Info{}, false, err
	}
	return s.info(), created, nil
}

// stillWrites makes sure that the user may write to a collection or project now:
// since the body began to come in, hours may have passed, and a share may be
// taken back.
func (f *FS) stillWrites(ctx context.Context, id collfs.UUID) error {
	level, err := f.Level(ctx, id)
	if err == nil && level < collfs.CanWrite {
		err = collfs.ErrReadOnly
	}
	return err
}

// attr makes the attributes of a new content from those of the old: what says
// something of the old content goes.
func (o *PutOptions) attr(old collfs.Attr, exists bool) collfs.Attr {
	a := old
	a.Mtime = 0 // now
	if !o.ModTime.IsZero() {
		a = AttrChange{ModTime: &o.ModTime}.apply(a)
	}
	change := o.Extra
	for key := range old.Extra {
		if strings.HasPrefix(key, collfs.ExtraSum) && o.Extra[key] == "" {
			if len(change) == len(o.Extra) {
				change = make(map[string]string, len(o.Extra)+1)
				maps.Copy(change, o.Extra)
			}
			change[key] = ""
		}
	}
	a.Extra = changeExtra(a.Extra, change)
	return a
}

// Abort implements Upload.
func (u *upload) Abort() {
	if u.stage != nil {
		u.stage.Abort()
		u.stage = nil
		u.spot.close()
	}
}

// toSide reports whether a new file of this name and size (-1: unknown) is for
// the side store. One that exists in a collection stays there.
func (f *FS) toSide(p string, size int64) bool {
	_, base := splitPath(p)
	return f.site.conf.Apple != AppleStore && size <= maxSideFile && isAppleLitter(base)
}

// sideUpload is a side file in the making. One that grows too large goes on as
// an upload into the collection, and so does one for which there is no room in
// memory: to wait for room while having some could last for ever, and a client
// that is refused may give up the file that the side file belongs to.
type sideUpload struct {
	fs     *FS
	ctx    context.Context // of the request that it lives in
	place  place
	key    collfs.UUID
	path   string
	o      PutOptions
	data   []byte
	room   int // what sideRoom counts for data
	err    error
	large  *upload // what it has become
	closed bool
}

func newSideUpload(ctx context.Context, f *FS, p place, key collfs.UUID, inside string, o PutOptions) *sideUpload {
	return &sideUpload{fs: f, ctx: ctx, place: p, key: key, path: inside, o: o}
}

func (u *sideUpload) Write(p []byte) (int, error) {
	switch {
	case u.closed:
		return 0, fs.ErrClosed
	case u.large != nil:
		return u.large.Write(p)
	case u.err == nil && u.o.Size >= 0 && int64(len(u.data)+len(p)) > u.o.Size:
		u.err = errTooLong
	case u.err == nil && !u.makeRoom(len(p)):
		u.err = u.grow()
		if u.err == nil {
			return u.large.Write(p)
		}
	}
	if u.err != nil {
		return 0, u.err
	}
	u.data = append(u.data, p...)
	return len(p), nil
}

// makeRoom makes data able to take n bytes more, if that may be.
func (u *sideUpload) makeRoom(n int) bool {
	need := len(u.data) + n
	switch size := min(max(need, 2*cap(u.data)), maxSideFile); {
	case need > maxSideFile:
		return false
	case need <= cap(u.data):
		return true
	case !u.fs.site.sideRoom.try(int64(size - u.room)):
		return false
	default:
		u.room = size
		u.data = append(make([]byte, 0, size), u.data...)
		return true
	}
}

// letGo gives back the memory of data.
func (u *sideUpload) letGo() {
	u.fs.site.sideRoom.give(int64(u.room))
	u.data, u.room = nil, 0
}

// grow makes the upload one into the collection.
func (u *sideUpload) grow() error {
	large, err := u.fs.put(u.ctx, u.place, PutOptions{Size: maxSideFile + 1, ModTime: u.o.ModTime, Extra: u.o.Extra, Check: u.o.Check})
	if err != nil {
		return err
	}
	if _, err := large.Write(u.data); err != nil {
		large.Abort()
		return err
	}
	u.large = large.(*upload)
	u.large.o.Size = u.o.Size
	u.letGo()
	return nil
}

func (u *sideUpload) ReadFrom(r io.Reader) (int64, error) {
	n, err := copyAll(u, r)
	if err != nil && u.err == nil {
		u.err = err
	}
	return n, err
}

func (u *sideUpload) Commit(ctx context.Context) (Info, bool, error) {
	if u.closed {
		return Info{}, false, pathError("put", u.place.name, fs.ErrClosed)
	}
	defer u.Abort()
	i, created, err := u.commit(ctx)
	return i, created, pathError("put", u.place.name, err)
}

// commitLarge links a file in the collection. It takes the place of a side file
// of its name, which it would hide.
func (u *sideUpload) commitLarge(ctx context.Context) (Info, bool, error) {
	_, replaces, err := u.fs.checkSide(ctx, u.key, u.path, nil)
	if err != nil {
		return Info{}, false, err
	}
	if replaces = replaces && !u.large.spot.ok; replaces {
		if _, _, err := u.fs.checkSide(ctx, u.key, u.path, u.large.o.Check); err != nil {
			return Info{}, false, err
		}
		u.large.o.Check = nil
	}
	i, created, err := u.large.commit(ctx)
	if err != nil || !replaces {
		return i, created, err
	}
	return i, false, u.fs.site.conf.Side.RemoveSide(ctx, u.key, u.path)
}

func (u *sideUpload) commit(ctx context.Context) (Info, bool, error) {
	if u.err != nil {
		return Info{}, false, u.err
	}
	if u.large != nil {
		return u.commitLarge(ctx)
	}
	if u.o.Size >= 0 && int64(len(u.data)) != u.o.Size {
		return Info{}, false, fmt.Errorf("%w: %d of %d bytes", collfs.ErrShortBody, len(u.data), u.o.Size)
	}
	taken, err := u.fs.stillSide(ctx, u.place)
	if err != nil {
		return Info{}, false, err
	}
	if taken {
		if err := u.grow(); err != nil {
			return Info{}, false, err
		}
		return u.commitLarge(ctx)
	}
	u.fs.site.sideMu.Lock()
	defer u.fs.site.sideMu.Unlock()
	_, exists, err := u.fs.checkSide(ctx, u.key, u.path, u.o.Check)
	if err != nil {
		return Info{}, false, err
	}
	file := SideFile{Path: u.path, Size: int64(len(u.data)), ModTime: u.o.ModTime, Content: contentOf(u.data), Data: u.data}
	if file.ModTime.IsZero() {
		file.ModTime = time.Now()
	}
	if u.fs.site.conf.Apple == AppleDiscard {
		return sideInfo(u.key, file), !exists, nil
	}
	if err := u.fs.site.putSide(ctx, u.key, file); err != nil {
		return Info{}, false, err
	}
	return sideInfo(u.key, file), !exists, nil
}

// stillSide makes sure that a side file of p may be made now, as stillWrites does
// and as the upload began. taken says that a file in the collection has got the
// name meanwhile, and would hide it.
func (f *FS) stillSide(ctx context.Context, p place) (taken bool, err error) {
	if p.kind == atNothing {
		if err := f.stillWrites(ctx, p.project); err != nil {
			return false, err
		}
		return f.looseHas(ctx, p.project, p.base)
	}
	if err := f.stillWrites(ctx, p.uuid); err != nil {
		return false, err
	}
	s, err := f.visit(ctx, p)
	if err != nil {
		return false, err
	}
	defer s.close()
	return s.ok, s.parent()
}

func (u *sideUpload) Abort() {
	if u.large != nil {
		u.large.Abort()
	}
	u.letGo()
	u.closed = true
}
