package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"keepdav/cmd/internal/mounting"
	"keepdav/davfs/fusefs"
)

var (
	uuidForm = regexp.MustCompile(`^[0-9a-z]{5}-([0-9a-z]{5})-[0-9a-z]{15}(@[0-9]+)?$`)
	pdhForm  = regexp.MustCompile(`^[0-9a-f]{32}\+[0-9]+$`)
)

// The kinds of records that a UUID tells.
const (
	kindCollection = "4zz18"
	kindProject    = "j7d0g"
	kindUser       = "tpzed"
)

// modes are the flags given that say what is shown.
func (c *mountCmd) modes() (given []string) {
	for _, m := range []struct {
		flag string
		on   bool
	}{
		{"--all", c.All}, {"--custom", c.Custom}, {"--collection", c.Collection != ""}, {"--home", c.Home}, {"--project", c.Project != ""},
		{"--shared", c.Shared}, {"--by-id", c.ByID}, {"--by-pdh", c.ByPDH}, {"--by-tag", c.ByTag},
	} {
		if m.on {
			given = append(given, m.flag)
		}
	}
	return given
}

// mode is the flag that says what is shown, "" when there is none.
func (c *mountCmd) mode() string {
	if given := c.modes(); len(given) > 0 {
		return given[0]
	}
	return ""
}

// layout is what the flags make visible.
func (c *mountCmd) layout() (fusefs.Layout, error) {
	if l, err := c.custom(); err != nil || len(l.Entries) > 0 {
		return l, err
	}
	switch c.mode() {
	case "--home":
		return fusefs.Layout{Root: "/home"}, nil
	case "--shared":
		return fusefs.Layout{Root: "/shared"}, nil
	case "--by-id":
		return fusefs.Layout{Root: "/by_id"}, nil
	case "--by-pdh":
		return fusefs.Layout{Root: "/by_id", PDHOnly: true}, nil
	case "--collection":
		return recordLayout("--collection", c.Collection, "a collection", kindCollection)
	case "--project":
		return recordLayout("--project", c.Project, "a project", kindProject, kindUser)
	}
	return mounting.Everything(), nil
}

// recordLayout shows one record. what is what it is to be, by the kinds.
func recordLayout(flag, id, what string, kinds ...string) (fusefs.Layout, error) {
	if pdhForm.MatchString(id) && kinds[0] == kindCollection {
		return fusefs.Layout{Root: "/by_id/" + id}, nil
	}
	m := uuidForm.FindStringSubmatch(id)
	if m == nil {
		return fusefs.Layout{}, fmt.Errorf("%s %q: this is no UUID, such as xxxxx-%s-xxxxxxxxxxxxxxx", flag, id, kinds[0])
	}
	for _, k := range kinds {
		if m[1] == k {
			return fusefs.Layout{Root: "/by_id/" + id}, nil
		}
	}
	return fusefs.Layout{}, fmt.Errorf("%s %s: this UUID is not that of %s", flag, id, what)
}

// custom is what --mount-… flags make visible.
func (c *mountCmd) custom() (l fusefs.Layout, err error) {
	seen := map[string]bool{}
	for _, m := range []struct {
		flag  string
		names []string
		entry fusefs.Entry
	}{
		{"--mount-home", c.MountHome, fusefs.Entry{Target: "/home"}},
		{"--mount-shared", c.MountShared, fusefs.Entry{Target: "/shared"}},
		{"--mount-tmp", c.MountTmp, fusefs.Entry{Tmp: true}},
		{"--mount-by-id", c.MountByID, fusefs.Entry{Target: "/by_id"}},
		{"--mount-by-pdh", c.MountByPDH, fusefs.Entry{Target: "/by_id", PDHOnly: true}},
	} {
		for _, name := range m.names {
			if err := checkName(name); err != nil {
				return fusefs.Layout{}, fmt.Errorf("%s %q: %w", m.flag, name, err)
			}
			if seen[name] {
				return fusefs.Layout{}, fmt.Errorf("%s %q: there is another --mount-… flag with this name", m.flag, name)
			}
			seen[name] = true
			m.entry.Name = name
			l.Entries = append(l.Entries, m.entry)
		}
	}
	return l, nil
}

// maxName is the longest name of a directory, in bytes.
const maxName = 255

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("this is no name for a directory")
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("one name is expected, without a slash")
	case !utf8.ValidString(name) || len(name) > maxName:
		return fmt.Errorf("a name of at most %d bytes in UTF-8 is expected", maxName)
	}
	return nil
}
