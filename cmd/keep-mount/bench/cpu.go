package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ticks are those of a second in /proc, whatever the kernel's own.
const ticks = 100

// cpuTime is what a process has used, 0 for none.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("look at the mount's process: %w", err)
	}
	// The name, in parentheses, may have spaces in it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const user, system = 11, 12 // counted from the state
	if len(fields) <= system {
		return 0, fmt.Errorf("look at the mount's process: %q is not understood", b)
	}
	total := uint64(0)
	for _, f := range [][]byte{fields[user], fields[system]} {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("look at the mount's process: %w", err)
		}
		total += n
	}
	return time.Duration(total) * time.Second / ticks, nil
}
