package stress

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Options say what to do. The zero value of a field that has a default means it.
type Options struct {
	Dir         string        // where the sandbox is made
	Processes   int           // default 8
	Walkers     int           // that list everything meanwhile; default a fifth of Processes, one at least; negative: none
	Rounds      int           // default 10; not used with Duration
	Duration    time.Duration // go on for so long
	Ops         int           // of each process in a step; default 100
	Tops        int           // top-level directories that stay, default 3
	Small, Big  int64         // largest sizes of files in bytes, default 64 KiB and 8 MiB
	Seed        uint64        // of the choices; default: from the time
	Stall       time.Duration // an operation that takes so long hangs; default 60 s
	Variants    []string      // default all of Variants
	Collections bool          // see Cmd
	// Goroutines are used instead of processes. One that hangs is left behind.
	Goroutines bool
	Progress   time.Duration // between lines; default 2 s, negative: none

	disk disk // of tests
}

// Variants are the kinds of work, in the order in which a round does them.
var Variants = []string{"files", "collections", "same", "moves", "contest", "churn", "big"}

// Small is a stress of a few seconds.
func Small(dir string) Options {
	return Options{Dir: dir, Processes: 4, Rounds: 2, Ops: 60, Big: 3 << 20}
}

// Big is one of ten minutes, with 20 processes.
func Big(dir string) Options {
	return Options{Dir: dir, Processes: 20, Duration: 10 * time.Minute, Ops: 200, Tops: 5, Big: 24 << 20}
}

func (o Options) complete() (Options, error) {
	fill := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	fill(&o.Processes, 8)
	fill(&o.Walkers, max(1, o.Processes/5))
	fill(&o.Rounds, 10)
	fill(&o.Ops, 100)
	fill(&o.Tops, 3)
	o.Walkers = max(o.Walkers, 0)
	if o.Small == 0 {
		o.Small = 64 << 10
	}
	if o.Big == 0 {
		o.Big = 8 << 20
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	if o.Progress == 0 {
		o.Progress = 2 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	if o.Variants == nil {
		o.Variants = Variants
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	switch {
	case runtime.GOOS != "linux":
		return o, fmt.Errorf("the stress needs Linux")
	case o.Dir == "":
		return o, fmt.Errorf("no directory to work in")
	case o.Processes < 1 || o.Processes > 1000 || o.Walkers > 1000:
		return o, fmt.Errorf("%d processes and %d walkers: 1 to 1000 can be", o.Processes, o.Walkers)
	case o.Rounds < 1 || o.Ops < 1 || o.Tops < 1 || o.Duration < 0:
		return o, fmt.Errorf("rounds, operations, top-level directories and the duration are positive numbers")
	case o.Small < 1024 || o.Big < 4096 || o.Big > 64<<20:
		return o, fmt.Errorf("sizes of %d and %d bytes: small files have 1 KiB or more, big ones 4 KiB to 64 MiB", o.Small, o.Big)
	case o.Stall < time.Second:
		return o, fmt.Errorf("an operation may take a second at least")
	}
	for _, v := range o.Variants {
		if !slices.Contains(Variants, v) {
			return o, fmt.Errorf("unknown variant %q: there are %s", v, strings.Join(Variants, ", "))
		}
	}
	return o, nil
}
