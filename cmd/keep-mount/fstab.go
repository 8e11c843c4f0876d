package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"keepdav/cmd/internal/flags"
)

type fstabCmd struct {
	Args []string `arg:"" optional:""`
}

func (c *fstabCmd) Help() string {
	return `keep-mount fstab SOURCE DIR [-o OPTIONS]

SOURCE is the directory of a store, the UUID of a collection or project, or "keep". Options are those of
fstab(5), and ro, rw, store=DIR, user=NAME (also as=NAME), collection=ID, project=UUID, home, shared, allow_other,
posix, commit=close|fsync, write_cache=auto|on|off, read_ahead=KIB, directory_cache=SIZE, logfile=FILE.`
}

// Run mounts.
func (c *fstabCmd) Run(p *program) error {
	m, err := parseFstab(c.Args)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if m == nil {
		return nil
	}
	return m.Run(p)
}

// parseFstab makes a mount of what mount(8) calls its helpers with: SOURCE DIR [-sfnv]
// [-o OPTIONS] [-t TYPE] [-N NAMESPACE]. nil: nothing is to be done.
func parseFstab(args []string) (*mountCmd, error) {
	m, err := defaultMount()
	if err != nil {
		return nil, err
	}
	var words, options []string
	fake, sloppy := false, false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-o" || a == "-t" || a == "-N":
			if i++; i == len(args) {
				return nil, fmt.Errorf("%s wants a value", a)
			}
			switch a {
			case "-o":
				options = append(options, args[i])
			case "-N":
				return nil, errors.New("-N: another name space is entered with nsenter(1)")
			}
		case strings.HasPrefix(a, "-o") && a != "-o":
			options = append(options, a[2:])
		case len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "sfnv") == "":
			fake = fake || strings.Contains(a, "f")
			sloppy = sloppy || strings.Contains(a, "s")
		case len(a) > 1 && a[0] == '-':
			return nil, fmt.Errorf("unknown flag %s", a)
		default:
			words = append(words, a)
		}
	}
	if len(words) != 2 || words[1] == "" {
		return nil, errors.New("expected: keep-mount fstab SOURCE DIR [-o OPTIONS]")
	}
	if m.Dir, err = filepath.Abs(words[1]); err != nil {
		return nil, err
	}
	if err := m.setSource(words[0]); err != nil {
		return nil, err
	}
	for _, list := range options {
		for _, o := range splitOptions(list) {
			if err := m.setOption(o, sloppy); err != nil {
				return nil, err
			}
		}
	}
	if m.as != "" { // mount(8) may have added user= for whoever called it
		m.User = m.as
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if fake {
		return nil, nil
	}
	return m, nil
}

// defaultMount is a mount without any flags.
func defaultMount() (*mountCmd, error) {
	c, _, _, err := parse([]string{"/"})
	if err != nil {
		return nil, err
	}
	return &c.Mount, nil
}

// setSource takes the first field of a line of fstab.
func (c *mountCmd) setSource(source string) error {
	c.source = source // as it is: mount -a compares it
	m := uuidForm.FindStringSubmatch(source)
	switch {
	case source == "keep":
	case m != nil && m[1] == kindCollection, pdhForm.MatchString(source):
		c.Collection = source
	case m != nil:
		c.Project = source
	case filepath.IsAbs(source):
		c.Store = source
	default:
		return fmt.Errorf("source %q: the directory of a store, from / on, a UUID, or \"keep\" is expected", source)
	}
	return nil
}

// splitOptions splits at commas, but not at those in quotes or after a backslash.
func splitOptions(list string) (options []string) {
	var b strings.Builder
	quoted, escaped := false, false
	for i := range len(list) {
		switch c := list[i]; {
		case escaped:
			b.WriteByte(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			options = append(options, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(options, b.String())
}

// passed are options for mount(8) or systemd, and ones that say what is so anyway.
var passed = []string{
	"", "defaults", "auto", "noauto", "nofail", "user", "users", "nouser", "owner", "group", "_netdev", "_rnetdev", "async", "silent", "loud",
	"nosuid", "nodev", "exec", "suid", "dev", "relatime", "norelatime", "noatime", "atime", "nodiratime", "diratime", "strictatime", "lazytime", "nolazytime", "nomand",
}

// setOption takes one option. The ones that are not known are errors unless sloppy.
func (c *mountCmd) setOption(option string, sloppy bool) error {
	name, value, hasValue := strings.Cut(option, "=")
	if set, ok := valued[name]; ok && hasValue {
		if err := set(c, value); err != nil {
			return fmt.Errorf("option %s: %w", option, err)
		}
		return nil
	}
	if set, ok := plain[name]; ok && !hasValue {
		set(c)
		return nil
	}
	switch {
	case sloppy, strings.HasPrefix(name, "x-"), strings.HasPrefix(name, "X-"), name == "comment" && hasValue:
		return nil
	case slices.Contains(passed, name) && !hasValue:
		return nil
	case valued[name] != nil:
		return fmt.Errorf("option %s wants a value: %s=…", name, name)
	case plain[name] != nil || slices.Contains(passed, name):
		return fmt.Errorf("option %s takes no value", name)
	}
	return fmt.Errorf("unknown option %q", option)
}

var plain = map[string]func(*mountCmd){
	"ro":          func(c *mountCmd) { c.ReadOnly, c.ReadWrite = true, false },
	"rw":          func(c *mountCmd) { c.ReadOnly, c.ReadWrite = false, true },
	"allow_other": func(c *mountCmd) { c.AllowOther = true },
	"posix":       func(c *mountCmd) { c.Posix = true },
	"home":        func(c *mountCmd) { c.Home = true },
	"shared":      func(c *mountCmd) { c.Shared = true },
}

var valued = map[string]func(*mountCmd, string) error{
	"user":            func(c *mountCmd, v string) error { return word(&c.User, v) },
	"as":              func(c *mountCmd, v string) error { return word(&c.as, v) },
	"store":           func(c *mountCmd, v string) error { return absolute(&c.Store, v) },
	"logfile":         func(c *mountCmd, v string) error { return absolute(&c.Logfile, v) },
	"collection":      func(c *mountCmd, v string) error { return word(&c.Collection, v) },
	"project":         func(c *mountCmd, v string) error { return word(&c.Project, v) },
	"subtype":         func(c *mountCmd, v string) error { return word(&c.Subtype, v) },
	"commit":          func(c *mountCmd, v string) error { return oneOf(&c.Commit, v, "close", "fsync") },
	"write_cache":     func(c *mountCmd, v string) error { return oneOf(&c.WriteCache, v, "auto", "on", "off") },
	"directory_cache": func(c *mountCmd, v string) error { return size(&c.DirectoryCache, v) },
	"read_ahead": func(c *mountCmd, v string) (err error) {
		c.ReadAhead, err = strconv.Atoi(v)
		return err
	},
}

func word(to *string, v string) error {
	if v == "" {
		return errors.New("a value is expected")
	}
	*to = v
	return nil
}

func absolute(to *string, v string) error {
	if !filepath.IsAbs(v) {
		return errors.New("a path from / on is expected")
	}
	*to = v
	return nil
}

func oneOf(to *string, v string, words ...string) error {
	if !slices.Contains(words, v) {
		return fmt.Errorf("one of %s is expected", strings.Join(words, ", "))
	}
	*to = v
	return nil
}

func size(to *flags.Bytes, v string) error { return to.UnmarshalText([]byte(v)) }
