package keepclient

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	firstPause = time.Second // full jitter: at most this, doubled for each further round
	maxPause   = 20 * time.Second
	// maxRetryAfter bounds what a server can make us wait.
	maxRetryAfter = 2 * time.Minute
)

// retryStatus reports whether a status tells of trouble that may pass.
func retryStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return code >= 500
}

// pause is how long to wait before the round after round n (from 0): a random
// part of a bound that doubles, on top of what servers asked for.
func pause(n int, retryAfter time.Duration) time.Duration {
	bound := maxPause
	if n < 5 {
		bound = min(bound, firstPause<<n)
	}
	return min(retryAfter, maxRetryAfter) + rand.N(bound)
}

// retryAfter reads the header of that name: seconds or a date. 0 if there is
// none, or one that makes no sense.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if sec, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(sec, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// sleep waits for d or for the end of ctx, which it returns as an error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
