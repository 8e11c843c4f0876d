package keepclient

import (
	"testing"
	"time"
)

func TestOnlyTroubleThatMayPassIsRetried(t *testing.T) {
	for status, want := range map[int]bool{
		408: true, 409: true, 423: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true, 599: true,
		200: false, 302: false, 400: false, 401: false, 403: false, 404: false, 405: false, 413: false, 422: false, 501: false, 505: false, 507: false,
	} {
		if got := retryStatus(status); got != want {
			t.Errorf("retryStatus(%d) = %v; want %v", status, got, want)
		}
	}
}

func TestPausesGrowAndAreRandom(t *testing.T) {
	for n, bound := range []time.Duration{1, 2, 4, 8, 16, 20, 20, 20} {
		bound *= time.Second
		var longest time.Duration
		for range 1000 {
			p := pause(n, 0)
			if p < 0 || p >= bound {
				t.Fatalf("pause(%d) = %v; want less than %v", n, p, bound)
			}
			longest = max(longest, p)
		}
		if longest < bound/2 {
			t.Errorf("longest of 1000 pauses after round %d = %v; want nearly %v", n, longest, bound)
		}
	}
	if p := pause(1<<30, time.Hour); p < maxRetryAfter || p > maxRetryAfter+maxPause {
		t.Errorf("pause with a long Retry-After = %v", p)
	}
}
