package dav

import (
	"errors"
	"io"
)

// Name is an expanded XML name.
type Name struct{ Space, Local string }

// Limits on request bodies. They are far above what clients send.
const (
	maxXMLBody  = 1 << 20
	maxXMLDepth = 100
	maxXMLAttrs = 1000 // of one element
	maxXMLProps = 1000
	maxXMLNames = 32 << 10 // bytes of all names: each is repeated for each resource
	maxOwnerXML = 4 << 10
	maxPatches  = 4 << 20 // bytes of all names and values of a PROPPATCH, complete in themselves
	maxBindings = 500     // namespaces declared at one time; each prefix is looked for among them
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
	for _, n := range *names { // of an <include> before this one
		total += len(n.Space) + len(n.Local)
	}
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
	total := 0
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
				// A namespace that is declared once is repeated in each property that
				// uses it.
				if total += len(n.Space) + len(n.Local); total > maxPatches {
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
				if total += len(p.Inner); err == nil && total > maxPatches {
					err = errXMLSize
				}
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
