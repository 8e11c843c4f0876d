package main

import (
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
		"/mnt --by-tag":                     "API of an Arvados cluster",
		"/mnt --mount-by-tag x":             "API of an Arvados cluster",
		"/mnt --filters []":                 "API of an Arvados cluster",
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
		"/mnt --storage-classes archive":    "one class",
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
	r := c.request("/mnt")
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
	t.Setenv("ARVADOS_API_HOST", "api.example:443")
	t.Setenv("KEEPDAV_STORE", "")
	for _, c := range []struct {
		args []string
		ok   bool
	}{{[]string{"/mnt"}, false}, {[]string{"/mnt", "--store", "/tmp/s"}, true}} {
		m, err := parsed(c.args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.cluster(); (err == nil) != c.ok {
			t.Errorf("%q with ARVADOS_API_HOST: %v", c.args, err)
		}
	}
}
