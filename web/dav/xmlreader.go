package dav

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An xmlReader reads one document with namespaces, within the limits above and
// without anything that makes a document more than its text.
type xmlReader struct {
	body  *cappedReader
	dec   *xml.Decoder
	elems []xmlElem
	ns    []xmlBinding
}

type xmlElem struct {
	raw  xml.Name // prefix and local name, to match the end tag
	name Name
	lang string
	nns  int // bindings in scope before this element
}

type xmlBinding struct{ prefix, space string }

func newXMLReader(body io.Reader) *xmlReader {
	c := &cappedReader{r: body, left: maxXMLBody}
	return &xmlReader{body: c, dec: xml.NewDecoder(c)}
}

// A cappedReader fails, rather than ends, after left bytes.
type cappedReader struct {
	r    io.Reader
	left int64
	err  error // that it failed with
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

func (c *cappedReader) read(p []byte) (int, error) {
	if c.left <= 0 {
		// The body may end exactly here.
		var one [1]byte
		if n, err := c.r.Read(one[:]); n == 0 && err == io.EOF {
			return 0, io.EOF
		}
		return 0, errXMLSize
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}

// root reads up to the document's first element. io.EOF means an empty body.
func (d *xmlReader) root() (Name, error) {
	first := true // the declaration, if any, comes now
	for {
		tok, err := d.dec.RawToken()
		if err == io.EOF {
			return Name{}, io.EOF
		}
		if err != nil {
			return Name{}, d.failure()
		}
		switch t := tok.(type) {
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return Name{}, errXMLUnsafe
			}
			first = false
		case xml.Directive:
			return Name{}, errXMLUnsafe
		case xml.CharData:
			if len(bytes.Trim(t, " \t\r\n\ufeff")) > 0 {
				return Name{}, errXML
			}
			first = first && string(t) == "\ufeff"
		case xml.Comment:
			first = false
		case xml.StartElement:
			if err := d.push(t); err != nil {
				return Name{}, err
			}
			return d.top().name, nil
		case xml.EndElement:
			return Name{}, errXML
		}
	}
}

// end checks that nothing but space and comments follows the root element.
func (d *xmlReader) end() error {
	for {
		tok, err := d.dec.RawToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return d.failure()
		}
		switch t := tok.(type) {
		case xml.Comment:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errXML
			}
		default:
			return errXML
		}
	}
}

// next is the next token inside the root element; a start element is already
// pushed, an end element already popped.
func (d *xmlReader) next() (xml.Token, error) {
	tok, err := d.dec.RawToken()
	if err != nil {
		return nil, d.failure()
	}
	switch t := tok.(type) {
	case xml.ProcInst, xml.Directive:
		return nil, errXMLUnsafe
	case xml.StartElement:
		return t, d.push(t)
	case xml.EndElement:
		if d.top().raw != t.Name {
			return nil, errXML
		}
		d.ns = d.ns[:d.top().nns]
		d.elems = d.elems[:len(d.elems)-1]
	}
	return tok, nil
}

// failure says why there is no next token: the body failed, or what it has is not
// XML, or in a version or encoding that is not read.
func (d *xmlReader) failure() error {
	if d.body.err != nil {
		return d.body.err
	}
	return errXML
}

func (d *xmlReader) top() *xmlElem { return &d.elems[len(d.elems)-1] }

func (d *xmlReader) push(t xml.StartElement) error {
	if len(d.elems) == maxXMLDepth {
		return errXML
	}
	if len(t.Attr) > maxXMLAttrs {
		return errXMLSize
	}
	e := xmlElem{raw: t.Name, nns: len(d.ns)}
	if len(d.elems) > 0 {
		e.lang = d.top().lang
	}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns":
			// A prefix cannot be undeclared, nor stand for what xml and xmlns do.
			if a.Value == "" || reservedNS(a.Value) || a.Name.Local == "xmlns" {
				return errXML
			}
			d.ns = append(d.ns, xmlBinding{a.Name.Local, a.Value})
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			if reservedNS(a.Value) {
				return errXML
			}
			d.ns = append(d.ns, xmlBinding{"", a.Value})
		case a.Name.Space == "xml" && a.Name.Local == "lang":
			e.lang = a.Value
		}
	}
	if len(d.ns) > maxBindings {
		return errXMLSize
	}
	space, ok := d.resolve(t.Name.Space)
	if !ok || t.Name.Space == "xml" {
		return errXML
	}
	e.name = Name{space, t.Name.Local}
	if !isNCName(t.Name.Local) {
		return errXML
	}
	// The decoder leaves these to its caller. What is stored is shown in listings,
	// and a reader stricter than this one would refuse the whole of them.
	seen := make(map[Name]bool, len(t.Attr))
	for _, a := range t.Attr {
		n := Name{a.Name.Space, a.Name.Local}
		if n.Space != "" && n.Space != "xmlns" {
			if n.Space, ok = d.resolve(n.Space); !ok {
				return errXML
			}
		}
		if seen[n] || !isNCName(n.Local) {
			return errXML
		}
		seen[n] = true
	}
	d.elems = append(d.elems, e)
	return nil
}

// isNCName reports whether s, which the decoder took for a name or the part of one
// after a colon, is a name without a colon.
func isNCName(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return (r == '_' || unicode.In(r, unicode.L, unicode.Nl)) && !strings.Contains(s, ":")
}

func reservedNS(space string) bool {
	return space == nsXML || space == "http://www.w3.org/2000/xmlns/"
}

// resolve finds the namespace that prefix stands for.
func (d *xmlReader) resolve(prefix string) (string, bool) {
	return lookupNS(d.ns, prefix)
}

func lookupNS(ns []xmlBinding, prefix string) (string, bool) {
	if prefix == "xml" {
		return nsXML, true
	}
	for i := len(ns) - 1; i >= 0; i-- {
		if ns[i].prefix == prefix {
			return ns[i].space, true
		}
	}
	return "", prefix == ""
}

// lang is the language in scope of the current element.
func (d *xmlReader) lang() string { return d.top().lang }

// children calls f for each child element of the current one; f has to consume
// it. Text between the children is ignored.
func (d *xmlReader) children(f func(Name) error) error {
	depth := len(d.elems)
	for {
		tok, err := d.next()
		if err != nil {
			return err
		}
		switch tok.(type) {
		case xml.StartElement:
			if err := f(d.top().name); err != nil {
				return err
			}
		case xml.EndElement:
			if len(d.elems) < depth {
				return nil
			}
		}
	}
}

// skip consumes the rest of the current element.
func (d *xmlReader) skip() error {
	depth := len(d.elems)
	for {
		tok, err := d.next()
		if err != nil {
			return err
		}
		if _, ok := tok.(xml.EndElement); ok && len(d.elems) < depth {
			return nil
		}
	}
}

// inner consumes the current element and returns its content: the same names,
// attributes and text, with each namespace declared where it is first used, so
// that the result means the same wherever it is pasted.
func (d *xmlReader) inner() ([]byte, error) {
	depth := len(d.elems)
	var out []byte
	var declared []xmlBinding // in the output
	var scopes []int          // len(declared) before each open element
	for {
		tok, err := d.next()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			scopes = append(scopes, len(declared))
			out = append(out, '<')
			out = appendQName(out, t.Name)
			declare := func(prefix string) {
				space, _ := d.resolve(prefix)
				if have, ok := lookupNS(declared, prefix); prefix == "xml" || ok && have == space {
					return
				}
				declared = append(declared, xmlBinding{prefix, space})
				out = append(out, " xmlns"...)
				if prefix != "" {
					out = append(append(out, ':'), prefix...)
				}
				out = append(appendXMLAttr(append(out, `="`...), space), '"')
			}
			declare(t.Name.Space)
			for _, a := range t.Attr {
				if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
					continue
				}
				if a.Name.Space != "" {
					declare(a.Name.Space)
				}
				out = append(out, ' ')
				out = appendQName(out, a.Name)
				out = append(appendXMLAttr(append(out, `="`...), a.Value), '"')
			}
			out = append(out, '>')
		case xml.EndElement:
			if len(d.elems) < depth {
				return out, nil
			}
			out = append(out, "</"...)
			out = append(appendQName(out, t.Name), '>')
			declared = declared[:scopes[len(scopes)-1]]
			scopes = scopes[:len(scopes)-1]
		case xml.CharData:
			out = appendXMLText(out, string(t))
		case xml.Comment:
			out = append(append(append(out, "<!--"...), t...), "-->"...)
		}
		// Each pasted declaration can be longer than what it stands for; a body
		// must not grow by being stored.
		if len(out) > 4*maxXMLBody {
			return nil, errXMLSize
		}
	}
}

func appendQName(b []byte, n xml.Name) []byte {
	if n.Space != "" {
		b = append(append(b, n.Space...), ':')
	}
	return append(b, n.Local...)
}
