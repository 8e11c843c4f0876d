package manifest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"keepdav/keepio"
)

// Scan reads text and calls visit for each stream, in order. The Stream and its
// slices are good only until visit returns; its strings and locators may be kept,
// they are parts of a copy of text. Scan stops at the first error: a
// malformed line (ErrMalformed) or what visit returned.
func Scan[T Text](text T, visit func(*Stream) error) error {
	rest := string(text)
	var s Stream
	for line := 1; rest != ""; line++ {
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			return malformed(line, "no newline at its end")
		}
		if fault := s.read(rest[:end]); fault != "" {
			return malformed(line, fault)
		}
		if err := visit(&s); err != nil {
			return err
		}
		rest = rest[end+1:]
	}
	return nil
}

func malformed(line int, fault string) error {
	return fmt.Errorf("%w: line %d: %s", ErrMalformed, line, fault)
}

// read makes s the stream that line describes, reusing its slices. It returns
// what is wrong with the line, or "".
func (s *Stream) read(line string) (fault string) {
	s.Locators, s.ends, s.Files = s.Locators[:0], s.ends[:0], s.Files[:0]
	if !utf8.ValidString(line) {
		return "not UTF-8"
	}
	if line == "" {
		return "blank line"
	}
	var rest string
	var more bool
	s.spelled, rest, more = strings.Cut(line, " ")
	if s.Name, fault = streamName(s.spelled); fault != "" {
		return fault + " in stream name " + quote(s.spelled)
	}

	var size int64
	for more && !startsSpan(rest) {
		var token string
		token, rest, more = strings.Cut(rest, " ")
		loc, err := keepio.ParseLocator(token)
		if err != nil {
			if token == "" {
				return badSpaces
			}
			return "neither a file nor a block: " + err.Error()
		}
		size += loc.Size()
		s.Locators = append(s.Locators, loc)
		s.ends = append(s.ends, size)
	}
	if len(s.Locators) == 0 {
		return "no block locator in stream " + quote(s.spelled)
	}
	if !more {
		return "no file in stream " + quote(s.spelled)
	}

	const shortest = len("0:0:a ")
	s.Files = slices.Grow(s.Files, min(strings.Count(rest, " "), len(rest)/shortest)+1)
	for {
		f, n, fault := fileToken(rest)
		if fault != "" {
			token, _, _ := strings.Cut(rest, " ")
			if token == "" {
				return badSpaces
			}
			return fault + " in file " + quote(token)
		}
		if f.Size > size || f.Pos > size-f.Size {
			return fmt.Sprintf("segment past the end of its stream of %d bytes in file %s", size, quote(f.spelled))
		}
		s.Files = append(s.Files, f)
		if n == len(rest) {
			return ""
		}
		rest = rest[n+1:]
	}
}

// startsSpan reports whether the token that s begins with is a file's, not a
// block's: it has digits, then a colon.
func startsSpan(s string) bool {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i > 0 && i < len(s) && s[i] == ':'
}

// fileToken reads the file token at the beginning of s, which ends at a space or with
// s, and returns it and its length.
func fileToken(s string) (f File, n int, fault string) {
	pos, i, fault := number(s, 0)
	if fault != "" {
		return f, 0, fault
	}
	size, i, fault := number(s, i)
	if fault != "" {
		return f, 0, fault
	}
	name := i
	for i < len(s) && plain[s[i]] {
		i++
	}
	f = File{Pos: pos, Size: size}
	if i < len(s) && s[i] != ' ' { // an escape, a slash, or something not allowed
		if end := strings.IndexByte(s[i:], ' '); end >= 0 {
			i += end
		} else {
			i = len(s)
		}
		if f.Name, fault = unescape(s[name:i]); fault != "" {
			return f, 0, fault
		}
		if fault = checkPath(strings.TrimSuffix(f.Name, "/.")); fault != "" && f.Name != "." {
			return f, 0, fault
		}
	} else {
		f.Name = s[name:i]
		if f.Name == "" || f.Name == ".." {
			return f, 0, badComponent
		}
	}
	f.spelled = s[:i]
	if _, ok := f.Marker(); ok && size != 0 {
		return f, 0, "marker of a directory with a size"
	}
	return f, i, ""
}

// number reads the number that begins at s[i] and the colon behind it.
func number(s string, i int) (n int64, after int, fault string) {
	start := i
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		if n > (math.MaxInt64-9)/10 {
			return 0, 0, "number out of range"
		}
		n = n*10 + int64(s[i]-'0')
	}
	if i == start || i == len(s) || s[i] != ':' {
		return 0, 0, "no position:size:name"
	}
	return n, i + 1, ""
}

// streamName unescapes and checks a stream's name.
func streamName(spelled string) (name, fault string) {
	if spelled == "" {
		return "", "nothing before the first space"
	}
	if name, fault = unescape(spelled); fault != "" || name == "." {
		return name, fault
	}
	path, ok := strings.CutPrefix(name, "./")
	if !ok {
		return "", `neither "." nor "./" at the beginning`
	}
	return name, checkPath(path)
}

const badSpaces = "two spaces, or one at the end"

const badComponent = `empty, "." or ".." as a path component`

// checkPath says what is wrong with an unescaped path, if anything.
func checkPath(path string) (fault string) {
	for more := true; more; {
		var c string
		c, path, more = strings.Cut(path, "/")
		if c == "" || c == "." || c == ".." {
			return badComponent
		}
	}
	return ""
}

// quote shows the beginning of a token, without anything that may be a
// signature, for an error.
func quote(token string) string {
	const most = 64
	shown := token
	for _, hint := range []string{"+A", "+R"} {
		shown, _, _ = strings.Cut(shown, hint)
	}
	if len(shown) > most {
		shown = shown[:most]
	}
	if len(shown) < len(token) {
		return fmt.Sprintf("%q…", shown)
	}
	return fmt.Sprintf("%q", shown)
}
