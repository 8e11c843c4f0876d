package dav

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

// Namespaces of properties beside DAV:.
const (
	nsDAV     = "DAV:"
	nsApache  = "http://apache.org/dav/props/"
	nsWin32   = "urn:schemas-microsoft-com:"
	nsOC      = "http://owncloud.org/ns"
	extraLang = "davlang:" // + {ns}name: the language of a dead property
)

// emptyProp stands for the value of a dead property without content, since ""
// removes a key. It is a comment, so it means nothing wherever it is read.
const emptyProp = "<!---->"

// liveProp is a property whose value the server makes.
type liveProp uint8

const (
	notLive liveProp = iota
	propResourceType
	propDisplayName
	propContentLength
	propContentType
	propETag
	propLastModified
	propCreationDate
	propSupportedLock
	propLockDiscovery
	propQuotaUsed
	propQuotaAvailable
	propExecutable
	propChecksums
	propWin32Created
	propWin32Accessed
	propWin32Modified
	propWin32Attributes
	propRCloneModified // {DAV:}lastmodified: settable, reads as seconds
)

var liveNames = map[Name]liveProp{
	{nsDAV, "resourcetype"}:            propResourceType,
	{nsDAV, "displayname"}:             propDisplayName,
	{nsDAV, "getcontentlength"}:        propContentLength,
	{nsDAV, "getcontenttype"}:          propContentType,
	{nsDAV, "getetag"}:                 propETag,
	{nsDAV, "getlastmodified"}:         propLastModified,
	{nsDAV, "creationdate"}:            propCreationDate,
	{nsDAV, "supportedlock"}:           propSupportedLock,
	{nsDAV, "lockdiscovery"}:           propLockDiscovery,
	{nsDAV, "quota-used-bytes"}:        propQuotaUsed,
	{nsDAV, "quota-available-bytes"}:   propQuotaAvailable,
	{nsDAV, "lastmodified"}:            propRCloneModified,
	{nsApache, "executable"}:           propExecutable,
	{nsOC, "checksums"}:                propChecksums,
	{nsWin32, "Win32CreationTime"}:     propWin32Created,
	{nsWin32, "Win32LastAccessTime"}:   propWin32Accessed,
	{nsWin32, "Win32LastModifiedTime"}: propWin32Modified,
	{nsWin32, "Win32FileAttributes"}:   propWin32Attributes,
}

// allProps are the live properties of an allprop answer. The rest is given when
// it is named.
var allProps = []Name{
	{nsDAV, "resourcetype"}, {nsDAV, "displayname"}, {nsDAV, "getcontentlength"}, {nsDAV, "getlastmodified"}, {nsDAV, "creationdate"},
	{nsDAV, "getetag"}, {nsDAV, "getcontenttype"}, {nsDAV, "supportedlock"}, {nsDAV, "lockdiscovery"},
}

// allPropsWindows leaves out what Windows does not read, because it gives up on
// a listing of more than 1,000,000 bytes, and adds its own.
var allPropsWindows = []Name{
	{nsDAV, "resourcetype"}, {nsDAV, "getcontentlength"}, {nsDAV, "getlastmodified"}, {nsDAV, "creationdate"}, {nsDAV, "getetag"},
	{nsWin32, "Win32FileAttributes"}, {nsWin32, "Win32LastModifiedTime"}, {nsWin32, "Win32CreationTime"}, {nsWin32, "Win32LastAccessTime"},
}

const supportedLockXML = `<D:supportedlock>` +
	`<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>` +
	`<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry></D:supportedlock>`

// A propWriter writes the properties of one resource after another. It belongs
// to one request.
type propWriter struct {
	ctx     context.Context
	fs      davfs.FileSystem
	plan    *propPlan
	quirks  Quirks
	locks   *Locks // nil: no locks to show
	prefix  string
	quota   bool // quota properties may be shown
	sums    bool // checksums may be worked out
	usage   davfs.Usage
	usageOK int8 // 0 not asked yet, 1 known, -1 failed
	missing []byte
	look    func(*LockPlace) error // finds what is above a place
	tree    string                 // whose above is known
	above   *LockPlace
	mtime   httpDate
	birth   httpDate
}

// append appends the <response> of the resource that info describes: the one at
// name, or, with dirHref, the member info.Name of the directory dirName, whose
// href with its slash is dirHref.
func (p *propWriter) append(b []byte, dirHref, dirName string, info *davfs.Info, name string) []byte {
	b = append(b, "<D:response><D:href>"...)
	if dirHref == "" {
		b = p.appendHref(b, name, info.Dir)
	} else {
		b = append(b, dirHref...)
		n := info.Name
		if p.quirks.Windows {
			n = toWindowsName(n)
		}
		b = appendEscaped(b, n)
		if info.Dir {
			b = append(b, '/')
		}
	}
	b = append(b, "</D:href>"...)

	start := len(b)
	b = append(b, "<D:propstat><D:prop>"...)
	mark := len(b)
	p.missing = p.missing[:0]
	for i := range p.plan.steps {
		s := &p.plan.steps[i]
		var ok bool
		at := len(b)
		if b, ok = p.value(b, s, info, dirName, name); !ok {
			p.missing = append(p.missing, s.empty...)
		} else if p.plan.namesOnly {
			b = append(b[:at], s.empty...)
		}
	}
	if p.plan.dead && len(info.Attr.Extra) > 0 {
		b = p.deadProps(b, info.Attr.Extra)
	}
	found := len(b) > mark
	if found {
		b = append(b, "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"...)
	} else {
		b = b[:start]
	}
	if len(p.missing) > 0 && !p.plan.minimal || !found && len(p.plan.steps) > 0 {
		b = append(b, "<D:propstat><D:prop>"...)
		b = append(b, p.missing...)
		b = append(b, "</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"...)
	} else if !found {
		b = append(b, "<D:propstat><D:prop/><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"...)
	}
	return append(b, "</D:response>"...)
}

// appendHref appends the href of a name as this client has to see it.
func (p *propWriter) appendHref(b []byte, name string, dir bool) []byte {
	return appendClientHref(b, p.prefix, name, dir, p.quirks)
}

func appendClientHref(b []byte, prefix, name string, dir bool, q Quirks) []byte {
	b = appendEscaped(b, prefix)
	if q.Windows && needsWindowsMappingPath(name) {
		for seg := range strings.SplitSeq(name[1:], "/") {
			b = appendEscaped(append(b, '/'), toWindowsName(seg))
		}
	} else {
		b = appendEscaped(b, name)
	}
	if dir && b[len(b)-1] != '/' {
		b = append(b, '/')
	}
	return b
}

// needsWindowsMappingPath reports whether a segment of the path needs mapping.
func needsWindowsMappingPath(p string) bool {
	for seg := range strings.SplitSeq(p[1:], "/") {
		if needsWindowsMapping(seg) {
			return true
		}
	}
	return false
}

// deadProps appends the dead properties, in the order of their names.
func (p *propWriter) deadProps(b []byte, extra map[string]string) []byte {
	var keys []string
	for k := range extra {
		if strings.HasPrefix(k, collfs.ExtraDAV) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		n, ok := parsePropKey(k[len(collfs.ExtraDAV):])
		if !ok {
			continue
		}
		if p.plan.namesOnly {
			b = append(openTag(b, n), "/>"...)
			continue
		}
		if slices.ContainsFunc(p.plan.steps, func(s propStep) bool { return s.name == n }) {
			continue
		}
		b = appendDead(b, n, extra[k], extra[extraLang+k[len(collfs.ExtraDAV):]])
	}
	return b
}

func appendDead(b []byte, n Name, inner, lang string) []byte {
	b = openTag(b, n)
	if lang != "" {
		b = append(appendXMLAttr(append(b, ` xml:lang="`...), lang), '"')
	}
	if inner == emptyProp || inner == "" {
		return append(b, "/>"...)
	}
	b = append(append(b, '>'), inner...)
	return closeTag(b, n)
}

// value appends the element of one property, or reports that the resource has
// no such property.
func (p *propWriter) value(b []byte, s *propStep, info *davfs.Info, dirName, name string) ([]byte, bool) {
	switch s.live {
	case notLive:
		v, ok := info.Attr.Extra[s.key]
		if !ok {
			return b, false
		}
		return appendDead(b, s.name, v, info.Attr.Extra[s.lang]), true
	case propResourceType:
		if info.Dir {
			return append(b, "<D:resourcetype><D:collection/></D:resourcetype>"...), true
		}
		return append(b, "<D:resourcetype/>"...), true
	case propDisplayName:
		b = append(b, "<D:displayname>"...)
		b = appendXMLText(b, info.Name)
		return append(b, "</D:displayname>"...), true
	case propContentLength:
		if info.Dir {
			return b, false
		}
		b = append(b, "<D:getcontentlength>"...)
		b = strconv.AppendInt(b, info.Size, 10)
		return append(b, "</D:getcontentlength>"...), true
	case propContentType:
		b = append(b, "<D:getcontenttype>"...)
		if info.Dir {
			b = append(b, "httpd/unix-directory"...)
		} else {
			b = append(b, davfs.ContentType(info.Name)...)
		}
		return append(b, "</D:getcontenttype>"...), true
	case propETag:
		if info.Dir {
			return b, false
		}
		b = append(b, "<D:getetag>"...)
		b = appendETag(b, info.Content)
		return append(b, "</D:getetag>"...), true
	case propLastModified:
		if info.ModTime.IsZero() {
			return b, false
		}
		b = append(b, "<D:getlastmodified>"...)
		b = p.mtime.append(b, info.ModTime)
		return append(b, "</D:getlastmodified>"...), true
	case propRCloneModified:
		if info.ModTime.IsZero() {
			return b, false
		}
		b = append(b, "<D:lastmodified>"...)
		b = strconv.AppendInt(b, info.ModTime.Unix(), 10)
		return append(b, "</D:lastmodified>"...), true
	case propCreationDate:
		t := birthOf(info)
		if t.IsZero() {
			return b, false
		}
		b = append(b, "<D:creationdate>"...)
		b = p.birth.append8601(b, t)
		return append(b, "</D:creationdate>"...), true
	case propSupportedLock:
		if p.locks == nil {
			return b, false
		}
		return append(b, supportedLockXML...), true
	case propLockDiscovery:
		if p.locks == nil {
			return b, false
		}
		if p.locks.Empty() {
			return append(b, "<D:lockdiscovery/>"...), true
		}
		if name == "" {
			name = joinPath(dirName, info.Name)
		}
		return appendLockDiscovery(b, p.locks, p.place(info, name), p.prefix, p.quirks), true
	case propQuotaUsed, propQuotaAvailable:
		return p.quotaProp(b, s.live, info, dirName, name)
	case propExecutable:
		if info.Dir {
			return b, false
		}
		v := byte('F')
		if info.Mode()&0o100 != 0 {
			v = 'T'
		}
		return append(append(append(b, `<n:executable xmlns:n="http://apache.org/dav/props/">`...), v), "</n:executable>"...), true
	case propChecksums:
		return p.checksums(b, info, dirName, name)
	}
	return p.win32(b, s, info)
}

// place is where a resource lies. What is above it is the same for all of a tree,
// and looked up when locks there may cover it; if that fails, those are not shown.
func (p *propWriter) place(info *davfs.Info, name string) LockPlace {
	at := placeOf(info, name)
	if !p.locks.Wide() {
		return at
	}
	if at.Tree != p.tree {
		if p.look(&at) != nil {
			return at
		}
		p.tree, p.above = at.Tree, at.Above
	}
	at.Above = p.above
	return at
}

func (p *propWriter) quotaProp(b []byte, live liveProp, info *davfs.Info, dirName, name string) ([]byte, bool) {
	if !p.quota || !info.Dir {
		return b, false
	}
	if p.usageOK == 0 {
		if name == "" {
			name = dirName
		}
		var err error
		p.usageOK = 1
		if p.usage, err = p.fs.Usage(p.ctx, name); err != nil {
			p.usageOK = -1
		}
	}
	v := p.usage.Used
	if live == propQuotaAvailable {
		v = p.usage.Available
	}
	if p.usageOK < 0 || v < 0 {
		return b, false
	}
	if live == propQuotaAvailable {
		b = append(b, "<D:quota-available-bytes>"...)
		b = strconv.AppendInt(b, v, 10)
		return append(b, "</D:quota-available-bytes>"...), true
	}
	b = append(b, "<D:quota-used-bytes>"...)
	b = strconv.AppendInt(b, v, 10)
	return append(b, "</D:quota-used-bytes>"...), true
}

// maxSumSize is the largest file whose checksum a PROPFIND works out.
const maxSumSize = 64 << 20

// checksums shows what is known. It reads a file only when that one was asked
// for, and is small.
func (p *propWriter) checksums(b []byte, info *davfs.Info, dirName, name string) ([]byte, bool) {
	if info.Dir {
		return b, false
	}
	md5, sha1 := info.Attr.Extra[collfs.ExtraSum+"MD5"], info.Attr.Extra[collfs.ExtraSum+"SHA1"]
	if md5 == "" && sha1 == "" && p.sums && info.Size <= maxSumSize {
		if name == "" {
			name = joinPath(dirName, info.Name)
		}
		var err error
		if sha1, err = p.fs.Sum(p.ctx, name, "SHA1"); err != nil {
			sha1 = ""
		}
	}
	if md5 == "" && sha1 == "" {
		return b, false
	}
	b = append(b, `<n:checksums xmlns:n="http://owncloud.org/ns"><n:checksum>`...)
	if sha1 != "" {
		b = append(append(b, "SHA1:"...), sha1...)
	}
	if md5 != "" {
		if sha1 != "" {
			b = append(b, ' ')
		}
		b = append(append(b, "MD5:"...), md5...)
	}
	return append(b, "</n:checksum></n:checksums>"...), true
}

// win32 writes the times and attributes that Windows keeps beside a file.
func (p *propWriter) win32(b []byte, s *propStep, info *davfs.Info) ([]byte, bool) {
	var v string
	var t time.Time
	extra := info.Attr.Extra
	switch s.live {
	case propWin32Created:
		v, t = extra[collfs.ExtraWin32+"CreationTime"], birthOf(info)
	case propWin32Accessed:
		v, t = extra[collfs.ExtraWin32+"LastAccessTime"], info.ModTime
	case propWin32Modified:
		t = info.ModTime
	case propWin32Attributes:
		if v = extra[collfs.ExtraWin32+"FileAttributes"]; v == "" {
			v = "00000020" // archive
			if info.Dir {
				v = "00000010"
			}
		}
	}
	if v == "" && t.IsZero() {
		return b, false
	}
	b = append(openTag(b, s.name), '>')
	if v != "" {
		b = appendXMLText(b, v)
	} else if s.live == propWin32Created {
		var d httpDate
		b = d.append(b, t)
	} else {
		b = p.mtime.append(b, t)
	}
	return closeTag(b, s.name), true
}

// birthOf is when the resource was made, or the oldest time we know.
func birthOf(info *davfs.Info) time.Time {
	if !info.Birth.IsZero() {
		return info.Birth
	}
	return info.ModTime
}

func appendETag(b []byte, id collfs.ContentID) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range id {
		b = append(b, hex[c>>4], hex[c&15])
	}
	return append(b, '"')
}

// placeOf is where the resource that info describes lies, for locks.
func placeOf(info *davfs.Info, name string) LockPlace {
	if info.Collection == "" { // above the projects, each name is a place of its own
		return LockPlace{Path: name, Name: name}
	}
	return LockPlace{Tree: string(info.Collection), Path: "/" + info.Path, Name: name}
}

// appendLockDiscovery appends the property with the locks that cover p.
func appendLockDiscovery(b []byte, locks *Locks, p LockPlace, prefix string, q Quirks) []byte {
	ls := locks.Covers(p)
	if len(ls) == 0 {
		return append(b, "<D:lockdiscovery/>"...)
	}
	b = append(b, "<D:lockdiscovery>"...)
	for _, l := range ls {
		b = appendActiveLock(b, l, locks.LockRoot(l, p), prefix, q)
	}
	return append(b, "</D:lockdiscovery>"...)
}

func appendActiveLock(b []byte, l Lock, root, prefix string, q Quirks) []byte {
	b = append(b, "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope>"...)
	if l.Shared {
		b = append(b, "<D:shared/>"...)
	} else {
		b = append(b, "<D:exclusive/>"...)
	}
	b = append(b, "</D:lockscope><D:depth>"...)
	if l.Infinite {
		b = append(b, "infinity"...)
	} else {
		b = append(b, '0')
	}
	b = append(b, "</D:depth>"...)
	if l.Owner != "" {
		b = append(append(append(b, "<D:owner>"...), l.Owner...), "</D:owner>"...)
	}
	b = append(b, "<D:timeout>Second-"...)
	left := max(time.Until(l.Expires).Round(time.Second), time.Second)
	b = strconv.AppendInt(b, int64(left/time.Second), 10)
	b = append(b, "</D:timeout><D:locktoken><D:href>"...)
	b = appendXMLText(b, l.Token)
	b = append(b, "</D:href></D:locktoken>"...)
	if !q.OmitLockRoot {
		b = append(b, "<D:lockroot><D:href>"...)
		b = appendClientHref(b, prefix, root, l.Dir, q)
		b = append(b, "</D:href></D:lockroot>"...)
	}
	return append(b, "</D:activelock>"...)
}
