package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// files is a tree that a worker works on: a mount, or a server of WebDAV.
// An error says nothing about whether the change took place.
type files interface {
	create(name string, data []byte) error // it must not be there
	replace(name string, data []byte) error
	rename(from, to string) error
	remove(name string) error
	mkdir(name string) error
	read(name string) ([]byte, error)
}

// A disk is a mounted tree.
type disk string

func (d disk) write(name string, data []byte, flags int) error {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY|os.O_CREATE|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (d disk) create(name string, data []byte) error  { return d.write(name, data, os.O_EXCL) }
func (d disk) replace(name string, data []byte) error { return d.write(name, data, os.O_TRUNC) }
func (d disk) rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}
func (d disk) remove(name string) error         { return os.Remove(filepath.Join(string(d), name)) }
func (d disk) mkdir(name string) error          { return os.Mkdir(filepath.Join(string(d), name), 0o755) }
func (d disk) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(string(d), name)) }

// A drive is a tree served by WebDAV.
type drive struct {
	url    string // of the tree, no slash at the end
	auth   string // the value of Authorization
	client *http.Client
}

func (d drive) do(method, name string, body []byte, header ...string) ([]byte, error) {
	r, err := http.NewRequest(method, d.url+(&url.URL{Path: "/" + name}).EscapedPath(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", d.auth)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	reply, err := d.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %.200s", method, name, reply.Status, data)
	}
	return data, err
}

func (d drive) create(name string, data []byte) error {
	_, err := d.do(http.MethodPut, name, data, "If-None-Match", "*")
	return err
}

func (d drive) replace(name string, data []byte) error {
	_, err := d.do(http.MethodPut, name, data)
	return err
}

func (d drive) rename(from, to string) error {
	_, err := d.do("MOVE", from, nil, "Destination", d.url+(&url.URL{Path: "/" + to}).EscapedPath(), "Overwrite", "F")
	return err
}

func (d drive) remove(name string) error         { _, err := d.do(http.MethodDelete, name, nil); return err }
func (d drive) mkdir(name string) error          { _, err := d.do("MKCOL", name, nil); return err }
func (d drive) read(name string) ([]byte, error) { return d.do(http.MethodGet, name, nil) }

// A worker changes files of its own, among those of others, in directories that all share
// and that others rename while it works.
type worker struct {
	id   int
	name string // of what it works through, for messages
	on   files
	dirs []string
	dice *rand.Rand
	n    int // contents that it has made

	own   []*owned
	acked int // changes that were acknowledged
	fails int // changes that were refused, or nobody knows
}

// An owned is a file that one worker alone changes.
type owned struct {
	path string
	// may are the contents that it may have, by their sums: the last that was acknowledged,
	// and those of which nobody knows. gone says that it may have been removed.
	may  []string
	gone bool
}

func sumOf(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:8])
}

// content makes bytes that nobody else makes.
func (w *worker) content() []byte {
	w.n++
	head := fmt.Sprintf("worker %d, content %d\n", w.id, w.n)
	size := w.dice.IntN(3000)
	if w.dice.IntN(20) == 0 {
		size = w.dice.IntN(300_000)
	}
	data := make([]byte, len(head)+size)
	copy(data, head)
	for i := len(head); i < len(data); i++ {
		data[i] = byte(w.dice.Uint32())
	}
	return data
}

// fresh is a path in one of the directories that nobody else uses.
func (w *worker) fresh() string {
	w.n++
	return path.Join(w.dirs[w.dice.IntN(len(w.dirs))], fmt.Sprintf("w%d-%d", w.id, w.n))
}

// step makes one change.
func (w *worker) step() {
	kind := w.dice.IntN(100)
	if len(w.own) == 0 || kind < 45 {
		w.create(w.fresh())
		return
	}
	f := w.own[w.dice.IntN(len(w.own))]
	switch {
	case kind < 60:
		w.replace(f)
	case kind < 75:
		w.rename(f)
	case kind < 82:
		w.remove(f)
	case kind < 94: // a name that others want, too: if two get it, both files have to stay
		w.create(path.Join(w.dirs[w.dice.IntN(len(w.dirs))], fmt.Sprintf("wanted-%d", w.dice.IntN(60))))
	default:
		w.moveDirectory()
	}
}

func (w *worker) outcome(err error) bool {
	if err == nil {
		w.acked++
		return true
	}
	w.fails++
	return false
}

func (w *worker) create(name string) {
	data := w.content()
	err := w.on.create(name, data)
	if errors.Is(err, fs.ErrNotExist) {
		_ = w.on.mkdir(path.Dir(name)) // somebody renamed it
	}
	f := &owned{path: name, may: []string{sumOf(data)}, gone: true}
	f.gone = !w.outcome(err)
	if strings.HasPrefix(path.Base(name), "wanted-") && f.gone {
		return
	}
	w.own = append(w.own, f)
}

// known reports whether only one content is possible: what is unclear is left alone.
func (f *owned) known() bool {
	return len(f.may) == 1 && !f.gone && !strings.HasPrefix(path.Base(f.path), "wanted-")
}

func (w *worker) replace(f *owned) {
	if !f.known() {
		return
	}
	data := w.content()
	if w.outcome(w.on.replace(f.path, data)) {
		f.may = []string{sumOf(data)}
		return
	}
	f.may = append(f.may, sumOf(data))
}

func (w *worker) rename(f *owned) {
	if !f.known() {
		return
	}
	to := w.fresh()
	if w.outcome(w.on.rename(f.path, to)) {
		f.path = to
	}
}

func (w *worker) remove(f *owned) {
	if !f.known() {
		return
	}
	if w.outcome(w.on.remove(f.path)) {
		w.own = slices.DeleteFunc(w.own, func(x *owned) bool { return x == f })
		return
	}
	f.gone = true
}

// moveDirectory renames one of the directories away and makes a new one in its place.
func (w *worker) moveDirectory() {
	dir := w.dirs[w.dice.IntN(len(w.dirs))]
	w.n++
	to := path.Join(path.Dir(dir), fmt.Sprintf("moved-w%d-%d", w.id, w.n))
	if !w.outcome(w.on.rename(dir, to)) {
		return
	}
	for _, f := range w.own {
		if path.Dir(f.path) == dir {
			f.path = path.Join(to, path.Base(f.path))
		}
	}
	_ = w.on.mkdir(dir)
}

// missing lists what of w's files is nowhere: all holds the sums of all files.
func (w *worker) missing(all map[string][]string) (lost []string) {
	for _, f := range w.own {
		if f.gone {
			continue
		}
		if !slices.ContainsFunc(f.may, func(sum string) bool { return len(all[sum]) > 0 }) {
			lost = append(lost, fmt.Sprintf("%s (%s): content %v", f.path, w.name, f.may))
		}
	}
	return lost
}
