// Command fsx tries random operations in a directory and prints a short list of
// them when one goes wrong:
//
//	fsx -dir DIR [-seed N] [-ops N] [-files N] [-size BYTES] [-replay FILE]
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"keepdav/test/fsx"
)

func main() {
	var o fsx.Options
	flag.StringVar(&o.Dir, "dir", ".", "where to work")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "gives the operations")
	flag.IntVar(&o.Ops, "ops", 10_000_000, "how many operations")
	flag.IntVar(&o.Files, "files", 1, "how many files at a time")
	flag.Int64Var(&o.Size, "size", 512<<10, "largest size of a file in bytes")
	trace := flag.String("replay", "", "a file with operations, instead of a seed")
	flag.Parse()
	if err := run(o, *trace); err != nil {
		fmt.Fprintln(os.Stderr, "fsx:", err)
		os.Exit(1)
	}
}

func run(o fsx.Options, trace string) error {
	if trace != "" {
		list, err := os.ReadFile(trace)
		if err != nil {
			return err
		}
		return fsx.Replay(o, string(list))
	}
	var err error
	if o.Without, err = fsx.Unsupported(o.Dir); err != nil {
		return err
	}
	if len(o.Without) > 0 {
		fmt.Println("not supported here:", strings.Join(o.Without, " "))
	}
	began := time.Now()
	if err := fsx.Run(o); err != nil {
		return err
	}
	fmt.Printf("seed %d: %d operations in %v\n", o.Seed, o.Ops, time.Since(began).Round(time.Millisecond))
	return nil
}
