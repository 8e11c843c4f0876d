// Package version says what the program is that runs.
package version

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Info is what is known of a program.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns what is known of this program.
func Get() Info {
	v := Info{Version: "0.1.0-dev", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := b.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.Built = s.Value
		}
	}
	return v
}

// Text writes v for people; program is what it is of.
func (v Info) Text(w io.Writer, program string) {
	fmt.Fprintf(w, "%s %s (%s, %s)\n", program, v.Version, v.Go, v.Platform)
	if v.Commit != "" {
		fmt.Fprintf(w, "commit %s %s\n", v.Commit, v.Built)
	}
}
