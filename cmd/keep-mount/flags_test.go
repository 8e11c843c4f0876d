package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/cmd/internal/completion"
	"keepdav/davfs/fusefs"
)

const (
	someCollection = "kdav0-4zz18-000000000000000"
	someProject    = "kdav0-j7d0g-000000000000000"
	somePDH        = "d41d8cd98f00b204e9800998ecf8427e+0"
)

// parsed is the mount that a command line means.
func parsed(args ...string) (*mountCmd, error) {
	c, _, _, err := parse(args)
	if err != nil {
		return nil, err
	}
	return &c.Mount, nil
}

func TestEveryFlagOfArvMountIsTaken(t *testing.T) {
	for _, flags := range []string{
		"", "--all", "--custom --mount-home h", "--collection " + someCollection, "--collection " + somePDH, "--home", "--project " + someProject, "--shared", "--by-id", "--by-pdh",
		"--mount-home a --mount-home b --mount-shared c --mount-tmp d --mount-by-id e --mount-by-pdh f",
		"--allow-other", "--read-only", "--read-write", "--foreground", "--subtype test", "--fsns x",
		"--replace", "--unmount", "--unmount-all", "--unmount-timeout 2.0", "--crunchstat-interval 0.5", "--debug", "--logfile /tmp/x",
		"--disk-cache", "--ram-cache", "--disk-cache-dir /tmp", "--directory-cache 134217728", "--file-cache 256MiB", "--disable-event-listening",
		"--encoding utf-8", "--storage-classes default", "--refresh-time 15", "--retries 10",
		"--posix", "--commit=fsync", "--write-cache=off", "--read-ahead 0", "--store /tmp/s", "--user ann",
	} {
		if _, err := parsed(append(strings.Fields(flags), "/mnt")...); err != nil {
			t.Errorf("%q: %v", flags, err)
		}
	}
}

func TestFlagsThatCannotWorkSayWhy(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                  "mount point is expected",
		"/mnt --by-tag":                     "is not offered",
		"/mnt --mount-by-tag x":             "is not offered",
		"/mnt --filters []":                 "is not offered",
		"/mnt --home --shared":              "only one of --home, --shared",
		"/mnt --read-only --read-write":     "can't be used together",
		"/mnt --home --mount-home h":        "--home cannot be combined",
		"/mnt --all --mount-tmp t":          "--all cannot be combined",
		"/mnt --custom":                     "there are none",
		"/mnt --mount-home a/b":             "without a slash",
		"/mnt --mount-home ..":              "no name for a directory",
		"/mnt --mount-home .":               "no name for a directory",
		"/mnt --mount-home=":                "no name for a directory",
		"/mnt --mount-home a --mount-tmp a": "another --mount-… flag",
		"/mnt --collection x":               "no UUID",
		"/mnt --collection " + someProject:  "not that of a collection",
		"/mnt --project " + someCollection:  "not that of a project",
		"/mnt --project " + somePDH:         "no UUID",
		"/mnt --encoding latin-1":           "UTF-8",
		"/mnt --retries=-1":                 "less than 0",
		"/mnt --directory-cache 5apples":    "not a size",
		"/mnt --unmount-timeout x":          "not a time",
		"/mnt --crunchstat-interval=-1":     "not a time",
		"/mnt --commit=never":               "must be one of",
		"/mnt --subtype a,b":                "no name",
		"/mnt --exec":                       "wants a command",
		"/mnt --exec=ls":                    "--exec CMD ARG",
		"/mnt --unmount --exec ls":          "for mounting",
		"/mnt --write-cache=on":             "--read-write",
	} {
		if _, err := parsed(strings.Fields(flags)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", flags, err, want)
		}
	}
}

func TestWhatFollowsExecIsNotForUs(t *testing.T) {
	c, err := parsed("--read-write", "/mnt", "--exec", "ls", "--read-only", "--exec", "--")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ls", "--read-only", "--exec", "--"}; !slices.Equal(c.command, want) || !c.ReadWrite || c.ReadOnly {
		t.Errorf("the command is %q, read-write %v; want %q", c.command, c.ReadWrite, want)
	}
}

func TestDefaultsAreThoseOfArvMount(t *testing.T) {
	c, err := parsed("/mnt")
	if err != nil {
		t.Fatal(err)
	}
	r := c.request("/mnt", c.User)
	if !r.ReadOnly || !r.CommitOnClose || r.AllowOther || r.User != "admin" || c.patience() != 2*time.Second {
		t.Errorf("a mount without flags is %+v, patient for %v", r, c.patience())
	}
}

func TestFlagsAreCompletedThoughTheCommandIsNotSaid(t *testing.T) {
	parser, err := newParser(new(cli))
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string][]string{"--read-": {"--read-ahead", "--read-only", "--read-write"}, "stat": {"status"}} {
		if got := completion.Candidates(parser.Model.Node, nil, prefix); !slices.Equal(got, want) {
			t.Errorf("%s completes to %q; want %q", prefix, got, want)
		}
	}
}

func TestLayouts(t *testing.T) {
	entry := func(name, target string) fusefs.Entry { return fusefs.Entry{Name: name, Target: target} }
	for flags, want := range map[string]fusefs.Layout{
		"":                                      {Entries: []fusefs.Entry{entry("by_id", "/by_id"), entry("home", "/home"), entry("shared", "/shared"), entry("users", "/users")}},
		"--home":                                {Root: "/home"},
		"--shared":                              {Root: "/shared"},
		"--by-id":                               {Root: "/by_id"},
		"--by-pdh":                              {Root: "/by_id", PDHOnly: true},
		"--collection " + someCollection:        {Root: "/by_id/" + someCollection},
		"--collection " + someCollection + "@3": {Root: "/by_id/" + someCollection + "@3"},
		"--collection " + somePDH:               {Root: "/by_id/" + somePDH},
		"--project kdav0-tpzed-000000000000000": {Root: "/by_id/kdav0-tpzed-000000000000000"},
		"--mount-tmp out --mount-by-pdh keep --mount-home h --mount-home i": {Entries: []fusefs.Entry{
			entry("h", "/home"), entry("i", "/home"), {Name: "out", Tmp: true}, {Name: "keep", Target: "/by_id", PDHOnly: true},
		}},
	} {
		c, err := parsed(append(strings.Fields(flags), "/mnt")...)
		if err != nil {
			t.Errorf("%q: %v", flags, err)
			continue
		}
		if got, err := c.layout(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q shows %+v, %v; want %+v", flags, got, err, want)
		}
	}
}

func TestAClusterIsNotMistakenForAStore(t *testing.T) {
	t.Setenv("KEEPDAV_STORE", "")
	conf, stores := t.TempDir(), t.TempDir()
	settingsFile := filepath.Join(conf, "arvados", "settings.conf")
	writeText(t, settingsFile, "ARVADOS_API_HOST=file.example\nARVADOS_API_TOKEN=abc\n")
	writeText(t, filepath.Join(stores, "keepdav", "keepdav.db"), "")
	host := map[string]string{"ARVADOS_API_HOST": "env.example", "ARVADOS_API_TOKEN": "abc"}
	file := map[string]string{"XDG_CONFIG_HOME": conf}
	for _, c := range []struct {
		name  string
		args  string
		env   map[string]string
		store bool   // there is one in the usual place
		want  string // "": the store
		fail  string
	}{
		{name: "nothing", want: ""},
		{name: "environment", env: host, want: "env.example"},
		{name: "environment, and a store in its place", env: host, store: true, want: "env.example"},
		{name: "a store that is named", args: "--store /tmp/s", env: host, want: ""},
		{name: "a settings file", env: file, want: "file.example"},
		{name: "a settings file, and a store in its place", env: file, store: true, want: ""},
		{name: "a cluster that is asked for", args: "--cluster", env: file, store: true, want: "file.example"},
		{name: "a cluster that is not named", args: "--cluster", fail: "ARVADOS_API_HOST is not set"},
		{name: "no token", env: map[string]string{"ARVADOS_API_HOST": "env.example"}, fail: "ARVADOS_API_TOKEN is not set"},
		{name: "classes of a store", args: "--storage-classes hot", fail: "one class, default"},
		{name: "classes of a cluster", args: "--storage-classes hot,cold", env: host, want: "env.example"},
	} {
		data := t.TempDir()
		if c.store {
			data = stores
		}
		t.Setenv("XDG_DATA_HOME", data)
		m, err := parsed(append(strings.Fields(c.args), "/mnt")...)
		if err != nil {
			t.Fatal(err)
		}
		err = m.choose(func(name string) (string, bool) {
			if name == "XDG_CONFIG_DIRS" {
				return data, true // nothing of this machine
			}
			v, ok := c.env[name]
			return v, ok
		})
		got := ""
		if m.cluster != nil {
			got = m.cluster.Name()
		}
		switch {
		case c.fail == "" && (err != nil || got != c.want):
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
			t.Errorf("%s: %v; want %q in it", c.name, err, c.fail)
		}
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
