package blockcache

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseSize reads the size of a cache: bytes ("1000000000"), bytes with a unit
// ("8GiB", "500 MB", "2G": K, M, G and T alone and with "iB" are powers of 1024,
// with "B" of 1000), or a share of the file system of dir ("10%"). dir need not
// exist yet.
func ParseSize(s, dir string) (int64, error) {
	text := strings.TrimSpace(s)
	number := strings.TrimRight(text, "%kmgtibKMGTIB ")
	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(value) || value <= 0 {
		return 0, fmt.Errorf("size of the cache %q: not a positive number of bytes, nor a share like 10%%", s)
	}
	unit := strings.ToLower(strings.TrimSpace(text[len(number):]))
	if unit == "%" {
		if value > 100 {
			return 0, fmt.Errorf("size of the cache %q: more than the file system holds", s)
		}
		_, total, err := space(dir)
		if err != nil {
			return 0, fmt.Errorf("size of the cache %q: %w", s, err)
		}
		return max(int64(value/100*float64(total)), 1), nil
	}
	factor, ok := units[unit]
	if !ok {
		return 0, fmt.Errorf("size of the cache %q: unknown unit", s)
	}
	if value*factor < 1 || value*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("size of the cache %q: out of range", s)
	}
	return int64(value * factor), nil
}

var units = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// space asks the file system that dir is on, or will be.
func space(dir string) (free, total int64, err error) {
	dir = filepath.Clean(dir)
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || up == dir {
			return 0, 0, fmt.Errorf("ask for free space: %w", err)
		}
		dir = up
	}
}

// DefaultDir is where Arvados' tools keep their cache of blocks too:
// $CACHE_DIRECTORY/keep if that is set, as systemd does; else, for root,
// /var/cache/arvados/keep, and for others arvados/keep in $XDG_CACHE_HOME or in
// .cache of $HOME.
func DefaultDir(getenv func(string) string, uid int) (string, error) {
	if dir, _, _ := strings.Cut(getenv("CACHE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keep"), nil
	}
	if uid == 0 {
		return "/var/cache/arvados/keep", nil
	}
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "arvados", "keep"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "arvados", "keep"), nil
	}
	return "", errors.New("no directory for the block cache: $HOME is not set")
}
