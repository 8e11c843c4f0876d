package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tiny(dir string) Options {
	return Options{Dir: dir, Reps: 2, Single: mib, Several: mib, Stream: 2 * mib, Files: 20, dropCaches: func() error { return os.ErrPermission }}
}

func TestEveryRowIsMeasuredAndNothingIsLeft(t *testing.T) {
	o := tiny(t.TempDir())
	o.PID = os.Getpid()
	var out bytes.Buffer
	r, err := Run(t.Context(), o, &out)
	if err != nil {
		t.Fatalf("Run = %v\n%s", err, &out)
	}
	if want := 2*2*6 + 4 + 5; len(r.Rows) != want {
		t.Errorf("Run measured %d rows; want %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		if len(row.Values) != 2 || row.Median <= 0 || row.Spread < 0 {
			t.Errorf("row %+v; want two values and their median", row)
		}
		if len(row.CPU) != 2 {
			t.Errorf("row %+v; want the CPU that the process used", row)
		}
		if (row.Ticket > 0) != (row.Ratio > 0) {
			t.Errorf("row %+v: a ratio goes with a figure of 2015", row)
		}
	}
	for _, w := range []string{"iozone -s512m -l1 -u1, write 4 KiB", "iozone -s128m -l4 -u4, random write 128 KiB", "loading 70 GiB", "perhaps not cold", "threads of one process"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("the report does not say %q:\n%s", w, &out)
		}
	}
	if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	if b, err := json.Marshal(r); err != nil || !bytes.Contains(b, []byte(`"in_2015":140`)) {
		t.Errorf("Marshal = %s, %v; want the figure of 2015", b, err)
	}
}

func TestNoPageIsWrittenTwice(t *testing.T) {
	p := &pages{run: 7}
	seen := map[string]bool{}
	for _, b := range [][]byte{p.buffer(pageSize), p.buffer(4 * pageSize), p.buffer(pageSize)} {
		for range 3 {
			p.stamp(b, 0)
			for i := 0; i < len(b); i += pageSize {
				if page := string(b[i : i+pageSize]); seen[page] {
					t.Fatal("a page was made twice")
				} else {
					seen[page] = true
				}
			}
		}
	}
}

func TestWrongBytesAreNotMeasured(t *testing.T) {
	b := &bench{o: tiny(t.TempDir()), pages: pages{run: 7}}
	name := filepath.Join(b.o.Dir, "f")
	if _, err := b.write(t.Context(), name, os.O_CREATE|os.O_WRONLY, mib, 4*kib, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(t.Context(), name, mib, 128*kib, true); err != nil {
		t.Errorf("read = %v", err)
	}
	all, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	copy(all[8*pageSize:], all[9*pageSize:10*pageSize])
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(t.Context(), name, mib, 128*kib, false); !errors.Is(err, ErrWrongBytes) {
		t.Errorf("read of a page from elsewhere = %v; want ErrWrongBytes", err)
	}
}

func TestInterruptRemovesTheFiles(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := tiny(t.TempDir())
	o.Groups = []string{"dd"}
	o.dropCaches = func() error { cancel(); return nil }
	var out bytes.Buffer
	r, err := Run(ctx, o, &out)
	if !errors.Is(err, context.Canceled) || len(r.Rows) != 3 {
		t.Errorf("Run = %d rows, %v; want the three before the interrupt", len(r.Rows), err)
	}
	if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestBadOptionsMakeNothing(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{
		{}, {Dir: dir, Groups: []string{"nonsense"}}, {Dir: dir, Reps: -1}, {Dir: dir, Stream: 1}, {Dir: dir, Stream: 1 << 44}, {Dir: dir + "/missing"}, {Dir: dir, PID: 1 << 30},
	} {
		if _, err := Run(t.Context(), o, new(bytes.Buffer)); err == nil {
			t.Errorf("Run(%+v) = nil; want that it cannot be", o)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestMedianAndSpread(t *testing.T) {
	var r Report
	for _, v := range []float64{30, 10, 20} {
		r.add(Row{Name: "a", Ticket: 10}, v, 0)
		r.add(Row{Name: "b", Ticket: 40, Lower: true}, v, 0)
	}
	r.finish(0)
	if a, b := r.Rows[0], r.Rows[1]; a.Median != 20 || a.Spread != 1 || a.Ratio != 2 || b.Ratio != 2 {
		t.Errorf("rows %+v, %+v; want a median of 20, a spread of 1 and 2 times as good", a, b)
	}
}
