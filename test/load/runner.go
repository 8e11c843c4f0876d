package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// Config says what load to make.
type Config struct {
	URL            string // of the server, no slash at the end
	User, Password string
	Collections    []string // paths, like /home/a; they are there already
	Workers        int
	Seed           uint64
	Large          int  // bytes of the largest file (default 2 MiB); most are small
	Ops            int  // requests of each worker; 0: until ctx ends
	Stepwise       bool // leave out what the reference server does in steps: trees, moves onto what exists, and writes into files
}

// Runner makes the load.
type Runner struct {
	cfg     Config
	client  *http.Client
	journal *Journal
}

// NewRunner works on what the journal says is there. The client is used as it is.
func NewRunner(cfg Config, client *http.Client, journal *Journal) *Runner {
	if cfg.Large == 0 {
		cfg.Large = 2 << 20
	}
	return &Runner{cfg, client, journal}
}

// Roots are a worker's directories, one in each collection.
func (c Config) Roots(worker int) []string {
	var roots []string
	for _, col := range c.Collections {
		roots = append(roots, fmt.Sprintf("%s/w%d", col, worker))
	}
	return roots
}

// Empty is a journal for a server where no worker has anything yet.
func (c Config) Empty() *Journal {
	base := make([]State, c.Workers)
	for i := range base {
		base[i] = State{}
	}
	return NewJournal(base)
}

// Run makes load until the workers have done their requests, ctx ends, or the
// server is gone. A request whose answer didn't come whole is in flight for
// ever. Run returns an error for an answer that no good server gives.
func (r *Runner) Run(ctx context.Context) error {
	errs := make([]error, r.cfg.Workers)
	var wg sync.WaitGroup
	expected := r.journal.At(r.journal.Position())
	for w := range r.cfg.Workers {
		wg.Go(func() {
			errs[w] = r.work(ctx, w, expected[w].State)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// errGone: there was no answer, or not a whole one.
var errGone = errors.New("the server is gone")

func (r *Runner) work(ctx context.Context, w int, state State) error {
	g := r.generator(w, state)
	for n := 0; r.cfg.Ops == 0 || n < r.cfg.Ops; n++ {
		if ctx.Err() != nil {
			return nil
		}
		op, body := g.next()
		r.journal.add(w, op, begun)
		o, err := r.send(op, body)
		if errors.Is(err, errGone) {
			return nil
		}
		if err != nil {
			return err
		}
		r.journal.add(w, op, o)
		if o == acknowledged {
			state.apply(op)
		}
	}
	return nil
}

func escape(p string) string { return (&url.URL{Path: p}).EscapedPath() }

func (r *Runner) send(op Op, body []byte) (outcome, error) {
	// Not with ctx: ending the load must not cut off what was sent.
	req, err := http.NewRequest(op.Method, r.cfg.URL+escape(op.Path), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(r.cfg.User, r.cfg.Password)
	if op.To != "" {
		req.Header.Set("Destination", r.cfg.URL+escape(op.To))
		req.Header.Set("Overwrite", "T")
		req.Header.Set("Depth", "infinity")
	}
	if op.Part > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", op.Off, op.Off+op.Part-1))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, errGone
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, errGone
	case resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusOK:
		return acknowledged, nil
	case resp.StatusCode == http.StatusInsufficientStorage:
		return refused, nil
	}
	return 0, fmt.Errorf("%v: unexpected answer %s: %.300s", op, resp.Status, answer)
}

// generator chooses requests that have to succeed on the state.
type generator struct {
	cfg   Config
	roots []string
	state State
	rng   *rand.Rand
	names int
	known map[Content][]byte // what was put here
}

func (r *Runner) generator(w int, state State) *generator {
	return &generator{cfg: r.cfg, roots: r.cfg.Roots(w), state: state, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(w))), known: map[Content][]byte{}}
}

func (g *generator) next() (Op, []byte) {
	for _, root := range g.roots {
		if _, ok := g.state[root]; !ok {
			return Op{Method: "MKCOL", Path: root}, nil
		}
	}
	for {
		if op, body, ok := g.try(); ok {
			return op, body
		}
	}
}

const mostEntries = 60 // a worker's; above it, it rather deletes

func (g *generator) try() (op Op, body []byte, ok bool) {
	file, dir := g.pick(false), g.pick(true)
	kind := g.rng.IntN(100)
	if len(g.state) > mostEntries {
		kind = 70 + g.rng.IntN(15)
	}
	switch {
	case kind < 35: // a new file
		return g.put(g.newName())
	case kind < 55: // an overwrite
		if file == "" {
			return g.put(g.newName())
		}
		if g.rng.IntN(3) == 0 {
			return g.putInto(file)
		}
		return g.put(file)
	case kind < 62:
		return Op{Method: "MKCOL", Path: g.newName()}, nil, true
	case kind < 70:
		return Op{Method: "COPY", Path: file, To: g.target(file)}, nil, file != ""
	case kind < 80:
		return Op{Method: "DELETE", Path: file}, nil, file != ""
	case kind < 85:
		return Op{Method: "DELETE", Path: dir}, nil, dir != "" && !(g.cfg.Stepwise && g.hasChildren(dir))
	case kind < 93:
		return Op{Method: "MOVE", Path: file, To: g.target(file)}, nil, file != ""
	case kind < 97:
		to := g.newName()
		return Op{Method: "MOVE", Path: dir, To: to}, nil, dir != "" && !under(to, dir)
	default:
		to := g.newName()
		return Op{Method: "COPY", Path: dir, To: to}, nil, dir != "" && !under(to, dir) && !g.cfg.Stepwise
	}
}

func (g *generator) hasChildren(dir string) bool {
	for p := range g.state {
		if p != dir && under(p, dir) {
			return true
		}
	}
	return false
}

// pick is a random file, or directory below a root; "" when there is none.
func (g *generator) pick(dir bool) string {
	var all []string
	for p, e := range g.state {
		if e.Dir == dir && !slices.Contains(g.roots, p) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all) // so that the seed decides
	return all[g.rng.IntN(len(all))]
}

// target is where a file may go: mostly a new name, at times onto another file.
func (g *generator) target(file string) string {
	if onto := g.pick(false); !g.cfg.Stepwise && g.rng.IntN(3) == 0 && onto != file && onto != "" {
		return onto
	}
	return g.newName()
}

// newName is a name that nothing has, in a directory that is there, not too deep.
func (g *generator) newName() string {
	dirs := slices.Sorted(maps.Keys(g.state))
	dirs = slices.DeleteFunc(dirs, func(p string) bool { return !g.state[p].Dir || strings.Count(p, "/") > 6 })
	dir := dirs[g.rng.IntN(len(dirs))]
	g.names++
	name := fmt.Sprintf("n%d-%x", g.names, g.rng.Uint32())
	if g.rng.IntN(8) == 0 {
		name += " ü日%"
	}
	return path.Join(dir, name)
}

func (g *generator) put(name string) (Op, []byte, bool) {
	n := g.rng.IntN(16 << 10)
	switch g.rng.IntN(10) {
	case 0:
		n = g.rng.IntN(g.cfg.Large)
	case 1:
		n = 0
	case 2:
		n = g.rng.IntN(256 << 10)
	}
	body, c := newContent(g.rng.Uint64(), n)
	g.remember(c, body)
	return Op{Method: "PUT", Path: name, Content: c}, body, true
}

// putInto writes over a part of a file, at times beyond its end.
func (g *generator) putInto(file string) (Op, []byte, bool) {
	old, ok := g.known[g.state[file].Content]
	if !ok || g.cfg.Stepwise {
		return g.put(file)
	}
	body, _ := newContent(g.rng.Uint64(), 1+g.rng.IntN(8<<10))
	off := g.rng.IntN(len(old) + 1)
	whole := slices.Concat(old[:off], body, old[min(off+len(body), len(old)):])
	c := contentOf(whole)
	g.remember(c, whole)
	return Op{Method: "PUT", Path: file, Content: c, Off: off, Part: len(body)}, body, true
}

// remember keeps what has been put, as long as something has it.
func (g *generator) remember(c Content, body []byte) {
	if len(g.known) >= 2*mostEntries {
		used := map[Content]bool{}
		for _, e := range g.state {
			used[e.Content] = true
		}
		maps.DeleteFunc(g.known, func(c Content, _ []byte) bool { return !used[c] })
	}
	g.known[c] = body
}
