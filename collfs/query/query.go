// Package query says which records a caller of the API wants to see, and in what
// order: the filters, orders and pages of Arvados' list requests.
//
// Read makes a Query of what came in, checked against the attributes that a
// kind of record has. A catalog turns it into its own language, or Run does it on
// records that are in memory.
package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrInvalid is the failure of a query that nobody could answer. The text of what
// wraps it is for the caller.
var ErrInvalid = errors.New("invalid query")

// A Type is what values of an attribute are.
type Type uint8

// The types. All but Object may be null.
const (
	Text Type = iota + 1
	Number
	Bool
	Time   // RFC 3339; operands are *time.Time in a Filter
	Object // a JSON object; its attributes are named by "attr.key"
	Array  // of strings
)

// Attrs are the attributes that a kind of record can be filtered and ordered by.
type Attrs map[string]Type

// The operators.
const (
	Equal          = "="
	NotEqual       = "!="
	Less           = "<"
	LessOrEqual    = "<="
	Greater        = ">"
	GreaterOrEqual = ">="
	Like           = "like"
	ILike          = "ilike"
	In             = "in"
	NotIn          = "not in"
	IsA            = "is_a"
	Exists         = "exists"
	Contains       = "contains"
)

// A Filter is a condition on one attribute.
type Filter struct {
	Attr string // the attribute
	Key  string // of an Object attribute: of which member the condition is; "" of the whole
	Type Type   // of Attr
	Op   string
	// Operand is nil, a string, a float64, a bool or, for attributes of type Time, a
	// time.Time; for In, NotIn and IsA it is a []any of these.
	Operand any
}

// An Order is what records are sorted by.
type Order struct {
	Attr string
	Desc bool
}

// A Query is a list request.
type Query struct {
	Filters  []Filter // all must hold
	Order    []Order
	Limit    int
	Offset   int
	Distinct bool // no two records that are equal in the selected attributes
	Count    bool // say how many there are in all
}

// Limits of a query. Beyond them it is ErrInvalid, but for the limit, which is cut.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	maxFilters   = 1000
	maxOperands  = 10000
	maxOrders    = 20
)

// ReadFilters reads the JSON of filters: an array of [attribute, operator, operand].
func ReadFilters(text []byte, attrs Attrs) ([]Filter, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("%w: filters must be an array", ErrInvalid)
	}
	if len(raw) > maxFilters {
		return nil, fmt.Errorf("%w: more than %d filters", ErrInvalid, maxFilters)
	}
	filters := make([]Filter, 0, len(raw))
	for i, r := range raw {
		f, err := readFilter(r, attrs)
		if err != nil {
			return nil, fmt.Errorf("%w: filter %d: %s", ErrInvalid, i+1, err)
		}
		filters = append(filters, f)
	}
	return filters, nil
}

func readFilter(text []byte, attrs Attrs) (f Filter, err error) {
	var parts []any
	if json.Unmarshal(text, &parts) != nil || len(parts) != 3 {
		return f, errors.New("must be an array of an attribute, an operator and an operand")
	}
	attr, ok := parts[0].(string)
	if !ok {
		return f, errors.New("its attribute must be a string")
	}
	op, ok := parts[1].(string)
	if !ok {
		return f, errors.New("its operator must be a string")
	}
	f.Attr, f.Op, f.Operand = attr, strings.ToLower(op), parts[2]
	if head, key, dotted := strings.Cut(attr, "."); dotted && attrs[head] == Object {
		f.Attr, f.Key = head, strings.TrimSuffix(strings.TrimPrefix(key, "<"), ">")
		if f.Key == "" {
			return f, fmt.Errorf("%q names no property", attr)
		}
	}
	if f.Type = attrs[f.Attr]; f.Type == 0 {
		return f, fmt.Errorf("there is no attribute %q to filter by", attr)
	}
	return f, f.check()
}

// check says what is wrong with a filter's operand, and gives it its type.
func (f *Filter) check() error {
	switch f.Op {
	case Equal, NotEqual:
		return f.scalar(true)
	case Less, LessOrEqual, Greater, GreaterOrEqual:
		return f.scalar(f.Key != "")
	case Like, ILike:
		if _, ok := f.Operand.(string); !ok || f.Type != Text && f.Key == "" {
			return fmt.Errorf("%s needs an attribute with text and a string", f.Op)
		}
		return nil
	case In, NotIn:
		return f.list()
	case IsA:
		return f.isA()
	case Exists:
		return f.exists()
	case Contains:
		return f.contains()
	}
	return fmt.Errorf("there is no operator %q", f.Op)
}

// value gives an operand the attribute's type.
func (f *Filter) value(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if f.Key != "" {
		switch v.(type) {
		case string, float64, bool:
			return v, nil
		}
		return nil, fmt.Errorf("a property cannot be compared with %T", v)
	}
	switch x := v.(type) {
	case string:
		switch f.Type {
		case Text:
			return x, nil
		case Time:
			return readTime(x)
		case Number: // in a string, as some clients write it
			if n, err := strconv.ParseInt(x, 10, 64); err == nil {
				return float64(n), nil
			}
		}
	case float64:
		if f.Type == Number {
			return x, nil
		}
	case bool:
		if f.Type == Bool {
			return x, nil
		}
	}
	return nil, fmt.Errorf("attribute %q cannot be compared with %T", f.Attr, v)
}

// timeForms are how clients write times.
var timeForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02"}

func readTime(s string) (time.Time, error) {
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("a time must be as RFC 3339 says")
}

func (f *Filter) scalar(null bool) (err error) {
	if f.Operand == nil && !null {
		return fmt.Errorf("%s needs an operand that is not null", f.Op)
	}
	if f.Operand, err = f.value(f.Operand); err != nil {
		return err
	}
	if f.Key == "" && f.Type == Array && f.Operand != nil {
		return fmt.Errorf("attribute %q can be asked with contains only", f.Attr)
	}
	return nil
}

func (f *Filter) operands() ([]any, error) {
	list, ok := f.Operand.([]any)
	if !ok {
		return nil, fmt.Errorf("%s needs an array", f.Op)
	}
	if len(list) > maxOperands {
		return nil, fmt.Errorf("more than %d operands", maxOperands)
	}
	return list, nil
}

func (f *Filter) list() error {
	list, err := f.operands()
	if err != nil {
		return err
	}
	out := make([]any, len(list))
	for i, v := range list {
		if out[i], err = f.value(v); err != nil {
			return err
		}
	}
	f.Operand = out
	return nil
}

func (f *Filter) isA() error {
	if f.Type != Text || f.Key != "" {
		return errors.New("is_a needs an attribute with a uuid")
	}
	if s, ok := f.Operand.(string); ok {
		f.Operand = []any{s}
	}
	list, err := f.operands()
	if err == nil && slices.ContainsFunc(list, func(v any) bool { _, ok := v.(string); return !ok }) {
		err = errors.New("is_a needs names of kinds")
	}
	return err
}

// exists reads ["properties", "exists", "key"], ["properties", "exists", ["key", …]]
// and ["properties.key", "exists", true].
func (f *Filter) exists() error {
	if f.Type != Object {
		return errors.New("exists needs an attribute with properties")
	}
	switch v := f.Operand.(type) {
	case bool:
		if f.Key != "" {
			return nil
		}
	case string:
		if f.Key == "" {
			f.Key, f.Operand = v, true
			return nil
		}
	}
	return errors.New("exists needs a property and true or false")
}

func (f *Filter) contains() error {
	switch {
	case f.Type == Object && f.Key != "":
		var err error
		f.Operand, err = f.value(f.Operand)
		return err
	case f.Type == Array:
		if _, ok := f.Operand.(string); ok {
			return nil
		}
		return errors.New("contains needs a string")
	case f.Type == Object:
		// An object with one member is the question after that member.
		if m, ok := f.Operand.(map[string]any); ok && len(m) == 1 {
			for k, v := range m {
				f.Key, f.Operand = k, v
			}
			return f.contains()
		}
		if s, ok := f.Operand.(string); ok {
			f.Key, f.Op, f.Operand = s, Exists, true
			return nil
		}
	}
	return errors.New("contains needs a property and a value, or an attribute with a list")
}

// ReadOrder reads an order: "attr", "attr desc, attr asc" or a JSON array of such.
func ReadOrder(text string, attrs Attrs) ([]Order, error) {
	list := []string{text}
	if t := strings.TrimSpace(text); strings.HasPrefix(t, "[") || strings.HasPrefix(t, `"`) {
		var one string
		if err := json.Unmarshal([]byte(t), &list); err != nil {
			if json.Unmarshal([]byte(t), &one) != nil {
				return nil, fmt.Errorf("%w: order must be a string or an array of strings", ErrInvalid)
			}
			list = []string{one}
		}
	}
	var orders []Order
	for _, item := range list {
		for part := range strings.SplitSeq(item, ",") {
			words := strings.Fields(part)
			if len(words) == 0 {
				continue
			}
			o := Order{Attr: words[0]}
			if _, attr, dotted := strings.Cut(o.Attr, "."); dotted { // of Rails: with the table's name
				o.Attr = attr
			}
			if len(words) == 2 && strings.EqualFold(words[1], "desc") {
				o.Desc = true
			} else if len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "asc") {
				return nil, fmt.Errorf("%w: order %q", ErrInvalid, part)
			}
			if t := attrs[o.Attr]; t == 0 || t == Object || t == Array {
				return nil, fmt.Errorf("%w: there is no attribute %q to order by", ErrInvalid, o.Attr)
			}
			if orders = append(orders, o); len(orders) > maxOrders {
				return nil, fmt.Errorf("%w: more than %d orders", ErrInvalid, maxOrders)
			}
		}
	}
	return orders, nil
}
