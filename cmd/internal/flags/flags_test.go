package flags

import "testing"

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
