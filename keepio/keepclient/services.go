package keepclient

import (
	"cmp"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	uuidTail = 15 // of a service's uuid count for its place in the probe order

	// Bounds of what a list of services may be.
	maxServices  = 10000
	maxListBytes = 8 << 20
)

// A service is an entry of the list of Keep services.
type service struct {
	uuid     string
	base     string // scheme://host:port, without a slash at the end
	proxy    bool   // else it is inside the cluster
	disk     bool   // stores one replica of what it is given
	readOnly bool
}

// ParseServices reads ARVADOS_KEEP_SERVICES: absolute http or https URLs
// separated by spaces. They are used as proxies, in the place of what the
// cluster's API lists.
func ParseServices(text string) ([]string, error) {
	urls := strings.Fields(text)
	_, err := givenServices(urls)
	return urls, err
}

// givenServices makes a list of services from URLs that somebody configured.
func givenServices(urls []string) ([]service, error) {
	var list []service
	for i, s := range urls {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return nil, errors.New("address of a Keep service is not a URL") // which may hold a password
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Opaque != "":
			return nil, fmt.Errorf("address of a Keep service %q is not an absolute http or https URL", u.Redacted())
		case u.User != nil, u.RawQuery != "", u.Fragment != "":
			return nil, fmt.Errorf("address of a Keep service %q has more than a host and a path", u.Redacted())
		}
		list = append(list, service{
			uuid:  fmt.Sprintf("00000-bi6l4-%015d", i),
			base:  u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"),
			proxy: true,
		})
	}
	return distinct(list), nil
}

// parseServices reads the reply to keep_services/accessible. Entries that make
// no sense are left out; a list without any other is an error.
func parseServices(body []byte) ([]service, error) {
	var reply struct {
		Items []struct {
			UUID     string `json:"uuid"`
			Host     string `json:"service_host"`
			Port     int    `json:"service_port"`
			SSL      bool   `json:"service_ssl_flag"`
			Type     string `json:"service_type"`
			ReadOnly bool   `json:"read_only"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, fmt.Errorf("list of Keep services: %w", err)
	}
	if len(reply.Items) > maxServices {
		return nil, fmt.Errorf("list of Keep services has %d entries", len(reply.Items))
	}
	var list []service
	for _, it := range reply.Items {
		host := strings.TrimSuffix(strings.TrimPrefix(it.Host, "["), "]")
		if host == "" || it.Port < 1 || it.Port > 65535 || !validHost(host) {
			continue
		}
		scheme := "http://"
		if it.SSL {
			scheme = "https://"
		}
		list = append(list, service{
			uuid:     it.UUID,
			base:     scheme + net.JoinHostPort(host, strconv.Itoa(it.Port)), // brackets IPv6
			proxy:    it.Type == "proxy",
			disk:     it.Type == "disk",
			readOnly: it.ReadOnly,
		})
	}
	if len(list) == 0 {
		return nil, errors.New("list of Keep services is empty")
	}
	return distinct(list), nil
}

// validHost reports whether s can be the host of a URL: a name or an address.
func validHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// distinct drops services whose URL came before.
func distinct(list []service) []service {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s service) bool {
		dup := seen[s.base]
		seen[s.base] = true
		return dup
	})
}

// probeOrder sorts services so that the one which should have the block comes
// first: by the MD5 of the block's hash in hex and the last 15 characters of the
// uuid, descending. Clients disagree on the order where uuids are longer than
// the usual 27 characters, so a block may be on any of them. Those that could not
// be reached a moment ago come last.
func probeOrder(hashHex string, list []*server) []*server {
	type weighted struct {
		*server
		down   int
		weight [md5.Size]byte
	}
	all := make([]weighted, len(list))
	for i, s := range list {
		down := 0
		if s.host != nil && s.isDown() {
			down = 1
		}
		all[i] = weighted{s, down, md5.Sum([]byte(hashHex + s.uuid[max(0, len(s.uuid)-uuidTail):]))}
	}
	slices.SortStableFunc(all, func(a, b weighted) int {
		return cmp.Or(cmp.Compare(a.down, b.down), slices.Compare(b.weight[:], a.weight[:]))
	})
	sorted := make([]*server, len(all))
	for i, w := range all {
		sorted[i] = w.server
	}
	return sorted
}
