package davfs

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"keepdav/collfs"
)

// A child is what a name in a project is, as far as resolving needs it.
type child struct {
	kind    childKind
	uuid    collfs.UUID
	looseOf collfs.UUID // of a collection that has the mark of loose files: its project
}

type childKind uint8

const (
	noChild childKind = iota // there is nothing of that name
	isCollection
	isProject
)

func childOf(e collfs.Entry) child {
	switch {
	case e.Collection != nil:
		k := child{kind: isCollection, uuid: e.Collection.UUID}
		if isLooseRecord(e.Collection) {
			k.looseOf = e.Collection.Owner
		}
		return k
	case e.Project != nil:
		return child{kind: isProject, uuid: e.Project.UUID}
	}
	return child{}
}

// byID is the key under which names.by UUID are cached, as if they lay in one project.
const byID collfs.UUID = "by_id"

// folderCache remembers what names in projects are, also that they are nothing.
// An entry goes when an event or a change of ours concerns its project. What was
// asked before a drop is not stored after it: gen tells.
type folderCache struct {
	mu      sync.RWMutex // guards the fields below, and the fields of each folder
	folders map[collfs.UUID]*folder
	total   int    // names in all folders
	gen     uint64 // counts drops
}

type folder struct {
	names    map[string]child
	folded   map[string]string // by foldKeys: the one name that has it; "" if it is not the only one
	loose    child
	hasLoose bool // loose is known
}

// Bounds of the cache. At the bound it starts anew: it is a cache, and refills
// at the cost of one indexed query a name.
const (
	maxFolders = 50_000
	maxNames   = 200_000
)

func (c *folderCache) init() { c.folders = map[collfs.UUID]*folder{} }

func (c *folderCache) get(project collfs.UUID, name string) (k child, gen uint64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if f := c.folders[project]; f != nil {
		k, ok = f.names[name]
	}
	return k, c.gen, ok
}

func (c *folderCache) put(project collfs.UUID, name string, k child, gen uint64) {
	if collfs.CheckName(name) != nil {
		return // nothing is called so; who asks decides how long it is
	}
	c.update(project, gen, func(f *folder) {
		if f.names == nil {
			f.names = map[string]child{}
		}
		if _, ok := f.names[name]; !ok {
			c.total++
		}
		f.names[strings.Clone(name)] = k
	})
}

func (c *folderCache) update(project collfs.UUID, gen uint64, change func(*folder)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if len(c.folders) >= maxFolders || c.total >= maxNames {
		clear(c.folders)
		c.total = 0
	}
	f := c.folders[project]
	if f == nil {
		f = new(folder)
		c.folders[project] = f
	}
	change(f)
}

func (c *folderCache) drop(project collfs.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	if f := c.folders[project]; f != nil {
		c.total -= len(f.names)
		delete(c.folders, project)
	}
}

// child finds what is called exactly name in a project.
func (s *Site) child(ctx context.Context, project collfs.UUID, name string) (child, error) {
	k, gen, ok := s.names.get(project, name)
	if ok {
		return k, nil
	}
	e, err := s.conf.Folders.Lookup(ctx, project, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return child{}, err
	}
	if err == nil {
		k = childOf(e)
	}
	s.names.put(project, name, k, gen)
	return k, nil
}

// foldedName finds the one name in a project that equals name after folding.
func (s *Site) foldedName(ctx context.Context, project collfs.UUID, name string, foldCase bool) (string, bool, error) {
	s.names.mu.RLock()
	f, gen := s.names.folders[project], s.names.gen
	var folded map[string]string
	if f != nil {
		folded = f.folded
	}
	s.names.mu.RUnlock()
	if folded == nil {
		entries, err := s.conf.Folders.List(ctx, project)
		if err != nil {
			return "", false, err
		}
		folded = make(map[string]string, len(entries))
		for _, e := range entries {
			for _, key := range foldKeys(e.Name) {
				if _, ok := folded[key]; ok && key[0] == 'c' {
					folded[key] = "" // ambiguous
				} else if !ok { // of equal spellings, the first
					folded[key] = e.Name
				}
			}
		}
		s.names.update(project, gen, func(f *folder) { f.folded = folded })
	}
	real := folded["n"+norm.NFC.String(name)]
	if real == "" && foldCase {
		real = folded["c"+foldCaseOf(name)]
	}
	return real, real != "", nil
}

func foldKeys(name string) [2]string {
	return [2]string{"n" + norm.NFC.String(name), "c" + foldCaseOf(name)}
}

func foldCaseOf(name string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(name)))
}

// mayFold reports whether a name that does not exist as given may be meant for another.
func mayFold(name string, c Client) bool {
	if c.Exact {
		return false
	}
	if c.FoldCase {
		return true
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return true
		}
	}
	return false
}

// accessCache remembers levels for accessTTL.
type accessCache struct {
	mu     sync.RWMutex // guards the fields below
	levels map[accessKey]accessLevel
	gen    uint64 // counts clears
}

type accessKey struct{ user, id collfs.UUID }

type accessLevel struct {
	level collfs.Level
	until time.Time
	asked bool // it is being looked up again, see Config.Advisory
}

const maxLevels = 100_000

func (c *accessCache) init() { c.levels = map[accessKey]accessLevel{} }

func (c *accessCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	clear(c.levels)
}

// Level says what the user may do with a project or collection; of one that does
// not exist, nothing. The answer may be accessTTL old, or older if the site's levels are
// advisory.
func (f *FS) Level(ctx context.Context, id collfs.UUID) (collfs.Level, error) {
	c := &f.site.access
	key := accessKey{f.user.UUID, id}
	c.mu.RLock()
	v, ok := c.levels[key]
	gen := c.gen
	c.mu.RUnlock()
	if ok && time.Now().Before(v.until) {
		return v.level, nil
	}
	if ok && f.site.conf.Advisory {
		if !v.asked && c.ask(key) {
			f.site.wg.Go(func() { f.askAgain(key) })
		}
		return v.level, nil
	}
	return f.askLevel(ctx, key, gen)
}

// ask notes that the level of key is looked up again, and reports whether nobody else
// does.
func (c *accessCache) ask(key accessKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.levels[key]
	if !ok || v.asked {
		return false
	}
	v.asked = true
	c.levels[key] = v
	return true
}

// askAgain looks a level up again that is old. If that fails it stays what it was.
func (f *FS) askAgain(key accessKey) {
	c := &f.site.access
	c.mu.RLock()
	gen := c.gen
	c.mu.RUnlock()
	_, err := f.askLevel(f.site.work, key, gen)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.levels[key]; ok {
		v.asked, v.until = false, time.Now().Add(accessTTL)
		c.levels[key] = v
	}
}

// askLevel looks a level up.
func (f *FS) askLevel(ctx context.Context, key accessKey, gen uint64) (collfs.Level, error) {
	c, now := &f.site.access, time.Now()
	level, err := f.site.conf.Folders.Access(ctx, key.user, key.id)
	if errors.Is(err, fs.ErrNotExist) {
		level, err = collfs.NoAccess, nil
	}
	if err != nil {
		return collfs.NoAccess, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == gen {
		if len(c.levels) >= maxLevels {
			clear(c.levels)
		}
		c.levels[key] = accessLevel{level: level, until: now.Add(accessTTL)}
	}
	return level, nil
}
