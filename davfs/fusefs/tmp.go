package fusefs

import (
	"syscall"

	"keepdav/collfs"
)

func (m *Mounted) isTmp(*collfs.Collection) bool { return false }

func (m *Mounted) makeTmp(string) error { return syscall.EOPNOTSUPP }

func (m *Mounted) tmpRef(string) collfs.Ref { return collfs.Ref{} }

func (m *Mounted) tmpText(*collfs.Collection) *text { return nil }
