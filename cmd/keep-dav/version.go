package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// buildInfo says what this program is.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func version() buildInfo {
	v := buildInfo{Version: "0.1.0-dev", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

type versionCmd struct{}

func (c *versionCmd) Run(root *cli) error {
	v := version()
	return show(root, v, func(w io.Writer) {
		fmt.Fprintf(w, "keep-dav %s (%s, %s)\n", v.Version, v.Go, v.Platform)
		if v.Commit != "" {
			fmt.Fprintf(w, "commit %s %s\n", v.Commit, v.Built)
		}
	})
}

type healthCmd struct {
	URL string `arg:"" default:"http://127.0.0.1:8080/" help:"The server."`
}

func (c *healthCmd) Run() error {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(strings.TrimSuffix(c.URL, "/") + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errUnhealthy
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(resp.Body, 100))
	return err
}
