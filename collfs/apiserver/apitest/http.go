package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A call is a request as it is understood.
type call struct {
	method string
	user   *user
	token  string
	params map[string]json.RawMessage
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, s.opt.MaxRequestSize+1))
	if err != nil {
		return
	}
	s.hookMu.Lock()
	hook := s.hook
	s.hookMu.Unlock()
	var fault Fault
	if hook != nil {
		fault = hook(r, body)
	}
	if fault.Drop {
		panic(http.ErrAbortHandler)
	}
	if fault.Status != 0 {
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfter))
		}
		answer(w, fault.Status, map[string]any{"errors": []string{"a fault made by the test"}})
		return
	}
	if r.URL.Path == "/websocket" {
		s.serveBus(w, r)
		return
	}
	out, err := s.handle(r, body)
	if fault.Lose {
		panic(http.ErrAbortHandler)
	}
	var no *refusal
	switch {
	case errors.As(err, &no):
		answer(w, no.status, map[string]any{"errors": []string{no.text + " (req-zzzzz)"}})
	case err != nil:
		answer(w, http.StatusUnprocessableEntity, map[string]any{"errors": []string{err.Error()}})
	default:
		answer(w, http.StatusOK, out)
	}
}

func answer(w http.ResponseWriter, status int, out any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who has gone does not matter
}

func (s *Server) handle(r *http.Request, body []byte) (any, error) {
	if int64(len(body)) > s.opt.MaxRequestSize {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "request body is too large"}
	}
	c := &call{method: r.Method, params: make(map[string]json.RawMessage)}
	if err := c.read(r, body); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/arvados/v1/"), "/"), "/")
	s.requests[c.method+" "+path[0]]++
	s.bytesIn += int64(len(body))
	switch {
	case r.URL.Path == "/discovery/v1/apis/arvados/v1/rest":
		return s.discovery(), nil
	case path[0] == "config":
		return s.publicConfig(), nil
	}
	c.token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if c.user = s.tokens[c.token]; c.user == nil {
		return nil, &refusal{http.StatusUnauthorized, "Not logged in"}
	}
	switch path[0] {
	case "users":
		return s.serveUsers(c, path[1:])
	case "groups":
		return s.serveGroups(c, path[1:])
	case "collections":
		return s.serveCollections(c, path[1:])
	case "logs":
		return s.list(c, slices.Clone(s.logs))
	}
	return nil, errNotFound
}

// read takes the parameters from wherever they are.
func (c *call) read(r *http.Request, body []byte) error {
	form := r.URL.Query()
	mime := r.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(mime, "application/x-www-form-urlencoded"):
		more, err := url.ParseQuery(string(body))
		if err != nil {
			return bad("form: %v", err)
		}
		maps.Copy(form, more)
	case len(body) > 0:
		if err := json.Unmarshal(body, &c.params); err != nil {
			return bad("JSON: %v", err)
		}
	}
	for name := range form {
		text := form.Get(name)
		if name == "_method" {
			c.method = text
			continue
		}
		if json.Valid([]byte(text)) && (strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") || text == "true" || text == "false" || isNumber(text)) {
			c.params[name] = json.RawMessage(text)
			continue
		}
		c.params[name], _ = json.Marshal(text)
	}
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

func (c *call) flag(name string) bool {
	v := string(bytes.Trim(c.params[name], `"`))
	return v != "" && v != "0" && v != "false" && v != "null"
}

func (c *call) decode(name string, out any) error {
	if len(c.params[name]) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.params[name], out); err != nil {
		return bad("parameter %s: %v", name, err)
	}
	return nil
}

// selected returns a record with what was asked for of it.
func (c *call) selected(record map[string]any) (map[string]any, error) {
	var fields []string
	if err := c.decode("select", &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return record, nil
	}
	out := map[string]any{"kind": record["kind"], "etag": ""}
	for _, f := range fields {
		v, ok := record[f]
		if !ok {
			return nil, bad("Invalid attribute(s): %q", f)
		}
		out[f] = v
	}
	return out, nil
}

// list answers a list of records.
func (s *Server) list(c *call, records []map[string]any) (any, error) {
	var filters [][]json.RawMessage
	limit := 100
	var order string
	if err := errors.Join(c.decode("filters", &filters), c.decode("limit", &limit), c.decode("order", &order)); err != nil {
		return nil, err
	}
	limit = min(limit, 1000)
	items := []map[string]any{}
	for _, r := range records {
		ok, err := matches(r, filters)
		if err != nil {
			return nil, err
		}
		if ok {
			items = append(items, r)
		}
	}
	field, direction, _ := strings.Cut(order, " ")
	if field == "" {
		field, direction = "modified_at", "desc"
	}
	slices.SortStableFunc(items, func(a, b map[string]any) int {
		d := 0
		switch x := a[field].(type) {
		case string:
			y, _ := b[field].(string)
			d = strings.Compare(x, y)
		case int64:
			y, _ := b[field].(int64)
			d = int(x - y)
		case int:
			y, _ := b[field].(int)
			d = x - y
		}
		if direction == "desc" {
			return -d
		}
		return d
	})
	out := map[string]any{"kind": "arvados#objectList", "offset": 0, "limit": limit, "items_available": len(items)}
	items = items[:min(len(items), limit)]
	for i := range items {
		var err error
		if items[i], err = c.selected(items[i]); err != nil {
			return nil, err
		}
	}
	if string(c.params["count"]) == `"none"` {
		delete(out, "items_available")
	}
	out["items"] = items
	return out, nil
}

func (s *Server) discovery() any {
	d := map[string]any{
		"uuidPrefix": cluster, "defaultCollectionReplication": 1, "blobSignatureTtl": 1209600, "maxRequestSize": s.opt.MaxRequestSize,
		"maxItemsPerResponse": 1000, "revision": "20250402",
		"resources": map[string]any{"groups": map[string]any{"methods": map[string]any{"contents": struct{}{}, "shared": struct{}{}, "trash": struct{}{}, "untrash": struct{}{}}}},
	}
	if !s.opt.NoWebsocket {
		d["websocketUrl"] = "ws" + strings.TrimPrefix(s.URL, "http") + "/websocket"
	}
	if s.opt.KeepUUIDs {
		d["keepdav"] = map[string]any{}
	}
	return d
}

func (s *Server) publicConfig() any {
	return map[string]any{
		"ClusterID": cluster,
		"Collections": map[string]any{
			"BlobSigning": !s.opt.NoSigning, "CollectionVersioning": !s.opt.NoVersioning, "PreserveVersionIfIdle": "10s", "ForwardSlashNameSubstitution": s.opt.SlashName,
		},
		"Users": map[string]any{"AnonymousUserToken": ""},
	}
}
