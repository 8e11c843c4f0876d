package control

import (
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// What goes over the control socket, and what --json prints, is JSON, whose
// strings cannot hold the bytes of every name. A field X that may be any bytes,
// a string or a list of them, has a field XBytes beside it, which is set when X
// is not UTF-8; X is then only like the name. What has no such field and is not
// UTF-8 is refused, so that nothing arrives as something else.

// Marshal is v as JSON, to the byte.
func Marshal(v any) ([]byte, error) {
	if v == nil {
		return json.Marshal(v)
	}
	p := reflect.New(reflect.TypeOf(v)).Elem()
	p.Set(reflect.ValueOf(v))
	if err := eachText(p, noteBytes); err != nil {
		return nil, err
	}
	return json.Marshal(p.Interface())
}

// Unmarshal undoes Marshal. v is a pointer.
func Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	return eachText(reflect.ValueOf(v), takeBytes)
}

// eachText calls f for the strings and lists of strings in the fields of v, with
// the field for their bytes, which is no valid value where there is none.
func eachText(v reflect.Value, f func(name string, text, bytes reflect.Value) error) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return eachText(v.Elem(), f)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := eachText(v.Index(i), f); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if !field.IsExported() {
				continue
			}
			visit := eachText(value, f)
			if isText(field.Type) {
				visit = f(field.Name, value, v.FieldByName(field.Name+"Bytes"))
			}
			if visit != nil {
				return visit
			}
		}
	}
	return nil
}

func isText(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String
}

func noteBytes(name string, text, bytes reflect.Value) error {
	var exact any
	switch t := text.Interface().(type) {
	case string:
		if !utf8.ValidString(t) {
			exact = []byte(t)
		}
	case []string:
		all, valid := make([][]byte, len(t)), true
		for i, s := range t {
			all[i] = []byte(s)
			valid = valid && utf8.ValidString(s)
		}
		if !valid {
			exact = all
		}
	default: // of a type for what is never any bytes
		if text.Kind() == reflect.String && !utf8.ValidString(text.String()) {
			return fmt.Errorf("%s is not UTF-8: %q", name, text.String())
		}
	}
	switch {
	case exact == nil:
		return nil
	case !bytes.IsValid():
		return fmt.Errorf("%s is not UTF-8: %q", name, text.Interface())
	}
	bytes.Set(reflect.ValueOf(exact))
	return nil
}

func takeBytes(_ string, text, bytes reflect.Value) error {
	if !bytes.IsValid() || bytes.IsNil() {
		return nil
	}
	switch exact := bytes.Interface().(type) {
	case []byte:
		text.SetString(string(exact))
	case [][]byte:
		all := make([]string, len(exact))
		for i, b := range exact {
			all[i] = string(b)
		}
		text.Set(reflect.ValueOf(all))
	}
	return nil
}
