package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/browse"
)

// siteFlags say in whose site a name is looked up.
type siteFlags struct {
	As string `default:"admin" env:"KEEPDAV_AS" placeholder:"USER" help:"Whose /home and rights are meant. Default: ${default}."`
}

const nameHelp = `A collection is named by its path in the site ("/home/data", "/home/project/data",
"/shared/…"), by its UUID, with @N for version N, or by its name in the home of the
user ("data").`

var uuidForm = regexp.MustCompile(`^[0-9a-z]{5}-[0-9a-z]{5}-[0-9a-z]{15}(@[0-9]+)?$`)

// siteName is the path in the site of what a command line calls name.
func siteName(name string) string {
	id, rest, _ := strings.Cut(name, "/")
	switch {
	case strings.HasPrefix(name, "/"):
		return path.Clean(name)
	case uuidForm.MatchString(id):
		return path.Join("/by_id", id, rest)
	}
	return path.Join("/home", name)
}

type lsCmd struct {
	siteFlags
	Name string `arg:"" optional:"" default:"/" help:"Directory or file."`
	Long bool   `short:"l" help:"Show sizes and times."`
}

func (c *lsCmd) Help() string { return nameHelp }

// siteArgs are the arguments of what works on a name of the site.
type siteArgs struct {
	As        string
	Name      string
	NameBytes []byte `json:",omitempty"`
}

// lsEntry is a line of ls.
type lsEntry struct {
	Name       string      `json:"name"`
	NameBytes  []byte      `json:"name_base64,omitempty"`
	Dir        bool        `json:"dir"`
	Size       int64       `json:"size"`
	Modified   time.Time   `json:"modified_at"`
	Mode       string      `json:"mode"`
	ETag       string      `json:"etag,omitempty"`
	Collection collfs.UUID `json:"collection,omitempty"`
}

func entryOf(i davfs.Info) lsEntry {
	return lsEntry{Name: i.Name, Dir: i.Dir, Size: i.Size, Modified: i.ModTime, Mode: i.Mode().String(), ETag: i.ETag(), Collection: i.Collection}
}

func (c *lsCmd) Run(ctx context.Context, root *cli) error {
	entries, err := call[[]lsEntry](ctx, root, "ls", siteArgs{As: c.As, Name: siteName(c.Name)})
	if err != nil {
		return err
	}
	return show(root, entries, func(w io.Writer) {
		if !c.Long {
			for _, e := range entries {
				fmt.Fprintln(w, printable(e.Name)+map[bool]string{true: "/"}[e.Dir])
			}
			return
		}
		t := newTable(w, "MODE", "SIZE", "MODIFIED", "NAME")
		for _, e := range entries {
			size, at := "-", "-"
			if !e.Dir {
				size = browse.Size(e.Size)
			}
			if !e.Modified.IsZero() {
				at = e.Modified.Local().Format(time.DateTime)
			}
			t.row(e.Mode, size, at, e.Name+map[bool]string{true: "/"}[e.Dir])
		}
		t.end()
	})
}

func listDirectory(ctx context.Context, s *store, a siteArgs, _ func(control.Progress)) ([]lsEntry, error) {
	fsys, err := s.SiteOf(ctx, a.As)
	if err != nil {
		return nil, err
	}
	info, err := fsys.Stat(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	if !info.Dir {
		return []lsEntry{entryOf(info)}, nil
	}
	entries := []lsEntry{}
	err = eachEntry(ctx, fsys, a.Name, func(i davfs.Info) error {
		entries = append(entries, entryOf(i))
		return nil
	})
	return entries, err
}

// eachEntry calls visit for each entry of a directory of the site.
func eachEntry(ctx context.Context, fsys davfs.FileSystem, dir string, visit func(davfs.Info) error) error {
	list, err := fsys.List(ctx, dir)
	if err != nil {
		return err
	}
	defer list.Close()
	batch := make([]davfs.Info, 256)
	for {
		n, err := list.Next(batch)
		if err != nil || n == 0 {
			return err
		}
		for _, i := range batch[:n] {
			if err := visit(i); err != nil {
				return err
			}
		}
	}
}

type importCmd struct {
	siteFlags
	Dir        string `arg:"" type:"path" help:"Directory to copy."`
	Collection string `arg:"" help:"Where to; it is made if missing."`
	Workers    int    `default:"4" help:"Files copied at once."`
	Checksum   bool   `help:"Copy files again even if size and time are the same."`
}

func (c *importCmd) Help() string {
	return nameHelp + `

Modification times, permission bits and symbolic links are kept. What is in the collection
already with the same size and time is passed over, so an import that was interrupted goes on
where it was when it is started again. Nothing is deleted from the collection. What cannot be read is
passed over and told at the end; the exit code is then 1.

Example:
  keep-dav import ~/measurements measurements-2026`
}

// Validate refuses what is no directory.
func (c *importCmd) Validate() error {
	info, err := os.Stat(c.Dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", c.Dir)
	}
	return err
}

// copyResult says what an import or export did.
type copyResult struct {
	Collection   collfs.UUID `json:"collection,omitempty"`
	Files        int64       `json:"files"`
	Dirs         int64       `json:"directories"`
	Links        int64       `json:"symlinks"`
	Bytes        int64       `json:"bytes"`
	Skipped      int64       `json:"skipped"`
	Ignored      []string    `json:"ignored,omitempty"` // devices, sockets, pipes
	IgnoredBytes [][]byte    `json:"ignored_base64,omitempty"`
	Failed       []string    `json:"failed,omitempty"` // what could not be read, with the reason
	FailedBytes  [][]byte    `json:"failed_base64,omitempty"`
	Seconds      float64     `json:"seconds"`
}

func (r *copyResult) text(w io.Writer) {
	fmt.Fprintf(w, "%d files (%s), %d directories, %d symbolic links in %.1f s (%s/s)", r.Files, browse.Size(r.Bytes), r.Dirs, r.Links,
		r.Seconds, browse.Size(int64(float64(r.Bytes)/max(r.Seconds, 0.001))))
	if r.Skipped > 0 {
		fmt.Fprintf(w, "; %d were there already", r.Skipped)
	}
	fmt.Fprintln(w)
	for _, n := range r.Ignored {
		fmt.Fprintf(w, "not copied, it is no file, directory or link: %s\n", printable(n))
	}
	for _, n := range r.Failed {
		fmt.Fprintf(w, "not copied: %s\n", printable(n))
	}
}

func (c *importCmd) Run(ctx context.Context, root *cli) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	r, err := call[copyResult](ctx, root, "import", importArgs{As: c.As, Dir: dir, Name: siteName(c.Collection), Workers: c.Workers, Again: c.Checksum})
	if err != nil {
		return err
	}
	return r.show(root, "imported")
}

// show prints r, and returns an error when something of it failed.
func (r *copyResult) show(root *cli, done string) error {
	if err := show(root, r, r.text); err != nil {
		return err
	}
	if n := len(r.Failed); n > 0 {
		return fmt.Errorf("%d files or directories could not be read; all others were %s", n, done)
	}
	return nil
}

type exportCmd struct {
	siteFlags
	Collection string `arg:"" help:"What to copy."`
	Dir        string `arg:"" type:"path" help:"Where to; it is made if missing."`
	Workers    int    `default:"4" help:"Files copied at once."`
}

func (c *exportCmd) Help() string {
	return nameHelp + `

Modification times, permission bits and symbolic links are kept (you may always change the
directories). What is there already with the same size and time is passed over. Nothing is deleted. What
cannot be read, because the store is damaged, is passed over and told at the end; the exit code is then 1.`
}

func (c *exportCmd) Run(ctx context.Context, root *cli) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r, err := call[copyResult](ctx, root, "export", importArgs{As: c.As, Dir: dir, Name: siteName(c.Collection), Workers: c.Workers})
	if err != nil {
		return err
	}
	return r.show(root, "exported")
}
