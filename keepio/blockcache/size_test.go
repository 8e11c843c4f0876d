package blockcache

import (
	"testing"
)

func TestParseSize(t *testing.T) {
	dir := t.TempDir() + "/not/yet/there"
	_, total, err := space(dir)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]int64{
		"1": 1, "1000000": 1000000, "8GiB": 8 << 30, "8g": 8 << 30, "500 MB": 500e6, "1.5K": 1536, " 2 TiB ": 2 << 40, "7B": 7,
		"10%": int64(10.0 / 100 * float64(total)), "100 %": total,
	} {
		if got, err := ParseSize(s, dir); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "x", "10 apples", "%", "101%", "0%", "1e30", "NaN", "inf", "1KiBB", "5%%"} {
		if got, err := ParseSize(s, dir); err == nil {
			t.Errorf("ParseSize(%q) = %d; want an error", s, got)
		}
	}
}

func TestDefaultDirIsThatOfArvadosTools(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		want string
	}{
		{map[string]string{"HOME": "/root"}, 0, "/var/cache/arvados/keep"},
		{map[string]string{"HOME": "/home/u"}, 1000, "/home/u/.cache/arvados/keep"},
		{map[string]string{"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}, 1000, "/c/arvados/keep"},
		{map[string]string{"HOME": "/home/u", "XDG_CACHE_HOME": "relative"}, 1000, "/home/u/.cache/arvados/keep"},
		{map[string]string{"CACHE_DIRECTORY": "/var/cache/x:/var/cache/y"}, 0, "/var/cache/x/keep"},
		{map[string]string{}, 1000, ""},
	} {
		got, err := DefaultDir(func(name string) string { return c.env[name] }, c.uid)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("DefaultDir(%v, %d) = %q, %v; want %q", c.env, c.uid, got, err, c.want)
		}
	}
}
