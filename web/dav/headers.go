package dav

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Depth is the value of a Depth header.
type Depth int8

// The depths of RFC 4918. DepthMissing is the absence of the header, which
// means something different for each method.
const (
	DepthMissing Depth = iota - 1
	Depth0
	Depth1
	DepthInfinity
)

var errBadHeader = errors.New("a header is malformed")

// ParseDepth reads a Depth header.
func ParseDepth(s string) (Depth, error) {
	switch s = strings.TrimSpace(s); {
	case s == "":
		return DepthMissing, nil
	case s == "0":
		return Depth0, nil
	case s == "1":
		return Depth1, nil
	case strings.EqualFold(s, "infinity"):
		return DepthInfinity, nil
	}
	return DepthMissing, errBadHeader
}

// ParseOverwrite reads an Overwrite header; missing means true.
func ParseOverwrite(s string) (bool, error) {
	switch s = strings.TrimSpace(s); {
	case s == "" || strings.EqualFold(s, "T"):
		return true, nil
	case strings.EqualFold(s, "F"):
		return false, nil
	}
	return false, errBadHeader
}

// ParseTimeout reads the Timeout header of LOCK: the first of the listed
// values that is understood, cut to limit. Missing, infinite or not understood
// all mean limit: what the client gets is written in the answer.
func ParseTimeout(s string, limit time.Duration) time.Duration {
	for v := range strings.SplitSeq(s, ",") {
		v = strings.TrimSpace(v)
		if strings.EqualFold(v, "infinite") {
			return limit
		}
		if len(v) <= 7 || !strings.EqualFold(v[:7], "second-") {
			continue
		}
		n, err := strconv.ParseUint(v[7:], 10, 32)
		if err != nil {
			if errors.Is(err, strconv.ErrRange) {
				return limit
			}
			continue
		}
		return min(max(time.Duration(n)*time.Second, time.Second), limit)
	}
	return limit
}

// ParseOCMtime reads an X-OC-Mtime header: seconds since 1970, perhaps with a
// fraction, as sync clients send it. ok is false when there is none.
func ParseOCMtime(s string) (t time.Time, ok bool, err error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, false, nil
	}
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec < minUnix || sec > maxUnix {
		return time.Time{}, false, errBadHeader
	}
	var ns int64
	if frac != "" {
		frac = (frac + "000000000")[:9]
		u, err := strconv.ParseUint(frac, 10, 32)
		if err != nil {
			return time.Time{}, false, errBadHeader
		}
		ns = int64(u)
		if strings.HasPrefix(whole, "-") {
			ns = -ns
		}
	}
	return storable(time.Unix(sec, ns)), true, nil
}

// storable is the time nearest to t that can be kept: in nanoseconds, where 0
// means that there is none. A client that copies a file with an odd time wants
// the file copied more than the time exact.
func storable(t time.Time) time.Time {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return time.Unix(0, math.MinInt64)
	case t.After(time.Unix(0, math.MaxInt64)):
		return time.Unix(0, math.MaxInt64)
	case t.UnixNano() == 0:
		return time.Unix(0, 1)
	}
	return t
}

// Times that four-digit-year formats can print.
const (
	minUnix = -62135596800 // 0001-01-01
	maxUnix = 253402300799 // 9999-12-31 23:59:59
)
