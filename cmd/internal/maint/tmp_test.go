package maint

import "testing"

// Nobody but this process refers to what is in a collection without a record.
func TestWhatATmpCollectionHoldsIsNoGarbage(t *testing.T) {
	ctx := t.Context()
	k := newKeeper(t, func(*Keeper) {})
	tmp, err := k.Files.NewTmp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.Close()
	put(t, tmp.Collection(), "f", "content")
	if _, err := tmp.Collection().Manifest(ctx); err != nil {
		t.Fatal(err)
	}
	collect := func() (trashed int) {
		t.Helper()
		for range 3 { // the passes that it takes without any grace
			r, err := k.Collect(ctx, CollectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			trashed += int(r.Trashed)
		}
		return trashed
	}
	if n := collect(); n != 0 {
		t.Errorf("%d blocks in use were taken away", n)
	}
	r, err := tmp.Collection().OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, r.Info().Size)
	if _, err := r.ReadAt(ctx, got, 0); err != nil || string(got) != "content" {
		t.Errorf("the file is %q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	tmp.Close()
	if n := collect(); n != 1 {
		t.Errorf("%d blocks were taken away after Close; want 1", n)
	}
}
