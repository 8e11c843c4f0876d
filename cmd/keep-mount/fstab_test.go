package main

import (
	"strings"
	"testing"
)

func TestLinesOfFstab(t *testing.T) {
	for line, check := range map[string]func(*mountCmd) bool{
		"/srv/keep /mnt": func(m *mountCmd) bool {
			return m.Store == "/srv/keep" && m.Dir == "/mnt" && !m.ReadWrite && m.source == "/srv/keep"
		},
		"/srv/keep /mnt -o rw": func(m *mountCmd) bool { return m.ReadWrite },
		"keep /mnt -o rw,allow_other,user=ann,store=/srv/k,posix,commit=fsync": func(m *mountCmd) bool {
			return m.AllowOther && m.User == "ann" && m.Store == "/srv/k" && m.Posix && m.Commit == "fsync" && m.source == "keep"
		},
		someCollection + " /mnt -o ro,store=/k,_netdev,noauto,nofail,x-systemd.automount,nosuid,nodev,relatime": func(m *mountCmd) bool {
			return m.Collection == someCollection && m.ReadOnly
		},
		someProject + " /mnt -n -o rw -v":                       func(m *mountCmd) bool { return m.Project == someProject && m.ReadWrite },
		"keep /mnt -o project=" + someProject:                   func(m *mountCmd) bool { return m.Project == someProject },
		"keep /mnt -ocollection=" + someCollection + ",home=\"": nil,
		`keep /mnt -o user="a,b"`:                               func(m *mountCmd) bool { return m.User == "a,b" },
		`keep /mnt -o user=a\,b`:                                func(m *mountCmd) bool { return m.User == "a,b" },
		"keep /mnt -o as=ann,rw,user=root":                      func(m *mountCmd) bool { return m.User == "ann" },
		"keep /mnt -s -o what=is,this":                          func(m *mountCmd) bool { return true },
		"keep /mnt -o directory_cache=1GiB,write_cache=off":     func(m *mountCmd) bool { return m.DirectoryCache == 1<<30 && m.WriteCache == "off" },
	} {
		m, err := parseFstab(strings.Fields(line))
		switch {
		case check == nil:
			if err == nil {
				t.Errorf("%q was taken", line)
			}
		case err != nil:
			t.Errorf("%q: %v", line, err)
		case !check(m):
			t.Errorf("%q means %+v", line, m)
		}
	}
}

func TestOptionsOfFstabThatAreWrongAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"keep":                              "SOURCE DIR",
		"keep /mnt extra":                   "SOURCE DIR",
		"relative /mnt":                     `source "relative"`,
		"keep /mnt -o frobnicate":           `unknown option "frobnicate"`,
		"keep /mnt -o rw,frob=1":            `unknown option "frob=1"`,
		"keep /mnt -o rw=1":                 "rw takes no value",
		"keep /mnt -o store":                "store wants a value",
		"keep /mnt -o store=rel":            "from / on",
		"keep /mnt -o user=":                "a value is expected",
		"keep /mnt -o commit=never":         "close, fsync",
		"keep /mnt -o":                      "-o wants a value",
		"keep /mnt -z":                      "unknown flag -z",
		"keep /mnt -o collection=x":         "no UUID",
		"keep /mnt -o home,shared":          "only one of",
		someProject + " /mnt -o home":       "only one of",
		"keep /mnt -o directory_cache=lots": "not a size",
	} {
		if _, err := parseFstab(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", line, err, want)
		}
	}
}

func TestFakeMountOfFstabDoesNothing(t *testing.T) {
	if m, err := parseFstab([]string{"keep", "/mnt", "-f"}); m != nil || err != nil {
		t.Errorf("with -f: %+v, %v; want nothing to do", m, err)
	}
}

func FuzzOptionsOfFstabNeverPanic(f *testing.F) {
	f.Add("keep", "rw,allow_other,x-foo=1")
	f.Add("/srv", `user="a,b",commit=close`)
	f.Add(someCollection, `\`)
	f.Fuzz(func(t *testing.T, source, options string) {
		m, err := parseFstab([]string{source, "/mnt", "-o", options})
		if err == nil && m.ReadOnly && m.ReadWrite {
			t.Errorf("%q %q is both read-only and read-write", source, options)
		}
		if err == nil && len(m.modes()) > 1 {
			t.Errorf("%q %q shows %q", source, options, m.modes())
		}
	})
}
