package meter

import (
	"os"
	"os/exec"
	"testing"
)

// burn uses some CPU in a child that the test waits for.
func burn(t *testing.T) {
	t.Helper()
	c := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
}

func TestCPUOfChildrenIsOursAndNoOthers(t *testing.T) {
	before := TreeCPU(os.Getpid())
	burn(t)
	if used := TreeCPU(os.Getpid()) - before; used <= 0 {
		t.Errorf("TreeCPU grew by %v over a child that worked, want more than 0", used)
	}
	all, without := OtherProcesses(-1), OtherProcesses(os.Getpid())
	if ours := TreeCPU(os.Getpid()); all-without < ours/2 {
		t.Errorf("OtherProcesses = %.2f s with us and %.2f without, we used %.2f", all, without, ours)
	}
}

func TestStampedPagesDiffer(t *testing.T) {
	b := make([]byte, 2*Page)
	Stamp(b)
	first := [2]string{string(b[:8]), string(b[Page : Page+8])}
	Stamp(b)
	if second := [2]string{string(b[:8]), string(b[Page : Page+8])}; first[0] == first[1] || first[0] == second[0] || first[1] == second[1] {
		t.Errorf("stamps %x and then %x repeat", first, second)
	}
}

func TestShortKeepsThreeFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.012", 1.234: "1.23", 12.34: "12.3", 1234.5: "1234"} {
		if got := Short(v); got != want {
			t.Errorf("Short(%v) = %s; want %s", v, got, want)
		}
	}
}
