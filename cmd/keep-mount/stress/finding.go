package stress

import (
	"fmt"
	"strings"
)

// The kinds of defects.
const (
	staleRead  = "stale read"        // an earlier content, complete
	tornWrite  = "torn write"        // a part of a write
	lostWrite  = "lost write"        // zeros instead of it
	swapped    = "swapped content"   // another file's
	misplaced  = "misplaced content" // another place's
	damaged    = "damaged content"   // nobody's
	wrongSize  = "wrong size"
	lostName   = "lost name"     // something that must be there is not
	lostRename = "lost rename"   // a rename that was answered and not done
	neither    = "neither name"  // of a rename
	bothNames  = "both names"    // of a rename
	notOneWon  = "not one won"   // of several that can only do it once
	lostUpdate = "lost update"   // made under a lock, or appended
	leftOver   = "left over"     // something that must be gone is there
	wrongList  = "wrong listing" // of a directory
	wrongType  = "wrong type"
	wrongError = "wrong error"
	hang       = "hang"
	died       = "process died"
)

// A Finding is one defect.
type Finding struct {
	Kind      string `json:"kind"`
	Path      string `json:"path,omitempty"`
	Operation string `json:"operation,omitempty"`
	Process   string `json:"process,omitempty"` // who noticed it
	Round     int    `json:"round"`
	Step      string `json:"step,omitempty"`
	Expected  string `json:"expected,omitempty"`
	Got       string `json:"got,omitempty"`
}

func (f *Finding) Error() string {
	var b strings.Builder
	b.WriteString(f.Kind)
	if f.Operation != "" {
		fmt.Fprintf(&b, " in %s", f.Operation)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " of %s", f.Path)
	}
	fmt.Fprintf(&b, " (%s, round %d, step %s)", f.Process, f.Round, f.Step)
	if f.Expected != "" {
		fmt.Fprintf(&b, ": expected %s", f.Expected)
	}
	if f.Got != "" {
		fmt.Fprintf(&b, ", got %s", f.Got)
	}
	return b.String()
}
