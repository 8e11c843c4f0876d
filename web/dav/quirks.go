package dav

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Quirks says how answers to one client differ from the plain protocol. Each
// field is a habit of a client that its users suffer from otherwise.
type Quirks struct {
	// Mac: Finder. It asks for names that exist nowhere after each listing, and
	// since macOS 15.4 quota properties can delay a mount by 90 s.
	Mac       bool
	OmitQuota bool

	// Windows: the Mini-Redirector and Office. Windows makes a whole folder
	// unreadable for one name it does not allow, so such names are mapped to the
	// private use area and back; it remembers a 404 for a minute, by a name
	// without case; and it reads at most 1 MB of properties of one listing.
	Windows bool

	// Office refuses a lock whose lockroot it did not expect.
	OmitLockRoot bool
}

// QuirksOf recognises a client by its User-Agent.
func QuirksOf(userAgent string) Quirks {
	has := func(s string) bool { return strings.Contains(userAgent, s) }
	var q Quirks
	switch {
	case has("WebDAVFS") || has("WebDAVLib"):
		q.Mac, q.OmitQuota = true, true
	case has("Microsoft Office") || has("MSFrontPage") || has("Microsoft Data Access") || has("ms-office"):
		q.Windows = !has("Macintosh") && !has("Mac OS X")
		q.OmitLockRoot = true
	case has("Microsoft-WebDAV-MiniRedir") || has("DavClnt"):
		q.Windows = true
	}
	return q
}

// Names that Finder and Spotlight ask for in each folder.
var (
	macVirtual = map[string]bool{ // empty files, to say: no index, no thumbnails
		".metadata_never_index":               true,
		".metadata_never_index_unless_rootfs": true,
		".ql_disablethumbnails":               true,
	}
	macAbsent = map[string]bool{
		".Spotlight-V100": true, ".hidden": true, "mach_kernel": true, ".com.apple.timemachine.donotpresent": true,
		".com.apple.timemachine.supported": true, ".fseventsd": true, ".DocumentRevisions-V100": true, ".TemporaryItems": true,
		".PKInstallSandboxManager": true,
	}
)

// Windows' forbidden characters and where they are mapped: U+F000 plus the
// character, as Services for Macintosh began and others followed.
const puaBase = 0xF000

func windowsForbidden(c byte) bool {
	return c < 0x20 || c == 0x7f || strings.IndexByte(`"*:<>?\|`, c) >= 0
}

// Windows shows a trailing space or dot as these; it strips the real ones.
const (
	puaSpace = 0xF028
	puaDot   = 0xF029
)

// toWindowsName maps a name to one that Windows can show. Names that need no
// mapping are returned as they are. Bytes that are not UTF-8 map to U+F100 plus
// the byte, and a name that Windows reserves for a device gets its last
// character mapped.
func toWindowsName(name string) string {
	if !needsWindowsMapping(name) {
		return name
	}
	b := make([]byte, 0, len(name)+8)
	device := isDevice(name)
	for i := 0; i < len(name); {
		c := name[i]
		last := i == len(name)-1
		switch {
		case windowsForbidden(c):
			b = utf8.AppendRune(b, puaBase+rune(c))
			i++
		case last && c == ' ':
			b = utf8.AppendRune(b, puaSpace)
			i++
		case last && c == '.':
			b = utf8.AppendRune(b, puaDot)
			i++
		case device && i == deviceLen(name)-1:
			b = utf8.AppendRune(b, puaBase+0x80+rune(c&0x7f))
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(name[i:])
			if r == utf8.RuneError && n == 1 {
				r = puaBase + 0x100 + rune(c)
			}
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return string(b)
}

func needsWindowsMapping(name string) bool {
	for i := range len(name) {
		if c := name[i]; windowsForbidden(c) {
			return true
		}
	}
	if name == "" {
		return false
	}
	if c := name[len(name)-1]; c == ' ' || c == '.' {
		return true
	}
	return isDevice(name) || !utf8.ValidString(name)
}

// fromWindowsPath undoes toWindowsName on each segment of a path; it is the
// identity on paths without mapped characters.
func fromWindowsPath(p string) string {
	if !hasPUA(p) {
		return p
	}
	b := make([]byte, 0, len(p))
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		atEnd := i+n == len(p) || p[i+n] == '/'
		switch {
		case r == puaSpace && atEnd:
			b = append(b, ' ')
		case r == puaDot && atEnd && !dots(b):
			b = append(b, '.')
		case r > puaBase && r < puaBase+0x80 && windowsForbidden(byte(r-puaBase)):
			b = append(b, byte(r-puaBase))
		case r >= puaBase+0x80 && r < puaBase+0x100 && isAlnum(byte(r-puaBase-0x80)): // the end of a device's name
			b = append(b, byte(r-puaBase-0x80))
		case r >= puaBase+0x180 && r < puaBase+0x200:
			b = append(b, byte(r-puaBase-0x100))
		default:
			b = append(b, p[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// dots reports whether a path ends in a segment that another dot would make one
// of those which paths no longer have: "." or "..".
func dots(b []byte) bool {
	s := b[bytes.LastIndexByte(b, '/')+1:]
	return len(s) == 0 || string(s) == "."
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func hasPUA(p string) bool {
	for _, r := range p {
		if r >= puaBase && r < puaBase+0x200 {
			return true
		}
	}
	return false
}

// isDevice reports whether Windows takes name for a device: CON, PRN, AUX, NUL,
// COM1…9, LPT1…9, with any extension.
func isDevice(name string) bool { return deviceLen(name) > 0 }

func deviceLen(name string) int {
	stem, _, _ := strings.Cut(name, ".")
	switch len(stem) {
	case 3:
		switch strings.ToUpper(stem) {
		case "CON", "PRN", "AUX", "NUL":
			return 3
		}
	case 4:
		if c := stem[3]; c >= '1' && c <= '9' {
			switch strings.ToUpper(stem[:3]) {
			case "COM", "LPT":
				return 4
			}
		}
	}
	return 0
}
