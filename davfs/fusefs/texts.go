package fusefs

import (
	"encoding/json"
	"path"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// A text is a file that is generated when it is opened.
type text struct {
	name string // canonical
	at   time.Time
	make func() ([]byte, error)
}

// The hidden names. None is listed.
const (
	metaCollection = ".arvados#collection"
	hiddenDir      = ".keep" // in the mount point
	statsFile      = "stats"
)

// metaFile returns the hidden file called name of the directory dir of a
// collection; nil if it has none.
func (m *Mounted) metaFile(dir *inode, name string) *text {
	if name != metaCollection || !dir.isRef() {
		return nil
	}
	if at, ok := dir.ref.Path(); !ok || at != "" {
		return nil
	}
	c := dir.ref.Collection()
	if t := m.tmpOf(c); t != nil {
		return t.text
	}
	name, err := m.collectionName(c)
	if err != nil {
		return nil
	}
	return m.metaText(path.Join(name, metaCollection), time.Now())
}

// collectionName is a name of the site for a collection, or a version of one.
func (m *Mounted) collectionName(c *collfs.Collection) (string, error) {
	if !c.ReadOnly() {
		return "/by_id/" + string(c.UUID()), nil
	}
	pdh, err := c.PDH(m.work)
	return "/by_id/" + string(pdh), err
}

// metaText is the hidden file with that name in the site.
func (m *Mounted) metaText(name string, at time.Time) *text {
	return &text{name: name, at: at, make: func() ([]byte, error) {
		data, _, err := m.site.Meta(m.work, name)
		return data, err
	}}
}

// hiddenFile returns a file of the hidden directory.
func (m *Mounted) hiddenFile(name string) *text {
	if name != statsFile {
		return nil
	}
	return &text{name: hiddenRoot + name, at: time.Now(), make: func() ([]byte, error) {
		data, err := json.MarshalIndent(m.Stats(), "", "  ")
		return append(data, '\n'), err
	}}
}

func (m *Mounted) answerText(t *text, out *fuse.EntryOut) {
	in := m.table.takeNamed(t.name, func() *inode { return &inode{text: t} })
	out.NodeId, out.Generation = in.id, 1
	m.textAttr(in, &out.Attr)
	out.SetEntryTimeout(folderTime)
	out.SetAttrTimeout(folderTime)
}

// textAttr does not know the size: the text is made when it is opened.
func (m *Mounted) textAttr(in *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = in.ino, syscall.S_IFREG|0o444, 1, blockSize
	out.Uid, out.Gid = m.opt.UID, m.opt.GID
	out.SetTimes(&in.text.at, &in.text.at, &in.text.at)
}

func (m *Mounted) openText(in *inode, req *fuse.OpenIn, out *fuse.OpenOut) error {
	if req.Flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 {
		return syscall.EACCES
	}
	data, err := in.text.make()
	if err != nil {
		return err
	}
	if data == nil {
		data = []byte{}
	}
	out.Fh = m.open.add(&handle{in: in, text: data})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO // whatever size the kernel has seen
	return nil
}
