package query

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// A Get returns the value of a record's attribute: nil, a string, a number
// (int, int64, float64), a bool, a time.Time (zero: null), a []string, or a
// map[string]any or json.RawMessage for an object.
type Get[T any] func(record T, attr string) any

// Run returns the records that q selects, in its order and cut to its page, and
// how many there are without the cut. It leaves Distinct to the caller.
func Run[T any](q Query, records []T, get Get[T]) (page []T, available int) {
	var found []T
	for _, r := range records {
		if q.Match(func(attr string) any { return get(r, attr) }) {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b T) int {
		for _, o := range q.Order {
			c := compare(plain(get(a, o.Attr)), plain(get(b, o.Attr)))
			if o.Desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	available = len(found)
	found = found[min(max(q.Offset, 0), available):]
	return found[:min(max(q.Limit, 0), len(found))], available
}

// Match reports whether all filters hold for a record.
func (q Query) Match(get func(attr string) any) bool {
	for _, f := range q.Filters {
		if !f.Match(get(f.Attr)) {
			return false
		}
	}
	return true
}

// Match reports whether f holds for a value of its attribute.
func (f Filter) Match(v any) bool {
	v = plain(v)
	if f.Type == Object {
		m, _ := v.(map[string]any)
		if f.Key == "" { // only compared with null
			return (m == nil) == (f.Op == Equal)
		}
		member, there := m[f.Key]
		if f.Op == Exists {
			return there == (f.Operand == true)
		}
		v = member
	}
	switch f.Op {
	case Equal:
		return equal(v, plain(f.Operand))
	case NotEqual:
		return !equal(v, plain(f.Operand))
	case Like, ILike:
		s, ok := v.(string)
		pattern, _ := f.Operand.(string)
		if f.Op == ILike {
			s, pattern = strings.ToLower(s), strings.ToLower(pattern)
		}
		return ok && like(s, pattern)
	case In, NotIn:
		list, _ := f.Operand.([]any)
		return slices.ContainsFunc(list, func(o any) bool { return equal(v, plain(o)) }) == (f.Op == In)
	case IsA:
		s, _ := v.(string)
		list, _ := f.Operand.([]any)
		return slices.ContainsFunc(list, func(o any) bool { k, _ := o.(string); return KindOf(s) == k && k != "" })
	case Contains:
		if list, ok := v.([]any); ok {
			return slices.ContainsFunc(list, func(e any) bool { return equal(plain(e), plain(f.Operand)) })
		}
		return v != nil && equal(v, plain(f.Operand))
	}
	if v == nil || f.Operand == nil || !sameType(v, plain(f.Operand)) {
		return false
	}
	c := compare(v, plain(f.Operand))
	switch f.Op {
	case Less:
		return c < 0
	case LessOrEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterOrEqual:
		return c >= 0
	}
	return false
}

// plain reduces a value to nil, string, float64, bool, time.Time, []any or
// map[string]any.
func plain(v any) any {
	switch x := v.(type) {
	case int:
		return float64(x)
	case int64:
		return float64(x)
	case time.Time:
		if x.IsZero() {
			return nil
		}
	case []string:
		list := make([]any, len(x))
		for i, s := range x {
			list[i] = s
		}
		return list
	case json.RawMessage:
		if len(x) == 0 {
			return nil
		}
		var out any
		if json.Unmarshal(x, &out) != nil {
			return nil
		}
		return out
	}
	return v
}

func sameType(a, b any) bool { return rank(a) == rank(b) }

// rank orders values of different types; null comes last.
func rank(v any) int {
	switch v.(type) {
	case bool:
		return 1
	case float64:
		return 2
	case string:
		return 3
	case time.Time:
		return 4
	case nil:
		return 9
	}
	return 5
}

func equal(a, b any) bool {
	ta, oka := a.(time.Time)
	tb, okb := b.(time.Time)
	if oka && okb {
		return ta.Equal(tb)
	}
	switch a.(type) {
	case nil, bool, float64, string:
		switch b.(type) {
		case nil, bool, float64, string:
			return a == b
		}
	}
	return false
}

func compare(a, b any) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch x := a.(type) {
	case bool:
		y := b.(bool)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	case float64:
		return cmp.Compare(x, b.(float64))
	case string:
		return cmp.Compare(x, b.(string))
	case time.Time:
		return x.Compare(b.(time.Time))
	}
	return 0
}

// like matches s with a pattern in which % is any text, _ any character, and a
// backslash takes the next one literally.
func like(s, pattern string) bool {
	t, p := []rune(s), []rune(pattern)
	i, j := 0, 0
	star, mark := -1, 0
	for i < len(t) {
		literal := j+1 < len(p) && p[j] == '\\'
		switch {
		case literal && p[j+1] == t[i]:
			i, j = i+1, j+2
		case j < len(p) && !literal && p[j] == '%':
			star, mark = j, i
			j++
		case j < len(p) && !literal && (p[j] == '_' || p[j] == t[i]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '%' {
		j++
	}
	return j == len(p)
}

// kinds of records by the middle of their UUIDs.
var kinds = map[string]string{
	"4zz18": "arvados#collection", "j7d0g": "arvados#group", "tpzed": "arvados#user", "o0j2j": "arvados#link",
	"57u5n": "arvados#log", "gj3su": "arvados#apiClientAuthorization", "bi6l4": "arvados#keepService",
}

// KindOf returns the kind of what has a UUID, such as "arvados#collection"; "" when
// it is none that is known.
func KindOf(uuid string) string {
	if len(uuid) != 27 {
		return ""
	}
	return kinds[uuid[6:11]]
}

// Infix returns the middle of the UUIDs of a kind, or "".
func Infix(kind string) string {
	for infix, k := range kinds {
		if k == kind {
			return infix
		}
	}
	return ""
}
