package arvados

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"keepdav/collfs"
)

// An Endpoint answers one method of one path.
type Endpoint struct {
	Method string // GET also answers HEAD, PATCH also PUT
	// Path is below /arvados/v1/, such as "collections/{uuid}/trash"; one that begins
	// with a slash is a whole path. What stands in place of {uuid} is Request.UUID.
	Path   string
	Record string // under which name a record comes in the parameters, such as "collection"
	Public bool   // answers without a token, too
	// Inactive: it answers users who are not active, too: they may ask who they are.
	Inactive bool
	// Do returns what is sent as JSON. If it returns nil without an error, it has
	// written the answer itself, by Request.Writer.
	Do func(ctx context.Context, req *Request) (any, error)
}

// A Request is one that was read and whose maker is known.
type Request struct {
	HTTP   *http.Request
	ID     string // for logs and errors
	Method string // as the client means it, see X-Http-Method-Override
	Params Params
	UUID   collfs.UUID // from the path; not checked
	Token  string      // as it was presented: signatures are made with it. "": a public request without one
	Caller

	api      *API
	w        http.ResponseWriter
	endpoint *Endpoint
	readers  []collfs.User // whose reading rights count too
	held     int64         // of API.bodies
	based    bool          // what its maker has is known better than by the answer
}

// Writer returns where an endpoint writes an answer that is not JSON.
func (req *Request) Writer() http.ResponseWriter { return req.w }

// Readers returns the users with whose rights records are read: the caller, and those
// of reader tokens.
func (req *Request) Readers() []collfs.UUID {
	ids := []collfs.UUID{req.User.UUID}
	for _, u := range req.readers {
		ids = append(ids, u.UUID)
	}
	return ids
}

// done ends what the request holds.
func (req *Request) done() {
	if req.held > 0 {
		req.api.bodies.Release(req.held)
		req.held = 0
	}
}

type route struct {
	*Endpoint
	segments []string
}

func routeKey(segments []string) string { return strconv.Itoa(len(segments)) + segments[0] }

func segmentsOf(path string) []string {
	if !strings.HasPrefix(path, "/") {
		path = prefix + path
	}
	return strings.Split(strings.Trim(path, "/"), "/")
}

// Add adds endpoints. Of two for the same requests the first counts. It must not be
// called once requests are served.
func (a *API) Add(endpoints ...Endpoint) {
	for _, e := range endpoints {
		r := &route{&e, segmentsOf(e.Path)}
		key := routeKey(r.segments)
		a.routes[key] = append(a.routes[key], r)
	}
}

// match reports whether a path is r's, and what is in the place of {uuid}.
func (r *route) match(segments []string) (id string, ok bool) {
	for i, s := range r.segments {
		switch {
		case s == "{uuid}":
			id = segments[i]
		case s != segments[i]:
			return "", false
		}
	}
	return id, true
}

// find returns the endpoint for a request; one without variable parts is preferred.
func (a *API) find(req *Request) (*Endpoint, error) {
	segments := segmentsOf(req.HTTP.URL.Path)
	known := false
	var best *Endpoint
	for _, r := range a.routes[routeKey(segments)] {
		id, ok := r.match(segments)
		if !ok {
			continue
		}
		known = true
		if req.Method == r.Method && (best == nil || id == "") {
			best, req.UUID = r.Endpoint, collfs.UUID(id)
			if id == "" {
				break
			}
		}
	}
	switch {
	case best != nil:
		return best, nil
	case known:
		return nil, &Error{Status: http.StatusMethodNotAllowed, Text: "Method not allowed"}
	}
	return nil, &Error{Status: http.StatusNotFound, Text: "Path not found"}
}

// readMethod is the method that the client means.
func (req *Request) readMethod() {
	m := req.HTTP.Method
	if m == http.MethodPost {
		if o := strings.ToUpper(req.HTTP.Header.Get("X-Http-Method-Override")); o != "" {
			m = o
		} else if o, err := req.Params.String("_method"); err == nil && o != "" {
			m = strings.ToUpper(o)
		}
	}
	switch m {
	case http.MethodHead:
		m = http.MethodGet
	case http.MethodPut:
		m = http.MethodPatch
	}
	req.Method = m
}
