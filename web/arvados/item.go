package arvados

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"keepdav/collfs/query"
)

// An Item is a record as it is sent: values by the names of attributes. Values
// are what query.Get may return, and what else JSON can show.
type Item map[string]any

// A Time is sent as RFC 3339 in UTC with nine digits; the zero time is null.
type Time time.Time

// MarshalJSON writes t.
func (t Time) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return time.Time(t).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000000000Z"`), nil
}

// Get is query.Get for items.
func (i Item) Get(attr string) any {
	if t, ok := i[attr].(Time); ok {
		return time.Time(t)
	}
	return i[attr]
}

// WithETag gives the item its etag: a hash of what it says.
func (i Item) WithETag() Item {
	h := md5.New()
	enc := json.NewEncoder(h)
	for _, k := range slices.Sorted(maps.Keys(i)) {
		switch k {
		case "manifest_text", "unsigned_manifest_text", "etag":
			continue
		}
		fmt.Fprint(h, k, "=")
		enc.Encode(i[k]) // what cannot be shown will fail when it is sent
	}
	i["etag"] = new(big.Int).SetBytes(h.Sum(nil)).Text(36)
	return i
}

// Selected returns what of the item a request selects: all, or the attributes
// of its select parameter, and etag and kind.
func (i Item) Selected(attrs []string) Item {
	if attrs == nil {
		return i
	}
	out := Item{"etag": i["etag"], "kind": i["kind"]}
	for _, a := range attrs {
		if v, ok := i[a]; ok {
			out[a] = v
		}
	}
	return out
}

// Select returns the select parameter of a request: nil selects everything.
// known, if it is not nil, has all attributes that there are; another one is refused.
func (req *Request) Select(known query.Attrs) ([]string, error) {
	var attrs []string
	if err := req.Params.JSON("select", &attrs); err != nil {
		return nil, err
	}
	if attrs == nil && req.Params.Has("select") {
		return nil, unprocessable("select must be an array of attributes")
	}
	for _, a := range attrs {
		if known != nil && known[a] == 0 && a != "etag" && a != "kind" {
			return nil, unprocessable("there is no attribute %q to select", a)
		}
	}
	return attrs, nil
}

// Query returns what a list request asks for. attrs are those that it may name.
func (req *Request) Query(attrs query.Attrs) (query.Query, error) {
	q := query.Query{Distinct: req.Params.Bool("distinct")}
	var err error
	if text := req.Params.Text("filters"); text != nil {
		if err := checkValues(text); err != nil {
			return q, err
		}
		if q.Filters, err = query.ReadFilters(text, attrs); err != nil {
			return q, err
		}
	}
	if text := req.Params.Text("where"); text != nil {
		return q, unprocessable("where is not supported: use filters")
	}
	if text := req.Params.Text("order"); text != nil {
		order := string(text)
		if text[0] == '"' {
			if order, err = req.Params.String("order"); err != nil {
				return q, err
			}
		}
		if q.Order, err = query.ReadOrder(order, attrs); err != nil {
			return q, err
		}
	}
	if q.Limit, err = req.Params.Int("limit", query.DefaultLimit); err != nil {
		return q, err
	}
	if q.Offset, err = req.Params.Int("offset", 0); err != nil {
		return q, err
	}
	if q.Limit < 0 || q.Offset < 0 {
		return q, unprocessable("limit and offset must not be negative")
	}
	q.Limit = min(q.Limit, query.MaxLimit)
	count, err := req.Params.String("count")
	switch {
	case err != nil:
		return q, err
	case count == "" || count == "exact":
		q.Count = true
	case count != "none":
		return q, unprocessable("count must be exact or none")
	}
	return q, nil
}

// A List is the answer to a list request.
type List struct {
	Kind      string // such as "arvados#collectionList"
	Items     []Item // selected
	Query     query.Query
	Available int // how many there are in all, if the query counts them
}

// Body returns what is sent.
func (l List) Body() map[string]any {
	if l.Items == nil {
		l.Items = []Item{}
	}
	body := map[string]any{"kind": l.Kind, "items": l.Items, "offset": l.Query.Offset, "limit": l.Query.Limit}
	if l.Query.Count {
		body["items_available"] = l.Available
	}
	return body
}

// ListOf answers a list request from records that are all in memory.
func (req *Request) ListOf(kind string, attrs query.Attrs, items []Item) (any, error) {
	q, err := req.Query(attrs)
	if err != nil {
		return nil, err
	}
	selected, err := req.Select(attrs)
	if err != nil {
		return nil, err
	}
	if q.Order == nil {
		q.Order = []query.Order{{Attr: "modified_at", Desc: true}, {Attr: "uuid"}}
	}
	whole := q
	if q.Distinct { // the page is cut after equal ones are gone
		whole.Offset, whole.Limit = 0, len(items)
	}
	page, n := query.Run(whole, items, Item.Get)
	for i := range page {
		page[i] = page[i].Selected(selected)
	}
	if q.Distinct {
		page = distinct(page)
		n = len(page)
		page = page[min(q.Offset, n):]
		page = page[:min(q.Limit, len(page))]
	}
	return List{Kind: kind, Items: page, Query: q, Available: n}.Body(), nil
}

// distinct leaves out items that say the same as one before, whatever their etag is.
func distinct(items []Item) []Item {
	seen := make(map[string]bool)
	return slices.DeleteFunc(items, func(i Item) bool {
		c := maps.Clone(i)
		delete(c, "etag")
		text, err := json.Marshal(c)
		if err != nil || !seen[string(text)] {
			seen[string(text)] = true
			return false
		}
		return true
	})
}
