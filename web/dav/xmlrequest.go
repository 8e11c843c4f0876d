package dav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Name is an expanded XML name.
type Name struct{ Space, Local string }

// Limits on request bodies. They are far above what clients send.
const (
	maxXMLBody  = 1 << 20
	maxXMLDepth = 100
	maxXMLProps = 1000
	maxXMLNames = 32 << 10 // bytes of all names: each is repeated for each resource
	maxOwnerXML = 8 << 10
)

var (
	errXML       = errors.New("the request body is not valid XML for this method")
	errXMLUnsafe = errors.New("document types, entities and processing instructions are refused")
	errXMLSize   = errors.New("the request body is too large")
)

// PropfindKind is what a PROPFIND asks for.
type PropfindKind int8

// The kinds of PROPFIND.
const (
	AllProp PropfindKind = iota
	PropName
	PropNamed
)

// A Propfind is a parsed PROPFIND body. Names are those of <prop>, or of
// <include> beside <allprop>.
type Propfind struct {
	Kind  PropfindKind
	Names []Name
}

// A Patch is one instruction of a PROPPATCH: set a property to Inner, or remove
// it. Inner is the content of the property's element in a form that is complete
// in itself: every prefix used in it is declared in it.
type Patch struct {
	Remove bool
	Name   Name
	Lang   string
	Inner  []byte
}

// A LockInfo is a parsed LOCK body.
type LockInfo struct {
	Shared bool
	Owner  []byte // content of <owner>, complete in itself
}

// ParsePropfind reads a PROPFIND body; an empty one means allprop.
func ParsePropfind(body io.Reader) (Propfind, error) {
	d := newXMLReader(body)
	root, err := d.root()
	if err == io.EOF {
		return Propfind{Kind: AllProp}, nil
	}
	if err != nil {
		return Propfind{}, err
	}
	if root != davName("propfind") {
		return Propfind{}, errXML
	}
	var pf Propfind
	kinds, include := 0, false
	err = d.children(func(n Name) error {
		switch n {
		case davName("allprop"):
			pf.Kind = AllProp
			kinds++
		case davName("propname"):
			pf.Kind = PropName
			kinds++
		case davName("prop"):
			pf.Kind = PropNamed
			kinds++
			return d.names(&pf.Names)
		case davName("include"):
			include = true
			return d.names(&pf.Names)
		}
		return d.skip()
	})
	if err != nil {
		return Propfind{}, err
	}
	if kinds != 1 || (include && pf.Kind != AllProp) {
		return Propfind{}, errXML
	}
	return pf, d.end()
}

// names reads the names of the child elements of the current element.
func (d *xmlReader) names(names *[]Name) error {
	total := 0
	return d.children(func(n Name) error {
		total += len(n.Space) + len(n.Local)
		if len(*names) == maxXMLProps || total > maxXMLNames {
			return errXMLSize
		}
		*names = append(*names, n)
		return d.skip()
	})
}

// ParseProppatch reads a PROPPATCH body into its instructions, in order.
func ParseProppatch(body io.Reader) ([]Patch, error) {
	d := newXMLReader(body)
	root, err := d.root()
	if err == io.EOF {
		return nil, errXML
	}
	if err != nil {
		return nil, err
	}
	if root != davName("propertyupdate") {
		return nil, errXML
	}
	var patches []Patch
	err = d.children(func(n Name) error {
		remove := n == davName("remove")
		if !remove && n != davName("set") {
			return d.skip()
		}
		return d.children(func(n Name) error {
			if n != davName("prop") {
				return d.skip()
			}
			return d.children(func(n Name) error {
				if len(patches) == maxXMLProps {
					return errXMLSize
				}
				p := Patch{Remove: remove, Name: n}
				if remove {
					patches = append(patches, p)
					return d.skip()
				}
				p.Lang = d.lang()
				var err error
				p.Inner, err = d.inner()
				patches = append(patches, p)
				return err
			})
		})
	})
	if err != nil {
		return nil, err
	}
	if len(patches) == 0 {
		return nil, errXML
	}
	return patches, d.end()
}

// ParseLockInfo reads a LOCK body. An empty one, which asks for a refresh,
// gives nil.
func ParseLockInfo(body io.Reader) (*LockInfo, error) {
	d := newXMLReader(body)
	root, err := d.root()
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if root != davName("lockinfo") {
		return nil, errXML
	}
	li := new(LockInfo)
	scopes, types := 0, 0
	err = d.children(func(n Name) error {
		switch n {
		case davName("lockscope"):
			return d.children(func(n Name) error {
				switch n {
				case davName("exclusive"):
					scopes++
				case davName("shared"):
					scopes++
					li.Shared = true
				}
				return d.skip()
			})
		case davName("locktype"):
			return d.children(func(n Name) error {
				if n == davName("write") {
					types++
				}
				return d.skip()
			})
		case davName("owner"):
			var err error
			if li.Owner, err = d.inner(); err == nil && len(li.Owner) > maxOwnerXML {
				err = errXMLSize
			}
			return err
		}
		return d.skip()
	})
	if err != nil {
		return nil, err
	}
	if scopes != 1 || types != 1 {
		return nil, errXML
	}
	return li, d.end()
}

const nsXML = "http://www.w3.org/XML/1998/namespace" // of the prefix xml

func davName(local string) Name { return Name{"DAV:", local} }

// An xmlReader reads one document with namespaces, within the limits above and
// without anything that makes a document more than its text.
type xmlReader struct {
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
	return &xmlReader{dec: xml.NewDecoder(&cappedReader{r: body, left: maxXMLBody})}
}

// A cappedReader fails, rather than ends, after left bytes.
type cappedReader struct {
	r    io.Reader
	left int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
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
	for first := true; ; first = false {
		tok, err := d.dec.RawToken()
		if err == io.EOF {
			return Name{}, io.EOF
		}
		if err != nil {
			return Name{}, d.wrap(err)
		}
		switch t := tok.(type) {
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return Name{}, errXMLUnsafe
			}
		case xml.Directive:
			return Name{}, errXMLUnsafe
		case xml.CharData:
			if len(bytes.Trim(t, " \t\r\n\ufeff")) > 0 {
				return Name{}, errXML
			}
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
			return d.wrap(err)
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
		return nil, d.wrap(err)
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

// wrap turns a syntax error into errXML and leaves errors of the body alone.
func (d *xmlReader) wrap(err error) error {
	var syn *xml.SyntaxError
	if err == io.EOF || errors.As(err, &syn) {
		return errXML
	}
	if errors.Is(err, errXMLSize) {
		return errXMLSize
	}
	if strings.HasPrefix(err.Error(), "xml: encoding") {
		return errXML // a declared encoding other than UTF-8
	}
	return err
}

func (d *xmlReader) top() *xmlElem { return &d.elems[len(d.elems)-1] }

func (d *xmlReader) push(t xml.StartElement) error {
	if len(d.elems) == maxXMLDepth {
		return errXML
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
	space, ok := d.resolve(t.Name.Space)
	if !ok || t.Name.Space == "xml" || strings.Contains(t.Name.Local, ":") {
		return errXML
	}
	e.name = Name{space, t.Name.Local}
	for _, a := range t.Attr {
		if _, ok := d.resolve(a.Name.Space); !ok && a.Name.Space != "xmlns" || strings.Contains(a.Name.Local, ":") {
			return errXML
		}
	}
	d.elems = append(d.elems, e)
	return nil
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
