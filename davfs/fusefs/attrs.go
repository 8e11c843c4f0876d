package fusefs

import (
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// SetAttr implements fuse.RawFileSystem.
func (r *raw) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer r.m.stats.begin(opSetattr).end()
	i := r.m.table.get(in.NodeId)
	if i == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if !i.isRef() {
		return status(r.m.setFolderAttr(i, in, out))
	}
	if err := r.m.writable(i); err != nil {
		return status(err)
	}
	return status(r.m.setattr(i, in, out))
}

func (m *Mounted) setattr(in *inode, req *fuse.SetAttrIn, out *fuse.AttrOut) error {
	if req.Valid&fuse.FATTR_SIZE != 0 {
		if err := m.truncate(in, req); err != nil {
			return err
		}
		in.lost.cut(int64(req.Size))
	}
	const attrs = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_ATIME | fuse.FATTR_MTIME |
		fuse.FATTR_CTIME | fuse.FATTR_KILL_SUIDGID
	if req.Valid&attrs != 0 {
		if _, err := in.ref.SetAttr(func(i collfs.NodeInfo) (collfs.Attr, error) { return m.changedAttr(i, req) }); err != nil {
			return lookAgain(err)
		}
	}
	info, linked := in.ref.Info()
	m.attr(in, info, linked, &out.Attr)
	out.SetTimeout(in.attrTime())
	if h := m.open.get(req.Fh); req.Valid&fuse.FATTR_FH == 0 || h == nil || !h.wr {
		m.changed(in)
	}
	return nil
}

// truncate gives a file another size.
func (m *Mounted) truncate(in *inode, req *fuse.SetAttrIn) error {
	if req.Size > collfs.MaxFile {
		return syscall.EFBIG
	}
	if req.Valid&fuse.FATTR_FH != 0 {
		if h := m.open.get(req.Fh); h != nil && h.file != nil && h.wr {
			return h.file.Truncate(int64(req.Size))
		}
	}
	h, err := in.ref.Open(syscall.O_RDWR)
	if err != nil {
		return lookAgain(err)
	}
	defer h.Drop()
	return h.Truncate(int64(req.Size))
}

// changedAttr returns what attributes are after a request.
func (m *Mounted) changedAttr(i collfs.NodeInfo, req *fuse.SetAttrIn) (collfs.Attr, error) {
	a := i.Attr
	now := time.Now().UnixNano()
	if req.Valid&fuse.FATTR_MODE != 0 {
		a.Mode = keptMode(req.Mode)
	}
	if req.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		a.Mode = keptMode(withoutPrivileges(modeOf(i)))
	}
	if req.Valid&fuse.FATTR_MTIME != 0 {
		a.Mtime = nanos(req.Mtime, req.Mtimensec, req.Valid&fuse.FATTR_MTIME_NOW != 0, now)
	}
	return m.changedPosix(a, i, req, now)
}

// withoutPrivileges is mode without set-user-id, and without set-group-id where
// that is not a mark for locks.
func withoutPrivileges(mode uint32) uint32 {
	mode &^= syscall.S_ISUID
	if mode&0o010 != 0 {
		mode &^= syscall.S_ISGID
	}
	return mode
}

func nanos(sec uint64, nsec uint32, isNow bool, now int64) int64 {
	if isNow {
		return now
	}
	const last = math.MaxInt64/int64(time.Second) - 1 // in the year 2262
	s := min(max(int64(sec), -last), last)
	ns := s*int64(time.Second) + int64(nsec)
	if ns == 0 {
		ns = 1 // 0 means that there is none
	}
	return ns
}

// killPrivileges takes the set-user-id and set-group-id bits off a file that
// somebody else has written to.
func (m *Mounted) killPrivileges(ref collfs.Ref) error {
	info, _ := ref.Info()
	if mode := modeOf(info); withoutPrivileges(mode) == mode {
		return nil
	}
	_, err := ref.SetAttr(func(i collfs.NodeInfo) (collfs.Attr, error) {
		i.Attr.Mode = keptMode(withoutPrivileges(modeOf(i)))
		return i.Attr, nil
	})
	return err
}

// Extended attributes of users; those of the system are not kept.
const (
	userXattr    = "user."
	maxXattr     = 64 << 10 // what the kernel allows for one
	maxAllXattrs = 1 << 20
)

const (
	xattrCreate  = 1
	xattrReplace = 2
)

// GetXAttr implements fuse.RawFileSystem.
func (r *raw) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	defer r.m.stats.begin(opGetxattr).end()
	in := r.m.table.get(h.NodeId)
	switch {
	case in == nil:
		return 0, fuse.Status(syscall.ESTALE)
	case name == userXattr:
		return 0, fuse.EINVAL
	case !strings.HasPrefix(name, userXattr):
		return 0, fuse.ENOATTR
	}
	value, ok, err := r.m.shownXattr(in, name)
	if err != nil {
		return 0, status(err)
	}
	if !ok && in.isRef() {
		info, _ := in.ref.Info()
		value, ok = info.Attr.Extra[collfs.ExtraXattr+name]
	}
	if !ok {
		return 0, fuse.ENOATTR
	}
	return fill(dest, value)
}

func fill(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// keepXattr begins the names of what a file system of collections knows itself.
const keepXattr = "user.keep."

// shownXattr returns what the file system itself says of in.
func (m *Mounted) shownXattr(in *inode, name string) (value string, ok bool, err error) {
	if !strings.HasPrefix(name, keepXattr) || !in.isRef() {
		return "", false, nil
	}
	c := in.ref.Collection()
	switch strings.TrimPrefix(name, keepXattr) {
	case "uuid":
		return string(c.UUID()), !m.isTmp(c), nil
	case "pdh":
		pdh, err := c.PDH(m.work)
		return string(pdh), err == nil, err
	case "name":
		rec, err := c.Record(m.work)
		return rec.Name, err == nil, err
	case "path":
		at, ok := in.ref.Path()
		return at, ok, nil
	}
	return "", false, nil
}

// ListXAttr implements fuse.RawFileSystem. What the file system itself says is not
// listed: programs that copy attributes would try to set it.
func (r *raw) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	defer r.m.stats.begin(opListxattr).end()
	in := r.m.table.get(h.NodeId)
	if in == nil {
		return 0, fuse.Status(syscall.ESTALE)
	}
	if !in.isRef() {
		return 0, fuse.OK
	}
	info, _ := in.ref.Info()
	var names strings.Builder
	for key := range info.Attr.Extra {
		if name, ok := strings.CutPrefix(key, collfs.ExtraXattr); ok {
			names.WriteString(name)
			names.WriteByte(0)
		}
	}
	return fill(dest, names.String())
}

// SetXAttr implements fuse.RawFileSystem.
func (r *raw) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	defer r.m.stats.begin(opSetxattr).end()
	return status(r.m.changeXattr(in.NodeId, name, func(extra map[string]string) error {
		key := collfs.ExtraXattr + name
		_, has := extra[key]
		switch {
		case in.Flags&xattrCreate != 0 && has:
			return syscall.EEXIST
		case in.Flags&xattrReplace != 0 && !has:
			return syscall.ENODATA
		case len(data) > maxXattr:
			return syscall.E2BIG
		}
		extra[key] = string(data)
		total := 0
		for k, v := range extra {
			total += len(k) + len(v)
		}
		if total > maxAllXattrs {
			return syscall.ENOSPC
		}
		return nil
	}))
}

// RemoveXAttr implements fuse.RawFileSystem.
func (r *raw) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	defer r.m.stats.begin(opRemovexattr).end()
	return status(r.m.changeXattr(h.NodeId, name, func(extra map[string]string) error {
		key := collfs.ExtraXattr + name
		if _, has := extra[key]; !has {
			return syscall.ENODATA
		}
		delete(extra, key)
		return nil
	}))
}

// changeXattr has change make the attributes of an inode what they are to be.
func (m *Mounted) changeXattr(id uint64, name string, change func(extra map[string]string) error) error {
	in := m.table.get(id)
	switch {
	case in == nil:
		return syscall.ESTALE
	case !in.isRef() || !strings.HasPrefix(name, userXattr):
		return syscall.EOPNOTSUPP
	case name == userXattr:
		return syscall.EINVAL
	case strings.HasPrefix(name, keepXattr):
		return syscall.EPERM
	}
	if err := m.writable(in); err != nil {
		return err
	}
	_, err := in.ref.SetAttr(func(i collfs.NodeInfo) (collfs.Attr, error) {
		extra := make(map[string]string, len(i.Attr.Extra)+1)
		for k, v := range i.Attr.Extra {
			extra[k] = v
		}
		if err := change(extra); err != nil {
			return collfs.Attr{}, err
		}
		i.Attr.Extra = extra
		return i.Attr, nil
	})
	if err != nil {
		return lookAgain(err)
	}
	m.changed(in)
	return nil
}
