package api

import (
	"testing"
	"time"
)

func TestWhoAsksIsNotKeptWaitingForLong(t *testing.T) {
	for asks, limit := range map[bool]time.Duration{true: 4 * time.Second, false: 30 * time.Second} {
		var longest time.Duration
		for attempt := range 2000 {
			longest = max(longest, backOff(attempt%20, asks))
		}
		if longest > limit || longest < limit/2 {
			t.Errorf("asks %v: the longest of many pauses is %v; want up to %v", asks, longest, limit)
		}
	}
}
