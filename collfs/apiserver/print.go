package apiserver

import (
	"bytes"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A treePrinter prints a tree with signed locators.
type treePrinter struct {
	c       *Catalog
	locator locate
	zero    *keepio.Block
}

func (p *treePrinter) print(out *bytes.Buffer, t *collfs.Tree) error {
	text, err := t.AppendManifest(nil, func() (hash [16]byte, size uint32, err error) {
		if p.zero == nil {
			return hash, 0, collfs.ErrNotStored
		}
		hash, size, _ = p.zero.Stored()
		return hash, size, nil
	})
	if err != nil {
		return err
	}
	byHash := make(map[[16]byte]keepio.Locator)
	return manifest.Scan(text, func(s *manifest.Stream) error {
		for i, l := range s.Locators {
			signed, ok := byHash[l.Hash()]
			if !ok {
				if signed, err = p.locator(p.c.conf.Blocks.ByHash(l.Hash(), uint32(l.Size()))); err != nil {
					return err
				}
				byHash[l.Hash()] = signed
			}
			s.Locators[i] = signed
		}
		out.Write(s.AppendTo(nil))
		return nil
	})
}
