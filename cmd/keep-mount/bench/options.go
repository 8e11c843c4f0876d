package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrWrongBytes says that a read gave other bytes than were written.
var ErrWrongBytes = errors.New("the directory gives wrong bytes")

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Groups are the measurements that can be chosen.
var Groups = []string{"iozone", "dd", "small"}

// Options say what to measure. The zero value of a field that has a default means
// it. Sizes are bytes and are made multiples of 1 MiB.
type Options struct {
	Dir     string
	Groups  []string // default all of Groups
	Reps    int      // repetitions; default 3
	Single  int64    // the file of one client, default 512 MiB
	Several int64    // each file of four clients, default 128 MiB
	Stream  int64    // the file of dd, default 2 GiB
	Files   int      // small ones of 4 KiB, default 2000
	PID     int      // of the mount, to tell how much CPU it uses; 0: not told

	// dropCaches makes the kernel forget what it has read; of tests.
	dropCaches func() error
}

// Quick measures in a few seconds, which tells little.
func Quick(dir string) Options {
	return Options{Dir: dir, Reps: 2, Single: 32 * mib, Several: 8 * mib, Stream: 128 * mib, Files: 200}
}

func (o Options) complete() (Options, error) {
	if o.Groups == nil {
		o.Groups = Groups
	}
	for _, g := range o.Groups {
		if !slices.Contains(Groups, g) {
			return o, fmt.Errorf("unknown group %q: there are %s", g, strings.Join(Groups, ", "))
		}
	}
	if o.Reps == 0 {
		o.Reps = 3
	}
	if o.Files == 0 {
		o.Files = 2000
	}
	for p, n := range map[*int64]int64{&o.Single: 512 * mib, &o.Several: 128 * mib, &o.Stream: 2 * gib} {
		switch {
		case *p == 0:
			*p = n
		case *p < mib || *p > 1<<45:
			return o, fmt.Errorf("a file of %d bytes: 1 MiB to 32 TiB can be", *p)
		}
		*p -= *p % mib
	}
	switch {
	case o.Dir == "":
		return o, fmt.Errorf("no directory to work in")
	case o.Reps < 1 || o.Files < 1:
		return o, fmt.Errorf("repetitions and files are positive numbers")
	}
	return o, nil
}
