package arvados

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"
	"unicode/utf8"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
	"keepdav/web/arvados/signing"
)

// signText returns a manifest with each locator signed for token, until a moment at
// most, unless that is zero.
func signText(s *signing.Signer, text []byte, token string, until time.Time) (string, error) {
	signed := make(map[keepio.Locator]keepio.Locator)
	out := make([]byte, 0, len(text)*2)
	err := manifest.Scan(text, func(st *manifest.Stream) error {
		for i, l := range st.Locators {
			w, ok := signed[l]
			if !ok {
				w = s.SignUntil(l, token, until)
				signed[l] = w
			}
			st.Locators[i] = w
		}
		out = st.AppendTo(out)
		return nil
	})
	return string(out), err
}

// A sent manifest is one that a client brings.
type sentManifest struct {
	tree   *collfs.Tree
	text   []byte // without permissions
	pdh    collfs.PDH
	blocks map[[16]byte]uint32 // all that it names, with their sizes
}

var malformedLine = regexp.MustCompile(`line (\d+): (.*)`)

// malformed makes the answer to a text that is no manifest.
func malformed(err error) error {
	if !errors.Is(err, manifest.ErrMalformed) {
		return err
	}
	if m := malformedLine.FindStringSubmatch(err.Error()); m != nil {
		return unprocessable("Manifest invalid for stream %s: %s", m[1], m[2])
	}
	return unprocessable("Manifest invalid: %v", err)
}

// readManifest checks a manifest that a client brings: its form, that the client
// may read the blocks that it names, and that they are there.
func (c *collections) readManifest(ctx context.Context, req *Request, text string) (*sentManifest, error) {
	if !utf8.ValidString(text) {
		return nil, unprocessable("Manifest invalid: it is not UTF-8")
	}
	m := &sentManifest{text: make([]byte, 0, len(text)), blocks: make(map[[16]byte]uint32)}
	var denied error
	checked := make(map[string]bool)
	err := manifest.Scan(text, func(st *manifest.Stream) error {
		for i, l := range st.Locators {
			if !checked[l.String()] {
				checked[l.String()] = true
				if err := c.mayRead(req, l); err != nil && denied == nil {
					denied = err // what is malformed is told first
				}
				m.blocks[l.Hash()] = uint32(l.Size())
			}
			st.Locators[i] = l.Unsigned()
		}
		m.text = st.AppendTo(m.text)
		return nil
	})
	if err != nil {
		return nil, malformed(err)
	}
	if denied != nil {
		return nil, denied
	}
	if m.tree, err = collfs.ParseManifest(m.text, c.conf.Blocks); err != nil {
		return nil, malformed(err)
	}
	for hash, size := range m.blocks {
		if err := c.hasBlock(ctx, hash, size); err != nil {
			return nil, err
		}
	}
	m.pdh = collfs.PDH(manifest.PDH(m.text))
	return m, nil
}

// mayRead checks that a client may read the block that it names.
func (c *collections) mayRead(req *Request, l keepio.Locator) error {
	if l.Size() > keepio.BlockSize {
		return unprocessable("Manifest invalid: block %s is too large", l.Bare())
	}
	if req.User.Admin || l.Size() == 0 {
		return nil
	}
	if err := c.conf.Signer.Verify(l, req.Token); err != nil {
		return &Error{Status: http.StatusForbidden, Text: fmt.Sprintf("Forbidden: %v", err)}
	}
	return nil
}

// hasBlock checks that a block is stored here.
func (c *collections) hasBlock(ctx context.Context, hash [16]byte, size uint32) error {
	if size == 0 {
		return nil
	}
	_, err := c.conf.Blocks.ReadBlock(ctx, c.conf.Blocks.ByHash(hash, size), nil, 0)
	if errors.Is(err, keepio.ErrNotFound) || errors.Is(err, keepio.ErrCorrupt) {
		return unprocessable("block %s is not stored here", keepio.MakeLocator(hash, int64(size)).Bare())
	}
	return err
}

// keepsText reports whether the text may stand for the tree that was made of it:
// all blocks that it names are those of the tree, so none of them will go.
func (m *sentManifest) keepsText() bool {
	used := make(map[[16]byte]bool)
	m.tree.Blocks(func(s keepio.Segment) {
		if s.Block != nil {
			if hash, _, ok := s.Block.Stored(); ok {
				used[hash] = true
			}
		}
	})
	for hash, size := range m.blocks {
		if size > 0 && !used[hash] {
			return false
		}
	}
	return true
}
