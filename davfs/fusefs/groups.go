package fusefs

import (
	"os"
	"strconv"
	"strings"
)

// groupsOf returns the supplementary groups of a process; none if they can't be
// known. The kernel does not send them.
func groupsOf(pid uint32) (groups []uint32) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/status")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(status)) {
		list, ok := strings.CutPrefix(line, "Groups:")
		if !ok {
			continue
		}
		for _, f := range strings.Fields(list) {
			if g, err := strconv.ParseUint(f, 10, 32); err == nil {
				groups = append(groups, uint32(g))
			}
		}
	}
	return groups
}
