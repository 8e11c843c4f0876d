// Package browse shows directories to browsers: a list with names, sizes and
// dates, downloads, and forms that upload, make directories and delete. It works
// without JavaScript; everything a form does is a WebDAV request made on the
// user's behalf, so locks and permissions are those of WebDAV.
//
// Start reading at page.go, then act.go.
package browse

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

//go:embed head.html foot.html
var files embed.FS

var (
	head = template.Must(template.ParseFS(files, "head.html"))
	foot = template.Must(template.ParseFS(files, "foot.html"))
)

const (
	// sortLimit is how many entries are gathered to be sorted, directories
	// first; a longer list comes as it is, by name.
	sortLimit = 5000
	// rowLimit is how many entries a page shows.
	rowLimit = 20_000
)

// A View is one directory for one user.
type View struct {
	FS     davfs.FileSystem
	Prefix string // of URLs, that names in FS do not have
	Name   string // of the directory: "/" or "/a/b"
	User   string
}

// crumb is one step of the way from the root to the directory.
type crumb struct{ Name, Href string }

type headData struct {
	Title  string
	Crumbs []crumb
	User   string
	Up     string
	Write  bool
	Make   string // what a new directory is called here
	Zip    bool
	Sort   []column // nil: the list is too long to be sorted
	notice
}

// A notice is what the page says about the form that was sent last.
type notice struct {
	Failed []string // what went wrong
	Ask    []entry  // what is to be deleted
}

// An entry is a name as people see it, and as forms send it: escaped, since
// browsers change bytes that are no UTF-8 and ends of lines.
type entry struct{ Shown, Value string }

func entryOf(name string) entry {
	return entry{strings.ToValidUTF8(name, "�"), url.PathEscape(name)}
}

// A column is one that the list can be sorted by.
type column struct {
	Class, Name string
	Order       string // to ask for
	Aria        string // how the list is sorted by it: "ascending", "descending" or ""
}

type footData struct {
	Count  int
	Bytes  string
	More   bool
	Sorted bool
}

// Page answers GET of a directory.
func Page(w http.ResponseWriter, r *http.Request, v View) error {
	info, err := v.FS.Stat(r.Context(), v.Name)
	if err != nil {
		return err
	}
	if !info.Dir {
		return collfs.ErrNotDir
	}
	if r.URL.Query().Has("zip") {
		return archive(w, r, v)
	}
	return page(w, r, v, info, http.StatusOK, notice{})
}

func page(w http.ResponseWriter, r *http.Request, v View, info davfs.Info, status int, n notice) error {
	list, err := v.FS.List(r.Context(), v.Name)
	if err != nil {
		return err
	}
	defer list.Close()
	order := orderOf(r.URL.Query().Get("sort"))
	first, ended, err := gather(list)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin") // without any, browsers send the forms with "Origin: null"
	h.Set("Vary", "Accept-Encoding")
	out := bufio.NewWriterSize(w, 32<<10)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		out = bufio.NewWriterSize(z, 32<<10)
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		h.Del("Content-Encoding")
		return nil
	}
	defer out.Flush()
	p := printer{out: out, base: v.Prefix + v.Name, now: time.Now()}
	data := headData{
		Title: title(v.Name), Crumbs: crumbs(v), User: v.User, Up: up(v), Write: !info.ReadOnly,
		Make: makes(info), notice: n,
		Zip: info.Collection != "",
	}
	if ended {
		slices.SortStableFunc(first, orders[order])
		data.Sort = columns(order)
	}
	if err := head.Execute(out, data); err != nil {
		return err
	}
	for i := range first {
		p.row(&first[i], !info.ReadOnly)
	}
	batch := make([]davfs.Info, 500)
	for !ended && p.count < rowLimit {
		n, err := list.Next(batch)
		if err != nil {
			return fmt.Errorf("list %s: %w", v.Name, err)
		}
		for i := range batch[:n] {
			p.row(&batch[i], !info.ReadOnly)
		}
		ended = n == 0
	}
	return foot.Execute(out, footData{Count: p.count, Bytes: Size(p.bytes), More: !ended, Sorted: data.Sort != nil})
}

// gather takes up to sortLimit entries; ended says that there are no more.
func gather(list davfs.Listing) (infos []davfs.Info, ended bool, err error) {
	for len(infos) < sortLimit {
		at := len(infos)
		infos = slices.Grow(infos, 500)[:at+500]
		n, err := list.Next(infos[at:])
		infos = infos[:at+n]
		if err != nil || n == 0 {
			return infos, true, err
		}
	}
	return infos, false, nil
}

// orders are the ways to sort a list; directories come first in each. The first
// time somebody sorts by size or date, the largest and the latest come first.
var orders = map[string]func(a, b davfs.Info) int{
	"name":  func(a, b davfs.Info) int { return dirsFirst(a, b, 0) }, // as they are listed
	"-name": func(a, b davfs.Info) int { return dirsFirst(a, b, -strings.Compare(a.Name, b.Name)) },
	"size":  func(a, b davfs.Info) int { return dirsFirst(a, b, cmp.Compare(a.Size, b.Size)) },
	"-size": func(a, b davfs.Info) int { return dirsFirst(a, b, -cmp.Compare(a.Size, b.Size)) },
	"date":  func(a, b davfs.Info) int { return dirsFirst(a, b, a.ModTime.Compare(b.ModTime)) },
	"-date": func(a, b davfs.Info) int { return dirsFirst(a, b, b.ModTime.Compare(a.ModTime)) },
}

// columns are those of a list that is sorted in the given order. The present one
// leads to its reverse.
func columns(order string) []column {
	all := []column{{Name: "Name", Order: "name"}, {Class: "s", Name: "Size", Order: "-size"}, {Class: "t", Name: "Changed (UTC)", Order: "-date"}}
	for i := range all {
		c := &all[i]
		by, back := strings.CutPrefix(order, "-")
		if strings.TrimPrefix(c.Order, "-") != by {
			continue
		}
		c.Aria, c.Order = "ascending", "-"+by
		if back {
			c.Aria, c.Order = "descending", by
		}
	}
	return all
}

func orderOf(s string) string {
	if _, ok := orders[s]; ok {
		return s
	}
	return "name"
}

func dirsFirst(a, b davfs.Info, then int) int {
	switch {
	case a.Dir && !b.Dir:
		return -1
	case b.Dir && !a.Dir:
		return 1
	}
	return then
}

// A printer writes the rows of the list by hand: a template would take most of
// the time of a long one.
type printer struct {
	out   *bufio.Writer
	base  string
	now   time.Time
	count int
	bytes int64
}

func (p *printer) row(i *davfs.Info, write bool) {
	p.count++
	href := Href(p.base, i.Name, i.Dir)
	class, size := "f", ""
	if i.Dir {
		class = "d"
		if i.Collection != "" && i.Path == "" && strings.Contains(string(i.Collection), "-4zz18-") {
			class = "c"
		}
	} else {
		p.bytes += i.Size
		size = Size(i.Size)
	}
	w := p.out
	w.WriteString("<tr><td>")
	if write {
		w.WriteString(`<input type=checkbox name=name value="`)
		w.WriteString(html.EscapeString(url.PathEscape(i.Name)))
		w.WriteString(`" form=act aria-label="select">`)
	}
	w.WriteString(`</td><td class=n><a class=`)
	w.WriteString(class)
	w.WriteString(` href="`)
	w.WriteString(html.EscapeString(href))
	w.WriteString(`">`)
	w.WriteString(html.EscapeString(strings.ToValidUTF8(i.Name, "�")))
	w.WriteString("</a></td><td class=s>")
	w.WriteString(size)
	w.WriteString("</td><td class=t>")
	if !i.ModTime.IsZero() {
		w.WriteString(i.ModTime.UTC().Format("2006-01-02 15:04"))
	}
	w.WriteString("</td><td class=x>")
	if !i.Dir {
		w.WriteString(`<a download href="`)
		w.WriteString(html.EscapeString(href))
		w.WriteString(`" title="download">↓</a>`)
	}
	w.WriteString("</td></tr>\n")
}

// Href is the path part of the URL of name in the directory base.
func Href(base, name string, dir bool) string {
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	u := url.URL{Path: base + name}
	s := u.EscapedPath()
	if dir {
		s += "/"
	}
	return s
}

// Size is n bytes for people.
func Size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n)/1024, 0
	for f >= 1023.95 && unit < 5 {
		f /= 1024
		unit++
	}
	digits := 1
	if f >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + " " + string("KMGTPE"[unit]) + "iB"
}

func title(name string) string {
	if name == "/" {
		return "keepdav"
	}
	return strings.ToValidUTF8(path.Base(name), "�")
}

func crumbs(v View) []crumb {
	c := []crumb{{"keepdav", Href(v.Prefix, "", false)}}
	at := v.Prefix
	for s := range strings.SplitSeq(strings.Trim(v.Name, "/"), "/") {
		if s == "" {
			continue
		}
		c = append(c, crumb{strings.ToValidUTF8(s, "�"), Href(at, s, true)})
		at += "/" + s
	}
	return c
}

func up(v View) string {
	if v.Name == "/" {
		return ""
	}
	parent := path.Dir(v.Name)
	if parent == "/" {
		return Href(v.Prefix, "", false)
	}
	return Href(v.Prefix+path.Dir(parent), path.Base(parent), true)
}

// makes is what a new directory is called in a directory like this.
func makes(i davfs.Info) string {
	if strings.Contains(string(i.Collection), "-4zz18-") {
		return "directory"
	}
	return "collection"
}

var errNotHere = errors.New("this cannot be done here")
