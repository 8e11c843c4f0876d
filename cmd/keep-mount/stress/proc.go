package stress

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func gettid() int { return unix.Gettid() }

// waitsFor says what the kernel lets be known about a thread that hangs.
func waitsFor(pid, tid int) string {
	dir := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
	var parts []string
	if b, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		for line := range strings.Lines(string(b)) {
			if state, ok := strings.CutPrefix(line, "State:"); ok {
				parts = append(parts, "state "+strings.TrimSpace(state))
			}
		}
	}
	for _, name := range []string{"wchan", "syscall", "stack"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		text := strings.Join(strings.Fields(string(b)), " ")
		switch {
		case err != nil:
			parts = append(parts, name+" not readable")
		case text != "" && text != "0":
			parts = append(parts, name+" "+text)
		}
	}
	return strings.Join(parts, "; ")
}
