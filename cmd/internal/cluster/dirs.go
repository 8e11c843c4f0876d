package cluster

import (
	"path/filepath"

	"keepdav/cmd/internal/settings"
)

// DefaultState is the directory for what is not on a cluster yet: where systemd has the
// state of a service, or the user's.
func DefaultState(env settings.Env) string {
	if d, _ := env("STATE_DIRECTORY"); filepath.IsAbs(d) {
		return filepath.Join(d, "cluster")
	}
	if d, _ := env("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "keepdav")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "keepdav")
	}
	return "/var/lib/keepdav/cluster"
}

// DefaultCache is the directory of cached blocks, which is that of other clients of
// Arvados, too.
func DefaultCache(env settings.Env, uid int) string {
	if d, _ := env("CACHE_DIRECTORY"); filepath.IsAbs(d) {
		return filepath.Join(d, "keep")
	}
	if uid == 0 {
		return "/var/cache/arvados/keep"
	}
	if d, _ := env("XDG_CACHE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "arvados", "keep")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "arvados", "keep")
	}
	return "/var/cache/arvados/keep"
}
