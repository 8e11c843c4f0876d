package load

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// Verify compares all that the server has in the collections with what is
// expected. It returns what each worker's names hold now, for the next journal.
func (r *Runner) Verify(expected []Expected) ([]State, error) {
	var roots []string
	for w := range expected {
		roots = append(roots, r.cfg.Roots(w)...)
	}
	var errs []error
	for _, col := range r.cfg.Collections { // no file of anybody's beside theirs
		entries, err := r.list(col)
		if err != nil {
			return nil, err
		}
		for p := range entries {
			if !slices.Contains(roots, p) {
				errs = append(errs, fmt.Errorf("%s is nobody's", p))
			}
		}
	}
	found := make([]State, len(expected))
	failures := make([]error, len(expected))
	var wg sync.WaitGroup
	for w := range expected {
		wg.Go(func() {
			if found[w], failures[w] = r.walk(r.cfg.Roots(w)); failures[w] == nil {
				failures[w] = expected[w].check(w, found[w])
			}
		})
	}
	wg.Wait()
	return found, errors.Join(append(errs, failures...)...)
}

func (x Expected) check(w int, got State) error {
	asBefore := diff(got, x.State)
	if asBefore == "" {
		return nil
	}
	if x.InFlight == nil {
		return fmt.Errorf("worker %d, nothing in flight:\n%s", w, asBefore)
	}
	asAfter := diff(got, x.State.after(*x.InFlight))
	if asAfter == "" {
		return nil
	}
	return fmt.Errorf("worker %d, in flight: %v. It is neither as before it:\n%s\nnor as after it:\n%s", w, *x.InFlight, asBefore, asAfter)
}

// walk reads everything below the roots.
func (r *Runner) walk(roots []string) (State, error) {
	s := State{}
	queue := []string{}
	for _, root := range roots {
		entries, err := r.list(path.Dir(root))
		if err != nil {
			return nil, err
		}
		if e, ok := entries[root]; ok {
			s[root] = e
			queue = append(queue, root)
		}
	}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		entries, err := r.list(dir)
		if err != nil {
			return nil, err
		}
		for p, e := range entries {
			if e.Dir {
				queue = append(queue, p)
			} else if e.Content, err = r.read(p, e.Content.Size); err != nil {
				return nil, err
			}
			s[p] = e
		}
	}
	return s, nil
}

func (r *Runner) request(method, p, depth, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, r.cfg.URL+escape(p), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(r.cfg.User, r.cfg.Password)
	if depth != "" {
		req.Header.Set("Depth", depth)
	}
	return r.client.Do(req)
}

// read fetches a file; its length has to be what the listing said.
func (r *Runner) read(p string, size int) (Content, error) {
	resp, err := r.request("GET", p, "", "")
	if err != nil {
		return Content{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return Content{}, fmt.Errorf("GET %s: %s, %w", p, resp.Status, err)
	}
	if len(b) != size {
		return Content{}, fmt.Errorf("GET %s: %d bytes; the listing says %d", p, len(b), size)
	}
	return contentOf(b), nil
}

type multistatus struct {
	Responses []struct {
		Href     string `xml:"href"`
		Propstat []struct {
			Status string `xml:"status"`
			Prop   struct {
				Size       int       `xml:"getcontentlength"`
				Collection *struct{} `xml:"resourcetype>collection"`
			} `xml:"prop"`
		} `xml:"propstat"`
	} `xml:"response"`
}

// list is what is in a directory, without the contents of files but their sizes.
func (r *Runner) list(dir string) (State, error) {
	resp, err := r.request("PROPFIND", dir+"/", "1", `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/></prop></propfind>`)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMultiStatus {
		return nil, fmt.Errorf("PROPFIND %s/: %s", dir, resp.Status)
	}
	var m multistatus
	if err := xml.NewDecoder(resp.Body).Decode(&m); err != nil {
		return nil, fmt.Errorf("PROPFIND %s/: %w", dir, err)
	}
	entries := State{}
	for _, e := range m.Responses {
		u, err := url.Parse(e.Href)
		if err != nil {
			return nil, err
		}
		p := strings.TrimSuffix(u.Path, "/")
		if p == dir {
			continue
		}
		var entry Entry
		for _, ps := range e.Propstat {
			if strings.Contains(ps.Status, " 200 ") {
				entry.Dir = entry.Dir || ps.Prop.Collection != nil
				entry.Content.Size += ps.Prop.Size
			}
		}
		entries[p] = entry
	}
	return entries, nil
}
