package keepclient

import (
	"slices"
	"strings"

	"keepdav/keepio/keepclient/token"
)

// A target is a server to ask, and the token to show there.
type target struct {
	*server
	token string
}

// targets are the servers to ask for a block: those that the locator hints at,
// then all in probe order.
func (f *fetch) targets(servers []*server) []target {
	var all []target
	for hint := range hints(f.signed.String()) {
		if name, ok := strings.CutPrefix(hint, "K@"); ok {
			all = append(all, f.hinted(name, servers)...)
		}
	}
	for _, s := range probeOrder(f.signed.HashHex(), servers) {
		if !slices.ContainsFunc(all, func(t target) bool { return t.base == s.base }) {
			all = append(all, target{s, f.cfg.Token})
		}
	}
	return all
}

// hinted returns the server that a +K hint names, if that makes sense: the uuid
// of a service, or the id of a cluster. A cluster gets a token salted for it, so
// that a hint in a manifest cannot betray ours; one that cannot be salted is not
// shown to it.
func (f *fetch) hinted(name string, servers []*server) []target {
	for _, s := range servers {
		if s.uuid == name {
			return []target{{s, f.cfg.Token}}
		}
	}
	tok, err := token.Parse(f.cfg.Token)
	if err != nil || len(name) != 5 || name == tok.Cluster() {
		return nil
	}
	salted, err := tok.Salt(name)
	if err != nil {
		return nil
	}
	base := "https://keep." + name + ".arvadosapi.com"
	return []target{{f.servers.remote(base), salted}}
}

// hints yields a locator's hints, without their plus.
func hints(loc string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		parts := strings.Split(loc, "+")
		for _, hint := range parts[min(len(parts), 2):] {
			if !yield(hint) {
				return
			}
		}
	}
}
