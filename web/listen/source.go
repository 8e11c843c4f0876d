package listen

import "net/netip"

// Source is what clients are counted by: whoever has one IPv6 address has all of
// its /64.
func Source(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() || a.IsLoopback() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
