package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const timeForm = "2006-01-02T15:04:05.000000000Z"

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeForm)
}

// matches reports whether a record, as it is answered, passes all filters.
func matches(record map[string]any, filters [][]json.RawMessage) (bool, error) {
	for _, f := range filters {
		var attr, op string
		if len(f) != 3 || json.Unmarshal(f[0], &attr) != nil || json.Unmarshal(f[1], &op) != nil {
			return false, &refusal{http.StatusUnprocessableEntity, "invalid filter"}
		}
		ok, err := matchOne(record, attr, strings.ToLower(op), f[2])
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func matchOne(record map[string]any, attr, op string, operand json.RawMessage) (bool, error) {
	if resource, field, ok := strings.Cut(attr, "."); ok {
		if kind, _ := record["kind"].(string); !strings.HasSuffix(kind, strings.TrimSuffix(resource, "s")) {
			return true, nil // of another resource
		}
		attr = field
	}
	value, known := record[attr]
	if !known {
		return false, &refusal{http.StatusUnprocessableEntity, fmt.Sprintf("Invalid attribute '%s' in filter", attr)}
	}
	text := func(v any) string {
		b, _ := json.Marshal(v)
		return string(b)
	}
	var want any
	if err := json.Unmarshal(operand, &want); err != nil {
		return false, &refusal{http.StatusUnprocessableEntity, "invalid operand"}
	}
	switch op {
	case "=":
		return text(value) == text(want), nil
	case "!=":
		return text(value) != text(want), nil
	case "<", "<=", ">", ">=":
		c := compare(value, want)
		return op == "<" && c < 0 || op == "<=" && c <= 0 || op == ">" && c > 0 || op == ">=" && c >= 0, nil
	case "in", "not in":
		list, _ := want.([]any)
		in := slices.ContainsFunc(list, func(x any) bool { return text(x) == text(value) })
		return in == (op == "in"), nil
	case "is_a":
		list, ok := want.([]any)
		if !ok {
			list = []any{want}
		}
		return slices.ContainsFunc(list, func(x any) bool { return x == record["kind"] }), nil
	case "like", "ilike":
		pattern, _ := want.(string)
		re := "^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(pattern)) + "$"
		if op == "ilike" {
			re = "(?i)" + re
		}
		s, _ := value.(string)
		return regexp.MustCompile(re).MatchString(s), nil
	}
	return false, &refusal{http.StatusUnprocessableEntity, "unknown operator " + op}
}

func compare(a, b any) int {
	switch x := a.(type) {
	case string:
		y, _ := b.(string)
		return strings.Compare(x, y)
	case int64:
		y, _ := b.(float64)
		return int(x - int64(y))
	case int:
		y, _ := b.(float64)
		return x - int(y)
	}
	return 0
}
