package fusefs

import (
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A tmp is a private collection of the layout.
type tmp struct {
	*collfs.Tmp
	root collfs.Ref
	text *text // its hidden file
}

// tmps are the private collections, by their names in the layout. They are made
// before the mount and stay until its end.
type tmps map[string]*tmp

// isTmp reports whether c is private to this mount.
func (m *Mounted) isTmp(c *collfs.Collection) bool { return m.tmpOf(c) != nil }

func (m *Mounted) tmpOf(c *collfs.Collection) *tmp {
	for _, t := range m.tmps {
		if t.Collection() == c {
			return t
		}
	}
	return nil
}

// makeTmp makes the private collection called name.
func (m *Mounted) makeTmp(name string) error {
	made, err := m.files.NewTmp(m.work)
	if err != nil {
		return err
	}
	t := &tmp{Tmp: made, root: m.view.Root(made.Collection())}
	t.text = &text{name: hiddenRoot + "tmp/" + name, at: time.Now(), make: func() ([]byte, error) {
		return davfs.TmpMeta(m.work, made, m.opt.StorageClasses)
	}}
	m.tmps[name] = t
	return nil
}

// closeTmps ends the private collections.
func (m *Mounted) closeTmps() {
	for _, t := range m.tmps {
		t.root.Forget(1)
		t.Close()
	}
}
