package settings

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is how much of a settings file is read, in bytes. It has five short lines.
const maxFile = 1 << 20

// Paths are the places of the settings file. The first file that is there counts, and
// no other: where systemd has the configuration of a service, in the user's
// configuration, and in that of the machine.
func Paths(env Env) []string {
	var dirs []string
	text, _ := env("CONFIGURATION_DIRECTORY")
	for _, d := range strings.Split(text, ":") {
		if filepath.IsAbs(d) { // systemd names the directory of the program itself
			dirs = append(dirs, d)
		}
	}
	add := func(d string) {
		if filepath.IsAbs(d) {
			dirs = append(dirs, filepath.Join(d, "arvados"))
		}
	}
	if d, _ := env("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		add(d)
	}
	if home, _ := env("HOME"); home != "" { // where the Go clients look, whatever XDG says
		add(filepath.Join(home, ".config"))
	}
	more, _ := env("XDG_CONFIG_DIRS")
	if more == "" {
		more = "/etc/xdg"
	}
	for _, d := range strings.Split(more, ":") {
		add(d)
	}
	add("/etc")
	var paths []string
	seen := map[string]bool{}
	for _, d := range dirs {
		if p := filepath.Join(d, "settings.conf"); !seen[p] {
			seen[p] = true
			paths = append(paths, p)
		}
	}
	return paths
}

// find reads the first settings file that is there.
func find(env Env) (*source, error) {
	src := &source{env: env, paths: Paths(env)}
	for _, p := range src.paths {
		f, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && complete(env) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
		src.path = p
		src.file, err = parse(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("settings in %s: %w", p, err)
		}
		return src, nil
	}
	return src, nil
}

// complete tells whether the environment says all that is needed, so that a file which
// cannot be read does not matter.
func complete(env Env) bool {
	token, _ := env(tokenVar)
	return InEnvironment(env) && token != ""
}

// parse reads lines KEY=VALUE. Keys that are not ARVADOS_…, comments and lines that are
// something else are passed over, as other clients do. Of a key that comes twice
// the last one counts.
func parse(r io.Reader) (map[string]string, error) {
	values := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, maxFile))
	lines.Buffer(nil, maxFile)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && strings.HasPrefix(key, "ARVADOS_") {
			values[key] = strings.TrimSpace(value)
		}
	}
	return values, lines.Err()
}
