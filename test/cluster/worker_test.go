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
	"time"

	"golang.org/x/sys/unix"
)

// files is a tree that a worker works on: a mount, or a server of WebDAV.
// An error says nothing about whether the change took place.
type files interface {
	create(name string, data []byte) error // it must not be there
	replace(name string, data []byte) error
	rename(from, to string) error
	remove(name string) error
	mkdir(name string) error
}

// An editor is a tree whose files can be changed in part.
type editor interface {
	writeAt(name string, data []byte, off int) error
	append(name string, data []byte) error
	truncate(name string, size int) error
	link(from, to string) error
	mark(name string, m mark) error
}

// A mark is what a file has beside its content.
type mark struct {
	mtime time.Time
	text  string // the extended attribute markAttr
}

const markAttr = "user.cluster-test"

// A disk is a mounted tree. Whatever it does is committed when it returns.
type disk string

func (d disk) at(name string) string { return filepath.Join(string(d), name) }

// with opens a file, does something to it, and closes it.
func (d disk) with(name string, flags int, do func(f *os.File) error) error {
	f, err := os.OpenFile(d.at(name), os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (d disk) write(name string, data []byte, flags int) error {
	return d.with(name, flags, func(f *os.File) error { _, err := f.Write(data); return err })
}

// commit commits the collection that a file is in.
func (d disk) commit(name string) error {
	dir, err := os.Open(filepath.Dir(d.at(name)))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d disk) create(name string, data []byte) error {
	return d.write(name, data, os.O_CREATE|os.O_EXCL)
}
func (d disk) replace(name string, data []byte) error {
	return d.write(name, data, os.O_CREATE|os.O_TRUNC)
}
func (d disk) append(name string, data []byte) error { return d.write(name, data, os.O_APPEND) }
func (d disk) writeAt(name string, data []byte, off int) error {
	return d.with(name, 0, func(f *os.File) error { _, err := f.WriteAt(data, int64(off)); return err })
}
func (d disk) truncate(name string, size int) error {
	return d.with(name, 0, func(f *os.File) error { return f.Truncate(int64(size)) })
}

func (d disk) rename(from, to string) error {
	if err := os.Rename(d.at(from), d.at(to)); err != nil {
		return err
	}
	return errors.Join(d.commit(from), d.commit(to))
}

func (d disk) link(from, to string) error {
	if err := os.Link(d.at(from), d.at(to)); err != nil {
		return err
	}
	return d.commit(to)
}

func (d disk) remove(name string) error {
	if err := os.Remove(d.at(name)); err != nil {
		return err
	}
	return d.commit(name)
}
func (d disk) mkdir(name string) error { return os.Mkdir(d.at(name), 0o755) }

func (d disk) mark(name string, m mark) error {
	if err := unix.Setxattr(d.at(name), markAttr, []byte(m.text), 0); err != nil {
		return err
	}
	if err := os.Chtimes(d.at(name), m.mtime, m.mtime); err != nil {
		return err
	}
	return d.commit(name)
}

// markOf is what was set by mark.
func (d disk) markOf(name string) (m mark, err error) {
	info, err := os.Stat(d.at(name))
	if err != nil {
		return m, err
	}
	var text [100]byte
	n, err := unix.Getxattr(d.at(name), markAttr, text[:])
	if errors.Is(err, unix.ENODATA) {
		n, err = 0, nil
	}
	return mark{info.ModTime(), string(text[:max(n, 0)])}, err
}

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

func (d drive) remove(name string) error { _, err := d.do(http.MethodDelete, name, nil); return err }
func (d drive) mkdir(name string) error  { _, err := d.do("MKCOL", name, nil); return err }

// A worker changes files of its own, among those of others, in directories that all share
// and that others rename while it works.
type worker struct {
	id   int
	name string // of what it works through, for messages
	on   files
	dirs []string
	// moveTo are the directories to which those of dirs are moved.
	moveTo []string
	dice   *rand.Rand
	n      int // contents that it has made

	own   []*owned
	acked int // changes that were acknowledged
	fails int // changes that were refused, or nobody knows

	longest time.Duration // of a change
}

// An owned is a file that one worker alone changes.
type owned struct {
	path string
	// may are the contents that it may have, by their sums: the last that was acknowledged,
	// and those of which nobody knows. gone says that it may have been removed.
	may  []string
	gone bool
	data []byte // the content, if only one is possible
	// mark is what it has to have, if it is not what nobody knows.
	mark   mark
	marked bool
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
	if m, ok := w.on.(*mount); ok { // it may end in the middle, but has to be there
		m.there.Wait()
	}
	kind := w.dice.IntN(100)
	_, adds := w.on.(*arvados)
	if len(w.own) == 0 || kind < 45 || adds {
		w.create(w.fresh())
		return
	}
	f := w.own[w.dice.IntN(len(w.own))]
	edit, _ := w.on.(editor)
	switch {
	case kind < 60 && edit != nil && w.dice.IntN(3) > 0:
		w.edit(f, edit)
	case kind < 60:
		w.replace(f)
	case kind < 67 && edit != nil:
		if w.dice.IntN(2) == 0 {
			w.link(f, edit)
		} else {
			w.mark(f, edit)
		}
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
	f := &owned{path: name, may: []string{sumOf(data)}, gone: true, data: data}
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
	w.became(f, data, w.on.replace(f.path, data))
	f.marked = false // a PUT keeps no attributes, and who knows of others
}

// became notes that f has the content data, or may have it.
func (w *worker) became(f *owned, data []byte, err error) {
	if w.outcome(err) {
		f.may, f.data = []string{sumOf(data)}, data
		return
	}
	f.may, f.marked = append(f.may, sumOf(data)), false
}

// edit changes a part of a file.
func (w *worker) edit(f *owned, on editor) {
	if !f.known() {
		return
	}
	w.n++
	text := fmt.Appendf(nil, "worker %d, edit %d\n", w.id, w.n)
	data := bytes.Clone(f.data)
	var err error
	switch w.dice.IntN(3) {
	case 0:
		data = append(data, text...)
		err = on.append(f.path, text)
	case 1:
		off := w.dice.IntN(len(data))
		data = append(data[:off], append(text, data[min(off+len(text), len(data)):]...)...)
		err = on.writeAt(f.path, text, off)
	default:
		size := len(data)/2 + w.dice.IntN(len(data))
		data = append(data, make([]byte, max(0, size-len(data)))...)[:size]
		err = on.truncate(f.path, size)
	}
	f.mark.mtime = time.Time{}
	w.became(f, data, err)
}

// link renames f by way of a second name.
func (w *worker) link(f *owned, on editor) {
	if !f.known() {
		return
	}
	to := w.fresh()
	if !w.outcome(on.link(f.path, to)) {
		return
	}
	if w.outcome(w.on.remove(f.path)) {
		f.path = to
	}
}

// mark gives f attributes.
func (w *worker) mark(f *owned, on editor) {
	if !f.known() {
		return
	}
	w.n++
	m := mark{time.Unix(int64(1e9+w.n), 0), fmt.Sprintf("worker %d, mark %d", w.id, w.n)}
	if f.marked = w.outcome(on.mark(f.path, m)); f.marked {
		f.mark = m
	}
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
	to := path.Join(w.moveTo[w.dice.IntN(len(w.moveTo))], fmt.Sprintf("moved-w%d-%d", w.id, w.n))
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

// unmarked lists the files of w that don't have the attributes that they got. Those that
// others moved at the same time may have lost them: attributes are of a name.
func (w *worker) unmarked(d disk, all map[string][]string) (lost []string) {
	for _, f := range w.own {
		if !f.marked || !f.known() || !slices.Contains(all[f.may[0]], f.path) {
			continue
		}
		var seen []mark
		ok := false
		for _, name := range all[f.may[0]] {
			m, err := d.markOf(name)
			if err != nil {
				return append(lost, err.Error())
			}
			seen = append(seen, m)
			ok = ok || m.text == f.mark.text && (f.mark.mtime.IsZero() || m.mtime.Equal(f.mark.mtime))
		}
		if !ok && len(seen) > 0 {
			lost = append(lost, fmt.Sprintf("%s (%s), marks are %v; want %v", f.path, w.name, seen, f.mark))
		}
	}
	return lost
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
