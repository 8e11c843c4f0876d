package arvados

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"keepdav/web/listen"
)

// AddKeepServices adds the services that keep blocks: this server. It is a proxy
// to who says to come from outside, and the disk itself to others. Clients write to a disk until
// enough replicas are confirmed, and leave it to a proxy to do so; here it is the same.
func (a *API) AddKeepServices() {
	since := a.Now()
	a.Add(
		Endpoint{Method: "GET", Path: "keep_services/accessible", Do: func(_ context.Context, req *Request) (any, error) {
			kind := "disk"
			if req.HTTP.Header.Get("X-External-Client") == "1" {
				kind = "proxy"
			}
			return map[string]any{
				"kind": "arvados#keepServiceList", "etag": "", "self_link": "", "offset": nil, "limit": nil,
				"items": []Item{a.keepService(req.HTTP, kind, since)}, "items_available": 1,
			}, nil
		}},
		Endpoint{Method: "GET", Path: "keep_services", Do: func(_ context.Context, req *Request) (any, error) {
			items := []Item{a.keepService(req.HTTP, "disk", since), a.keepService(req.HTTP, "proxy", since)}
			return req.ListOf("arvados#keepServiceList", attrsOf("KeepService"), items)
		}},
		Endpoint{Method: "GET", Path: "keep_services/{uuid}", Do: func(_ context.Context, req *Request) (any, error) {
			for _, kind := range []string{"disk", "proxy"} {
				if i := a.keepService(req.HTTP, kind, since); i["uuid"] == string(req.UUID) {
					return req.selected(i)
				}
			}
			return nil, notFound()
		}},
	)
}

// selected is what a request selects of a record.
func (req *Request) selected(i Item) (any, error) {
	attrs, err := req.Select(nil)
	if err != nil {
		return nil, err
	}
	return i.Selected(attrs), nil
}

// serviceTails end the UUIDs of services. By them clients decide whom to ask first.
var serviceTails = map[string]string{"disk": "000000000000000", "proxy": "000000000000001"}

func (a *API) keepService(r *http.Request, kind string, since time.Time) Item {
	secure := listen.Secure(r)
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, "80"
		if secure {
			port = "443"
		}
		if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
			host = host[1 : n-1]
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		number = 0 // of no use, as is what the client took for a port
	}
	return Item{
		"kind": "arvados#keepService", "uuid": string(a.uuid("bi6l4", serviceTails[kind])), "owner_uuid": string(a.systemUser()), "modified_by_user_uuid": string(a.systemUser()),
		"created_at": Time(since), "modified_at": Time(since), "service_host": host, "service_port": number, "service_ssl_flag": secure,
		"service_type": kind, "read_only": false,
	}.WithETag()
}
