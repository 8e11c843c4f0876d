package apiserver

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"

	"keepdav/collfs"
)

// Slashes translate names of records: those that have slashes are shown with
// something else in their place, if the cluster says what.
type slashes struct {
	c   *Catalog
	sub atomic.Pointer[string]
}

// load finds out what the cluster says. Until then names are shown as they are.
func (s *slashes) load(ctx context.Context) error {
	if s.sub.Load() != nil {
		return nil
	}
	conf, err := s.c.api.Config(ctx)
	if err != nil {
		return err
	}
	sub := conf.Collections.ForwardSlashNameSubstitution
	s.sub.Store(&sub)
	return nil
}

func (s *slashes) get() string {
	if p := s.sub.Load(); p != nil && *p != "/" {
		return *p
	}
	return ""
}

// decode returns how a name is shown.
func (s *slashes) decode(name string) string {
	if sub := s.get(); sub != "" {
		return strings.ReplaceAll(name, "/", sub)
	}
	return name
}

// encode returns what a name that is shown is called by the server.
func (s *slashes) encode(name string) string {
	if sub := s.get(); sub != "" {
		return strings.ReplaceAll(name, sub, "/")
	}
	return name
}

// shownName returns how something is called in a list; "" if it cannot be: its name
// has a slash. What has no name is called by its UUID.
func (s *slashes) shownName(name string, id collfs.UUID) string {
	if name == "" {
		return string(id)
	}
	if name = s.decode(name); strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return ""
	}
	return name
}

var uuidPattern = regexp.MustCompile(`^[a-z0-9]{5}-[a-z0-9]{5}-[a-z0-9]{15}$`)

// Kinds of UUIDs.
const (
	kindCollection = "4zz18"
	kindGroup      = "j7d0g"
	kindUser       = "tpzed"
)

// kindOf returns the middle of a UUID; "" if it is none.
func kindOf(id string) string {
	if !uuidPattern.MatchString(id) {
		return ""
	}
	return id[6:11]
}
