package collfs

import (
	"fmt"
	"io/fs"
	"testing"
)

func TestEveryKindHasAnErrorAndIsFoundWrapped(t *testing.T) {
	seen := map[Kind]bool{Internal: true}
	for _, k := range kinds {
		seen[k.kind] = true
		wrapped := &fs.PathError{Op: "x", Path: "y", Err: fmt.Errorf("more: %w", k.is)}
		if got := KindOf(wrapped); got != k.kind {
			t.Errorf("KindOf(%v) = %v; want %v", wrapped, got, k.kind)
		}
	}
	for _, k := range Kinds() {
		if !seen[k] {
			t.Errorf("no error has kind %d", k)
		}
	}
	if got := KindOf(fmt.Errorf("something")); got != Internal {
		t.Errorf("KindOf(an unknown error) = %v", got)
	}
}
