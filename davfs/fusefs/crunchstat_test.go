package fusefs

import (
	"testing"
	"time"
)

func TestCrunchstatLines(t *testing.T) {
	before := Stats{Ops: map[string]OpStats{"write": {Count: 1, Seconds: 0.5, Bytes: 100}}}
	now := Stats{Ops: map[string]OpStats{"write": {Count: 3, Seconds: 0.75, Bytes: 300}, "read": {Count: 1, Seconds: 0.25, Bytes: 7}}}
	want := "crunchstat: blkio:0:0 300 write 7 read -- interval 10.0000 seconds 200 write 7 read\n" +
		"crunchstat: fuseops 3 write 1 read -- interval 10.0000 seconds 2 write 1 read\n" +
		"crunchstat: fuseop:read 1 count 0.250000 time -- interval 10.0000 seconds 1 count 0.250000 time\n" +
		"crunchstat: fuseop:write 3 count 0.750000 time -- interval 10.0000 seconds 2 count 0.250000 time\n"
	if got := crunchstatLines(before, now, 10*time.Second); got != want {
		t.Errorf("the lines are\n%swant\n%s", got, want)
	}
}
