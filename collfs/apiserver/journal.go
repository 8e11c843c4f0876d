package apiserver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

// A journal has the contents that this process has put into a collection, as far
// back as they are remembered: to find out whether somebody overwrote them who had
// not seen them.
type journal struct {
	commits []ourCommit
	paths   int
}

// An ourCommit is one commit of this process.
type ourCommit struct {
	pdh     string // of what it made
	version int
	at      time.Time
	changes []ourChange
}

// An ourChange says what a path had before and after a commit, by the ids that are
// derived from spans; zero: no file.
type ourChange struct {
	path    string
	was, is collfs.ContentID
}

// maxJournal is how many changes of a collection are remembered.
const maxJournal = 5000

// add notes what a commit has made.
func (j *journal) add(k *commit, got *api.Collection) {
	o := ourCommit{pdh: got.PDH, version: got.Version, at: got.ModifiedAt}
	for target, source := range k.plan.targets {
		number, ok := strings.CutPrefix(source, "manifest_text/")
		i, err := strconv.Atoi(number)
		if !ok || err != nil || i >= len(k.plan.contents) {
			continue
		}
		path := strings.TrimPrefix(target, "/")
		o.changes = append(o.changes, ourChange{path, idAt(k.base.tree, path, k), spansID(noHoles(k.plan.contents[i].Segments, k.zero))})
	}
	if len(o.changes) == 0 {
		if n := len(j.commits); n > 0 { // what they made is in this state, too
			j.commits[n-1].pdh, j.commits[n-1].version, j.commits[n-1].at = got.PDH, got.Version, got.ModifiedAt
			j.dropMissing(k)
		}
		return
	}
	j.commits = append(j.commits, o)
	j.paths += len(o.changes)
	for j.paths > maxJournal && len(j.commits) > 1 {
		j.paths -= len(j.commits[0].changes)
		j.commits = slices.Delete(j.commits, 0, 1)
	}
	j.dropMissing(k)
}

// last returns the last commit; there is one.
func (j *journal) last() *ourCommit { return &j.commits[len(j.commits)-1] }

func (j *journal) clone() journal {
	return journal{slices.Clone(j.commits), j.paths} // the changes of a commit are never changed in place
}

// lostIn is lost for a tree.
func (j *journal) lostIn(t *collfs.Tree) []lostFile {
	var all map[collfs.ContentID]bool
	at := func(path string) collfs.ContentID {
		c, err := t.Content(path)
		if err != nil {
			return collfs.ContentID{}
		}
		return spansID(c.Segments)
	}
	return j.lost(at, func(id collfs.ContentID) bool {
		if all == nil {
			all = contentsOf(t)
		}
		return all[id]
	})
}

func idAt(t *collfs.Tree, path string, k *commit) collfs.ContentID {
	c, err := t.Content(path)
	if err != nil {
		return collfs.ContentID{}
	}
	return spansID(noHoles(c.Segments, k.zero))
}

// dropMissing forgets what this process has itself taken away or moved by now, or
// packed into other blocks.
func (j *journal) dropMissing(k *commit) {
	latest := make(map[string]int, j.paths)
	for i := range j.commits {
		for _, ch := range j.commits[i].changes {
			latest[ch.path] = i
		}
	}
	for i := range j.commits {
		o := &j.commits[i]
		gone := func(ch ourChange) bool { return latest[ch.path] == i && idAt(k.plan.next, ch.path, k) != ch.is }
		if slices.ContainsFunc(o.changes, gone) {
			n := len(o.changes)
			o.changes = slices.DeleteFunc(slices.Clone(o.changes), gone)
			j.paths -= n - len(o.changes)
		}
	}
	j.commits = slices.DeleteFunc(j.commits, func(o ourCommit) bool { return len(o.changes) == 0 })
}

// A lostFile is a content that is not in a collection any more and should be.
type lostFile struct {
	path string
	pdh  string // of a version that has it at path
	at   time.Time
	id   collfs.ContentID
}

// lost returns what of the journal is not in a state of the collection because that
// was made of one that was before ours: of the last commits, all that have left
// nothing. at returns what the state has at a path, has whether it has a content
// anywhere.
func (j *journal) lost(at func(path string) collfs.ContentID, has func(collfs.ContentID) bool) (files []lostFile) {
	handled := make(map[string]bool)
	for i := len(j.commits) - 1; i >= 0; i-- {
		o := &j.commits[i]
		var reverted []lostFile
		for _, ch := range o.changes {
			if handled[ch.path] { // a later one says more
				continue
			}
			now := at(ch.path)
			if now == ch.is || ch.is != collfs.EmptyID && has(ch.is) {
				return files
			}
			if now == (collfs.ContentID{}) || j.had(i, ch.path, now) {
				reverted = append(reverted, lostFile{ch.path, o.pdh, o.at, ch.is})
			}
		}
		for _, ch := range o.changes {
			handled[ch.path] = true
		}
		files = append(files, reverted...)
	}
	return files
}

// had reports whether path had a content before commit i was made.
func (j *journal) had(i int, path string, id collfs.ContentID) bool {
	for k := range j.commits[:i+1] {
		for _, ch := range j.commits[k].changes {
			if ch.path == path && (ch.was == id || k < i && ch.is == id) {
				return true
			}
		}
	}
	return false
}

// forget drops what is not to be looked for any more.
func (j *journal) forget(files []lostFile) {
	gone := make(map[string]bool)
	for _, f := range files {
		gone[f.path] = true
	}
	for i := range j.commits {
		o := &j.commits[i]
		n := len(o.changes)
		o.changes = slices.DeleteFunc(slices.Clone(o.changes), func(ch ourChange) bool { return gone[ch.path] })
		j.paths -= n - len(o.changes)
	}
	j.commits = slices.DeleteFunc(slices.Clone(j.commits), func(o ourCommit) bool { return len(o.changes) == 0 })
}
