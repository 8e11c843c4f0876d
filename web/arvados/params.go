package arvados

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Params are the parameters of a request, in whatever form they came: the query,
// a form, whose values are JSON text where they are no strings, or a JSON body.
type Params map[string]Param

// A Param is the value of a parameter.
type Param struct {
	raw  json.RawMessage // from a JSON body
	text string          // from a query or a form, if raw is nil
}

// maxParts is how many parameters a request may have.
const maxParts = 1000

// Has reports whether a parameter was given and is not null.
func (p Params) Has(name string) bool {
	v, ok := p[name]
	return ok && !v.null()
}

// null reports whether a value says that there is none: null, or no text at all.
func (v Param) null() bool {
	if v.raw != nil {
		return string(v.raw) == "null"
	}
	return v.text == "" || v.text == "null"
}

// String returns a parameter as a string, "" if it was not given.
func (p Params) String(name string) (string, error) {
	v, ok := p[name]
	switch {
	case !ok:
		return "", nil
	case v.raw == nil:
		return v.text, nil
	case string(v.raw) == "null":
		return "", nil
	}
	var s string
	if err := json.Unmarshal(v.raw, &s); err == nil {
		return s, nil
	}
	switch v.raw[0] {
	case '{', '[':
		return "", unprocessable("parameter %q must be a string", name)
	}
	return string(v.raw), nil // a number or a boolean, as it was written
}

// Bool returns a parameter as a boolean: "", "0", "false" and null are false, all
// else is true.
func (p Params) Bool(name string) bool {
	v, ok := p[name]
	if !ok || v.null() {
		return false
	}
	text := v.text
	if v.raw != nil {
		text = strings.Trim(string(v.raw), `"`)
	}
	switch text {
	case "", "0", "false":
		return false
	}
	return true
}

// Int returns a parameter as an integer, or what it is without.
func (p Params) Int(name string, without int) (int, error) {
	if !p.Has(name) {
		return without, nil
	}
	s, err := p.String(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0, unprocessable("parameter %q must be an integer", name)
	}
	return n, nil
}

// JSON decodes a parameter into dst, which is left alone if none was given. A
// string that is JSON text counts as that.
func (p Params) JSON(name string, dst any) error {
	text := p.Text(name)
	if text == nil {
		return nil
	}
	if err := checkValues(text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, dst); err != nil {
		return unprocessable("parameter %q has not the form that it should have", name)
	}
	return nil
}

// maxValues is how many values a JSON text may have: each takes some hundred bytes of
// memory, however short it is. The longest texts have few, which are long.
const maxValues = maxReplacements + 100_000

// checkValues refuses a JSON text that has too many values, without decoding it.
func checkValues(text []byte) error {
	if len(text) < maxValues || valuesOf(text) <= maxValues {
		return nil
	}
	return &Error{Status: http.StatusRequestEntityTooLarge, Text: fmt.Sprintf("the request has more than %d values", maxValues)}
}

// valuesOf is about how many values a JSON text has.
func valuesOf(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// Text returns the JSON text of a parameter, nil if none was given.
func (p Params) Text(name string) []byte {
	if !p.Has(name) {
		return nil
	}
	v := p[name]
	if v.raw == nil {
		return []byte(v.text)
	}
	if v.raw[0] == '"' {
		var s string
		if json.Unmarshal(v.raw, &s) == nil && len(s) > 0 && (s[0] == '{' || s[0] == '[') {
			return []byte(s)
		}
	}
	return v.raw
}

// Attrs returns the attributes of the record that a request brings: those under
// its name, else those that a JSON body has among its parameters. strict says that
// each of them is meant to be one.
func (req *Request) Attrs() (attrs map[string]json.RawMessage, strict bool, err error) {
	name := req.endpoint.Record
	if req.Params.Has(name) {
		err := req.Params.JSON(name, &attrs)
		return attrs, true, err
	}
	attrs = make(map[string]json.RawMessage)
	for k, v := range req.Params {
		if v.raw != nil {
			attrs[k] = v.raw
		}
	}
	return attrs, false, nil
}

// readParams reads the parameters and the method of a request.
func (req *Request) readParams() error {
	req.Params = make(Params)
	query, err := url.ParseQuery(req.HTTP.URL.RawQuery)
	if err != nil {
		return badRequest("the query of the URL is malformed")
	}
	if err := req.Params.addForm(query); err != nil {
		return err
	}
	if err := req.readBody(); err != nil {
		return err
	}
	req.readMethod()
	return nil
}

func (p Params) addForm(form url.Values) error {
	for k, values := range form {
		if len(values) == 0 {
			continue
		}
		// Lists may come as k[]=a&k[]=b.
		if name, ok := strings.CutSuffix(k, "[]"); ok {
			list, err := json.Marshal(values)
			if err != nil {
				return err
			}
			k, values = name, []string{string(list)}
		}
		p[k] = Param{text: values[len(values)-1]}
	}
	if len(p) > maxParts {
		return badRequest("more than %d parameters", maxParts)
	}
	return nil
}

// readBody reads the parameters in the body, which count more than those in the URL.
func (req *Request) readBody() error {
	r := req.HTTP
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	kind, args, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	if strings.HasPrefix(kind, "application/octet-stream") {
		return nil // for the endpoint to read
	}
	body, err := req.slurp()
	if err != nil {
		return err
	}
	switch {
	case kind == "application/x-www-form-urlencoded" && bytes.Count(body, []byte("&")) > maxParts:
		return badRequest("more than %d parameters", maxParts)
	case kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return badRequest("the body is no form")
		}
		return req.Params.addForm(form)
	case kind == "multipart/form-data":
		return req.Params.addParts(multipart.NewReader(bytes.NewReader(body), args["boundary"]))
	}
	if body = bytes.TrimSpace(body); len(body) == 0 {
		return nil
	}
	if kind != "" && kind != "application/json" && body[0] != '{' {
		return &Error{Status: http.StatusUnsupportedMediaType, Text: "the body must be JSON or a form"}
	}
	if err := checkValues(body); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return badRequest("the body is not a JSON object")
	}
	for k, v := range fields {
		req.Params[k] = Param{raw: v}
	}
	return nil
}

// slurp reads the whole body. A long one is read for those only who have shown a
// good token before it, so that nobody else can fill the memory for it.
func (req *Request) slurp() ([]byte, error) {
	r, limit := req.HTTP, req.api.limit
	tooLarge := &Error{Status: http.StatusRequestEntityTooLarge, Text: fmt.Sprintf("the body is longer than %d bytes", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	var longer error = tooLarge
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		switch err := req.admit(); {
		case err != nil && r.ContentLength > 0:
			return nil, err
		case err != nil: // it may be a short one with the token in it
			limit, longer = min(limit, smallBody), err
		default:
			hold := r.ContentLength
			if hold < 0 {
				hold = limit // it may be as long as that
			}
			if err := req.api.bodies.Acquire(r.Context(), hold); err != nil {
				return nil, err
			}
			req.held = hold
		}
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(req.w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, longer
	}
	if err != nil {
		return nil, badRequest("the body ended before its time")
	}
	return buf.Bytes(), nil
}

// admit checks the token that comes before the body.
func (req *Request) admit() error {
	token := req.api.presentedToken(req.HTTP, req.Params)
	if token == "" {
		return notLoggedIn()
	}
	_, err := req.api.conf.Auth.Authenticate(req.HTTP.Context(), token)
	if errors.Is(err, fs.ErrNotExist) {
		err = notLoggedIn()
	}
	return err
}

func (p Params) addParts(parts *multipart.Reader) error {
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil || n > maxParts {
			return badRequest("the body is no form")
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return badRequest("the body is no form")
		}
		if name := part.FormName(); name != "" {
			p[name] = Param{text: string(text)}
		}
	}
}
