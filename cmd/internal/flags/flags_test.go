package flags

import (
	"testing"
	"time"
)

func TestSizesOfFlags(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "4KiB": 4096, "2M": 2 << 20, "3GiB": 3 << 30} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%q = %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "5 apples", "9999999999T"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d; want an error", text, b)
		}
	}
}

func TestTimesOfFlags(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "0.0": 0, "2.0": 2 * time.Second, "15": 15 * time.Second, "500ms": 500 * time.Millisecond, "1e2": 100 * time.Second} {
		var s Seconds
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%q = %v, %v; want %v", text, time.Duration(s), err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "-1s", "NaN", "Inf", "1e300", "5 s"} {
		var s Seconds
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %v; want an error", text, time.Duration(s))
		}
	}
}

func FuzzSizesAndTimesAreNeverNegative(f *testing.F) {
	for _, text := range []string{"4KiB", "-1", "9223372036854775807", "1e18", "2.5", "-0", "99999h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b Bytes
		var s Seconds
		if err := b.UnmarshalText([]byte(text)); err == nil && b < 0 {
			t.Errorf("size %q = %d", text, b)
		}
		if err := s.UnmarshalText([]byte(text)); err == nil && s < 0 {
			t.Errorf("time %q = %d", text, s)
		}
	})
}
