package collfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"keepdav/keepio"
)

// TransferOptions say how data moves between collections.
type TransferOptions struct {
	CopyOptions
	Move    bool       // what was copied goes from where it was, in the same transaction
	Unique  bool       // a new collection whose name is taken gets another name
	Records []RecordOp // done first, in the same transaction

	// Empty, of Extract, is a collection that goes to the trash before all, if it
	// has nothing in it; else the error is ErrNotEmpty. See TrashEmpty.
	Empty *Collection

	absorb bool // what was copied goes with the record that it was all of
}

// A transfer is one transaction that changes several collections and records.
// Nobody else changes the collections until its outcome is known.
type transfer struct {
	fs      *FS
	all     []*Collection // in the order of their UUIDs
	build   func(tx *Tx) ([]part, error)
	created Record
	by      *View // on whose behalf
}

// A part is what a transfer does to one collection.
type part struct {
	c       *Collection
	changes []change
	before  func() // called before the part shows in the tree, with the locks of all collections
	then    func() // called when it does
}

// Transfer copies or moves what is at from in src to the path to in dst, as one
// transaction, and commits it durably. src and dst may be the same collection.
// Handles and Refs go along with what is moved.
func (f *FS) Transfer(ctx context.Context, src *Collection, from string, dst *Collection, to string, o TransferOptions) (created bool, err error) {
	if src == dst {
		return f.transferWithin(ctx, src, from, to, o)
	}
	if err := checkPath(to); err != nil {
		return false, pathError("transfer", to, err)
	}
	t := &transfer{fs: f, all: []*Collection{src, dst}}
	t.build = func(tx *Tx) ([]part, error) {
		n, err := t.sourceLocked(src, from, o)
		if err != nil {
			return nil, err
		}
		puts, isNew, err := dst.receiveLocked(n, to, o)
		if err != nil {
			return nil, err
		}
		created = isNew
		tx.Records = o.Records
		parts := []part{{c: dst, changes: puts}}
		if o.Move || o.absorb {
			parts[0].then = func() { handOverLocked(src, n, n, dst, dst.tree.lookup(to)) }
		}
		if o.Move {
			parts = append(parts, takeAway(src, from, n))
		}
		return parts, nil
	}
	if err := t.run(ctx); err != nil {
		return false, err
	}
	return created, nil
}

// takeAway is the part of a move that ends what was moved where it was.
func takeAway(src *Collection, from string, n *node) part {
	return part{c: src, changes: []change{{Op: Op{Kind: OpDelete, Path: from, Old: n.id, Time: src.now()}, node: n}}}
}

// handOverLocked makes the handles and Refs on n, which is in src, and on all
// below it, go on at at, which is in dst and equal to n. Files that have names
// elsewhere in src, not at top or below it, stay there.
func handOverLocked(src *Collection, top, n *node, dst *Collection, at *node) {
	if at == nil || at.isDir() != n.isDir() || at.id != n.id {
		return
	}
	if n.isDir() {
		for name, k := range n.kids.snapshot().all {
			handOverLocked(src, top, k, dst, at.kids.get(name))
		}
	}
	o := n.open
	switch {
	case o == nil || at.open != nil || !n.isDir() && !n.onlyBelow(top):
		return
	case n.hasHandles():
		delete(src.opened, n)
		dst.opened[at] = struct{}{}
	}
	// What looked at src before goes on looking at n, which nobody changes any more.
	n.open, at.open, o.n = nil, o, at
	o.home.Store(dst)
	dst.pins.Add(int64(o.uses))
	src.pins.Add(-int64(o.uses))
}

func (f *FS) transferWithin(ctx context.Context, c *Collection, from, to string, o TransferOptions) (created bool, err error) {
	if len(o.Records) > 0 {
		return f.transferWithRecords(ctx, c, from, to, o)
	}
	if o.Move {
		created, err = c.Rename(from, to, o.CopyOptions)
	} else {
		created, err = c.Copy(from, to, o.CopyOptions)
	}
	if err != nil {
		return false, err
	}
	return created, c.Commit(ctx, true)
}

// transferWithRecords is transferWithin in one transaction with changes of records.
func (f *FS) transferWithRecords(ctx context.Context, c *Collection, from, to string, o TransferOptions) (created bool, err error) {
	if err := checkPath(to); err != nil {
		return false, pathError("transfer", to, err)
	}
	if within(to, from) || within(from, to) {
		return false, pathError("transfer", to, ErrIntoItself)
	}
	t := &transfer{fs: f, all: []*Collection{c}}
	t.build = func(tx *Tx) ([]part, error) {
		n, err := c.sourceLocked(from, o)
		if err != nil {
			return nil, err
		}
		changes, isNew, err := c.receiveLocked(n, to, o)
		if err != nil {
			return nil, err
		}
		if o.Move {
			changes = slices.DeleteFunc(changes, func(ch change) bool { return ch.Kind != OpDelete })
			changes = append(changes, change{Op: Op{Kind: OpRename, Path: to, Src: from, Content: Content{ID: n.id}, Time: c.now()}})
		}
		created = isNew
		tx.Records = o.Records
		return []part{{c: c, changes: changes}}, nil
	}
	if err := t.run(ctx); err != nil {
		return false, err
	}
	return created, nil
}

// Extract makes a new collection, called name, in a project, of what is at from
// in src ("" is all of it), and returns its record. A file becomes the only file
// of the collection, under the name that it had. A file of which all names are
// moved or copied is one file again, here and in Transfer and Absorb; a name without
// the others becomes a file of its own. Handles and Refs go along with what is
// moved.
func (f *FS) Extract(ctx context.Context, src *Collection, from string, owner UUID, name string, o TransferOptions) (Record, error) {
	id := f.NewUUID("4zz18")
	t := &transfer{fs: f, all: []*Collection{src}}
	if o.Empty == src {
		return Record{}, pathError("transfer", from, ErrIntoItself)
	}
	if o.Empty != nil {
		t.all = append(t.all, o.Empty)
	}
	var slot *slot
	if o.Move {
		if slot = f.reserve(slotKey{id: id}); slot == nil {
			return Record{}, ErrClosed
		}
	}
	var made *Collection
	t.build = func(tx *Tx) ([]part, error) {
		n, err := t.sourceLocked(src, from, o)
		if err != nil {
			return nil, err
		}
		tx.Records = nil
		if o.Empty != nil {
			op, err := o.Empty.trashEmptyLocked()
			if err != nil {
				return nil, err
			}
			tx.Records = append(tx.Records, op)
		}
		tx.Records = append(tx.Records, o.Records...)
		tx.Records = append(tx.Records, RecordOp{Kind: CreateCollection, UUID: id, Owner: owner, Name: name, Unique: o.Unique})
		tree := NewTree()
		puts := spreadAll(n, from, o.Shallow, o.Move, src.now())
		for i := range puts {
			if err := tree.Apply(puts[i].Op); err != nil {
				return nil, err
			}
		}
		if len(puts) > 0 {
			tx.Changes = []Change{{Collection: id, Ops: opsOf(puts), Files: tree.files, Bytes: tree.bytes}}
		}
		if !o.Move {
			return nil, nil
		}
		taken := takeAway(src, from, n)
		taken.before = func() {
			made = newCollection(f, slotKey{id: id}, t.created, tree)
			if t.created.Name == "" {
				made.recordEvents++ // Record asks the catalog
			}
			at := tree.root
			if !n.isDir() {
				at = tree.lookup(n.name)
			}
			made.mu.Lock()
			defer made.mu.Unlock()
			handOverLocked(src, n, n, made, at)
		}
		return []part{taken}, nil
	}
	err := t.run(ctx)
	if slot != nil {
		f.fill(slotKey{id: id}, slot, made, cmp.Or(err, fs.ErrNotExist))
	}
	if err != nil && t.created.UUID != id {
		return Record{}, err
	}
	if err != nil { // it is a fact, but may not be durable
		return t.created, err
	}
	if t.created.UUID == id && t.created.Name != "" {
		return t.created, nil
	}
	return f.cfg.Catalog.Record(ctx, id)
}

// Absorb makes a directory at the path to in dst of all of src, and returns
// whether there was nothing before. With o.Move, src goes to the trash in the
// same transaction; changes of it are fs.ErrNotExist from then on.
func (f *FS) Absorb(ctx context.Context, src, dst *Collection, to string, o TransferOptions) (created bool, err error) {
	if src == dst {
		return false, pathError("transfer", to, ErrIntoItself)
	}
	move := o.Move
	o.Move = false
	if move {
		o.absorb = true
		o.Records = append(slices.Clone(o.Records), RecordOp{Kind: Trash, UUID: src.key.id, Still: true})
	}
	return f.Transfer(ctx, src, "", dst, to, o)
}

// sourceLocked returns what is to be transferred.
func (c *Collection) sourceLocked(path string, o TransferOptions) (*node, error) {
	if o.Move && c.ReadOnly() {
		return nil, pathError("transfer", path, ErrReadOnly)
	}
	if err := c.checkLocked(o.CheckSrc, path); err != nil {
		return nil, err
	}
	n, err := c.tree.find(path)
	return n, pathError("transfer", path, err)
}

// sourceLocked is Collection.sourceLocked for what is to go to another collection.
// A mount cannot be told that the file which a name leads to is another one after
// a move of its own.
func (t *transfer) sourceLocked(c *Collection, path string, o TransferOptions) (*node, error) {
	n, err := c.sourceLocked(path, o)
	if err == nil && t.by != nil && o.Move && c.tree.hasNamesBeside(n) {
		return nil, pathError("transfer", path, ErrOtherCollection)
	}
	return n, err
}

// receiveLocked returns the changes of c that make path a copy of src, which is
// in another tree. It changes nothing.
func (c *Collection) receiveLocked(src *node, path string, o TransferOptions) (changes []change, created bool, err error) {
	if c.ReadOnly() {
		return nil, false, pathError("transfer", path, ErrReadOnly)
	}
	if err := c.checkLocked(o.Check, path); err != nil {
		return nil, false, err
	}
	up, name, err := c.tree.parent(path)
	if err != nil {
		return nil, false, pathError("transfer", path, err)
	}
	old := up.kids.get(name)
	if old != nil {
		if err := mayReplace(src, old, o.Replace); err != nil {
			return nil, false, pathError("transfer", path, err)
		}
		changes = append(changes, change{Op: Op{Kind: OpDelete, Path: path, Old: old.id, Time: c.now()}, node: old})
	}
	s := spreader{time: c.now()}
	s.spread(src, path, o.Shallow)
	s.changes[0].Time = s.time
	changes = append(changes, s.changes...)
	var holes int64
	for _, ch := range s.changes {
		if !ch.node.isDir() {
			holes += holesIn(ch.node.segs)
		}
	}
	if err := c.roomForHolesLocked(holes); err != nil {
		return nil, false, pathError("transfer", path, err)
	}
	return changes, old == nil, nil
}

// mayReplace says whether src may take the place of old.
func mayReplace(src, old *node, how Replace) error {
	switch {
	case how == ReplaceAny:
		return nil
	case how == ReplaceNothing:
		return fs.ErrExist
	case src.isDir() && !old.isDir():
		return ErrNotDir
	case !src.isDir() && old.isDir():
		return ErrIsDir
	case old.isDir() && old.kids.n > 0:
		return ErrNotEmpty
	}
	return nil
}

// A spreader lists the changes that make nodes of one tree in another one. They
// have no time, but give time to what is made: so the directories keep the Mtime
// they have. The node of each is what it makes.
type spreader struct {
	changes []change
	time    int64
	files   map[*node]string // where those with several names are made first
}

// spread makes n, with all below it unless shallow, at path.
func (s *spreader) spread(n *node, path string, shallow bool) {
	op := Op{Kind: OpPut, Path: path, Content: n.content(), Attr: n.attr.changedAt(s.time)}
	if !n.isDir() {
		if n.links() > 1 {
			op = s.another(n, op)
		}
		s.changes = append(s.changes, change{Op: op, node: n})
		return
	}
	op = Op{Kind: OpMkdir, Path: path, Attr: op.Attr}
	s.changes = append(s.changes, change{Op: op, node: n})
	if !shallow {
		for name, k := range n.kids.view().all {
			s.spread(k, joinPath(path, name), false)
		}
	}
}

// another returns put, which makes n, or, if another name of n was made already,
// the operation that links to it.
func (s *spreader) another(n *node, put Op) Op {
	if at, ok := s.files[n]; ok {
		return Op{Kind: OpLink, Path: put.Path, Src: at, Content: Content{ID: n.id}}
	}
	if s.files == nil {
		s.files = make(map[*node]string)
	}
	s.files[n] = put.Path
	return put
}

// spreadAll returns the changes that make all of a collection what is at from: n, a
// directory or a file.
func spreadAll(n *node, from string, shallow, move bool, time int64) []change {
	s := spreader{time: time}
	if !n.isDir() {
		_, name := splitPath(from)
		s.spread(n, name, false)
		return s.changes
	}
	a := n.attr
	if n.up != nil { // a copy of a whole collection keeps both times of its root
		a = a.changedAt(time)
	}
	if !sameAttr(n.attr, Attr{}) || move { // so that there is a change, whose record tells the revision
		s.changes = append(s.changes, change{Op: Op{Kind: OpAttr, Attr: a}})
	}
	for name, k := range n.kids.view().all {
		s.spread(k, name, shallow)
	}
	return s.changes
}

func opsOf(changes []change) []Op {
	ops := make([]Op, len(changes))
	for i := range changes {
		ops[i] = changes[i].Op
	}
	return ops
}

// run makes the transfer.
func (t *transfer) run(ctx context.Context) error {
	t.by = behalfOf(ctx)
	for _, c := range t.all {
		if c.fs != t.fs { // no catalog has both
			return fmt.Errorf("transfer to or from a collection without a record: %w", ErrNotSupported)
		}
		if c.ReadOnly() { // what the version is made of may not be durable yet
			if err := t.fs.commitLoaded(ctx, c.key.id); err != nil {
				return fmt.Errorf("commit before a transfer: %w", err)
			}
		}
	}
	slices.SortFunc(t.all, func(a, b *Collection) int {
		return cmp.Or(cmp.Compare(a.key.id, b.key.id), cmp.Compare(a.key.version, b.key.version), cmp.Compare(a.key.pdh, b.key.pdh))
	})
	for i, c := range t.all {
		if err := c.takeTurn(ctx); err != nil {
			for _, held := range t.all[:i] {
				held.endTurn()
			}
			return err
		}
	}
	defer func() {
		for _, c := range t.all {
			c.endTurn()
		}
		for _, c := range t.all {
			c.publish()
		}
	}()
	for _, c := range t.all {
		c.gate.Lock()
		defer c.gate.Unlock()
	}
	var err error
	for range maxMerges {
		var again bool
		if again, err = t.try(ctx); !again {
			return err
		}
		if rerr := t.rebase(ctx); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return err
}

// try commits what the collections have pending, then the transfer; again says
// that it did not take place and may be tried again.
func (t *transfer) try(ctx context.Context) (again bool, err error) {
	for _, c := range t.all {
		if c.ReadOnly() {
			continue
		}
		if err := c.commitTurn(ctx, true); err != nil {
			return mayRetry(err), fmt.Errorf("commit before a transfer: %w", err)
		}
	}
	tx := Tx{Durable: true}
	parts, err := t.plan(&tx)
	if err != nil {
		return false, err
	}
	// Who asked may go away; leaving the outcome open would cost more than going on.
	ctx = context.WithoutCancel(ctx)
	records, err := t.fs.cfg.Catalog.Commit(ctx, tx)
	switch {
	case err == nil:
		t.accept(tx, parts, records, len(parts))
		return false, nil
	case errors.Is(err, ErrPartly):
		return false, t.finish(ctx, tx, parts, records)
	case !errors.Is(err, ErrUnknownOutcome):
		return mayRetry(err), err
	}
	any, all, terr := t.tookPlace(ctx, tx)
	switch {
	case terr != nil:
		return true, errors.Join(terr, err)
	case all:
		t.accept(tx, parts, records, len(parts))
		return false, t.makeDurable(ctx)
	case any: // made again it would be in the way of itself
		return false, errors.Join(fmt.Errorf("part of it took place, as a copy: %w: %v", keepio.ErrUnavailable, err), t.rebase(ctx))
	}
	return true, err
}

// finish is for a transaction of whose changes only the first, with records, became
// facts. What they gave away is taken away like by any other change: what others have
// made of it meanwhile stays.
func (t *transfer) finish(ctx context.Context, tx Tx, parts []part, records []Record) error {
	facts := len(parts) - (len(tx.Changes) - len(records))
	if facts < 0 { // not even what was made new
		return ErrPartly
	}
	t.accept(tx, parts, records, facts)
	for _, p := range parts[facts:] {
		if err := p.c.commitTurn(ctx, true); err != nil {
			return fmt.Errorf("the rest of a move: %w", err)
		}
	}
	return nil
}

// commitLoaded commits the present state of a collection, durably, if it is
// loaded; what is not loaded is durable.
func (f *FS) commitLoaded(ctx context.Context, id UUID) error {
	f.mu.Lock()
	s := f.loaded[slotKey{id: id}]
	if s == nil || s.c == nil {
		f.mu.Unlock()
		return nil
	}
	s.c.pins.Add(1)
	f.mu.Unlock()
	defer s.c.Release()
	return s.c.Commit(ctx, true)
}

func mayRetry(err error) bool { return errors.Is(err, ErrStale) || errors.Is(err, ErrUnknownOutcome) }

// makeDurable is for a transfer that is a fact, but of which nobody knows
// whether it survives a loss of power. If it fails, later commits try again.
func (t *transfer) makeDurable(ctx context.Context) error {
	for _, c := range t.all {
		c.mu.Lock()
		c.barrier = !c.ReadOnly()
		c.mu.Unlock()
	}
	for _, c := range t.all {
		if c.ReadOnly() {
			continue
		}
		if err := c.commitTurn(ctx, true); err != nil {
			return fmt.Errorf("make a transfer durable: %w", err)
		}
	}
	// What none of them says anything of: a new collection made of an old version.
	if _, err := t.fs.cfg.Catalog.Commit(ctx, Tx{Durable: true}); err != nil {
		return fmt.Errorf("make a transfer durable: %w", err)
	}
	return nil
}

// rebase follows what others have changed.
func (t *transfer) rebase(ctx context.Context) error {
	for _, c := range t.all {
		if !c.ReadOnly() {
			if err := c.rebase(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan builds the transaction from the collections as they are.
func (t *transfer) plan(tx *Tx) ([]part, error) {
	for _, c := range t.all {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	parts, err := t.build(tx)
	if err != nil {
		return nil, err
	}
	for i := range tx.Records {
		for _, c := range t.all {
			if op := &tx.Records[i]; op.Still && op.UUID == c.key.id {
				op.Base = c.record.Revision // of what was moved, or seen to be empty
			}
		}
	}
	for _, p := range parts {
		sum := *p.c.tree // only its sums change
		for _, ch := range p.changes {
			switch ch.Kind {
			case OpDelete:
				sum.count("", ch.node, -1)
			case OpPut, OpLink:
				sum.files++
				sum.bytes += ch.node.size
			}
		}
		tx.Changes = append(tx.Changes, Change{
			Collection: p.c.key.id, Base: p.c.record.Revision, Ops: opsOf(p.changes), Files: sum.files, Bytes: sum.bytes,
		})
	}
	return parts, nil
}

// accept makes the trees what the transaction has made of the collections. Only the first
// parts are facts already; the changes of the others are pending then.
func (t *transfer) accept(tx Tx, parts []part, records []Record, facts int) {
	for _, c := range t.all {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.by = t.by
		defer func() { c.by = nil }()
	}
	byID := make(map[UUID]Record)
	for _, r := range records {
		byID[r.UUID] = r
	}
	if len(tx.Changes) > 0 && tx.Changes[0].Base == 0 {
		t.created = byID[tx.Changes[0].Collection]
		if t.created.UUID == "" {
			t.created = Record{UUID: tx.Changes[0].Collection, Revision: 1} // what it is called, only the catalog knows: the outcome was in doubt
		}
	}
	for i, p := range parts {
		if p.before != nil {
			p.before()
		}
		for _, ch := range p.changes {
			p.c.applyLocked(ch)
		}
		if p.then != nil {
			p.then()
		}
		if i >= facts {
			p.c.pending = append(p.c.pending, p.changes...)
			p.c.since = cmp.Or(p.c.since, p.c.now())
			p.c.resize()
			continue
		}
		if r, ok := byID[p.c.key.id]; ok {
			p.c.record = r
		} else {
			p.c.record.Revision++
			p.c.recordEvents++
		}
		p.c.resize()
	}
	for _, op := range tx.Records {
		for _, c := range t.all {
			c.absorbed = c.absorbed || op.Kind == Trash && op.UUID == c.key.id
		}
	}
}

// applyLocked makes a change that is a fact already.
func (c *Collection) applyLocked(ch change) {
	if ch.Kind == OpDelete {
		n := c.tree.lookup(ch.Path)
		for h := range c.opened {
			if n != nil && h.onlyBelow(n) {
				c.detachLocked(h)
			}
		}
	}
	if err := c.tree.Apply(ch.Op); err != nil {
		c.fs.cfg.Log.Error().Err(err).Str("collection", string(c.key.id)).Msg("a committed change did not apply")
	}
	c.changes++
	c.noteChangeLocked(ch)
}

// tookPlace reports whether any and all of tx, whose outcome isn't known, became a
// fact: a catalog of a cluster makes several requests of it.
func (t *transfer) tookPlace(ctx context.Context, tx Tx) (any, all bool, err error) {
	all = true
	note := func(took bool) { any, all = any || took, all && took }
	for i := range tx.Changes {
		ch := &tx.Changes[i]
		took, _, err := t.fs.tookPlace(ctx, ch)
		if err != nil && !(ch.Base == 0 && errors.Is(err, fs.ErrNotExist)) {
			return false, false, fmt.Errorf("collection %s: %w", ch.Collection, err)
		}
		note(took && err == nil)
	}
	for _, op := range tx.Records {
		if op.Kind != Trash && (op.Kind != CreateCollection || len(tx.Changes) > 0) {
			continue // it was made with a change
		}
		rec, err := t.fs.cfg.Catalog.Record(ctx, op.UUID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, false, err
		}
		there := err == nil && rec.TrashAt.IsZero()
		note(there == (op.Kind == CreateCollection))
	}
	return any, all, nil
}

// tookPlace reports whether ch, whose outcome isn't known, became a fact; known is
// false if the catalog has no change set of that time any more.
func (f *FS) tookPlace(ctx context.Context, ch *Change) (took, known bool, err error) {
	if d, ok := f.cfg.Catalog.(Deltas); ok {
		_, changes, kept, err := d.Since(ctx, ch.Collection, ch.Base)
		if err != nil {
			return false, false, err
		}
		if kept && len(changes) == 0 {
			return false, true, nil
		}
		if kept {
			got, err := DecodeOps(changes[0], f.cfg.Spool)
			return err == nil && sameOps(got, ch.Ops), true, nil
		}
	}
	rec, saved, err := f.cfg.Catalog.Load(ctx, ch.Collection, 0)
	if err != nil {
		return false, false, err
	}
	return tookPlace(rec, saved, ch.Base, ch.Ops, f.cfg.Spool), rec.Revision-ch.Base <= int64(len(saved.Changes)), nil
}

// tookPlace reports whether the commit that followed the revision base is the
// one of ops.
func tookPlace(rec Record, saved Saved, base int64, ops []Op, blocks Blocks) bool {
	i := len(saved.Changes) - int(rec.Revision-base)
	if i < 0 || i >= len(saved.Changes) {
		return false
	}
	got, err := DecodeOps(saved.Changes[i], blocks)
	return err == nil && sameOps(got, ops)
}

// sameOps reports whether two change sets are the same commit's: where the contents
// lie does not matter, nor under which id it was made.
func sameOps(a, b []Op) bool {
	isID := func(op Op) bool { return op.Kind == OpCommit }
	a, b = slices.DeleteFunc(slices.Clone(a), isID), slices.DeleteFunc(slices.Clone(b), isID)
	return slices.EqualFunc(a, b, func(a, b Op) bool {
		return a.Kind == b.Kind && a.Path == b.Path && a.Src == b.Src && a.Old == b.Old &&
			a.Content.ID == b.Content.ID && a.Off == b.Off && a.Time == b.Time && sameAttr(a.Attr, b.Attr)
	})
}
