package keepio

import "testing"

// TestOnlyTheseStepsAreAllowed names every step a block file may take; all other
// pairs of states are refused.
func TestOnlyTheseStepsAreAllowed(t *testing.T) {
	allowed := map[[2]fileState]bool{
		{fileOpen, fileSealed}:    true, // full, asked for, or idle
		{fileOpen, fileDropped}:   true, // the only upload in it was aborted
		{fileSealed, fileStoring}: true,
		{fileSealed, fileDropped}: true,
		{fileStoring, fileStored}: true,
		{fileStoring, fileFailed}: true,
		{fileFailed, fileSealed}:  true, // retry
		{fileFailed, fileDropped}: true,
	}
	for from := range fileStates {
		for to := range fileStates {
			got := func() (ok bool) {
				defer func() { ok = recover() == nil }()
				s := from
				s.step(to)
				return true
			}()
			if got != allowed[[2]fileState{from, to}] {
				t.Errorf("step from %v to %v is allowed: %v", from, to, got)
			}
		}
	}
}
