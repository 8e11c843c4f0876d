package collfs

import "errors"

// Load makes the tree that a catalog saved.
func Load(s Saved, blocks Blocks) (*Tree, error) {
	t, err := NewTree(), error(nil)
	switch {
	case s.Manifest != nil:
		t, err = ParseManifest(s.Manifest, blocks)
	case s.Checkpoint != nil:
		t, err = DecodeTree(s.Checkpoint, blocks)
	}
	if err != nil {
		return nil, err
	}
	for _, data := range s.Changes {
		ops, err := DecodeOps(data, blocks)
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			if err := t.Apply(op); err != nil {
				return nil, errors.Join(ErrBadEncoding, err)
			}
		}
	}
	return t, nil
}
