package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"keepdav/collfs"
)

// trashTime is how long trash is kept.
const trashTime = 14 * 24 * time.Hour

// recordEffects collects what record operations did.
type recordEffects struct {
	at      time.Time
	ops     []collfs.RecordOp // as they were done: with final names
	created map[collfs.UUID]bool
	still   map[collfs.UUID]int64 // revisions that collections must have
	events  []collfs.Event        // without Seq and At
}

func newEffects(at time.Time) *recordEffects {
	return &recordEffects{at: at, created: make(map[collfs.UUID]bool), still: make(map[collfs.UUID]int64)}
}

// A recordRow is what record operations need to know of a record.
type recordRow struct {
	uuid, owner collfs.UUID
	name        string
	kind        int
	trashed     bool
	revision    int64
}

func readRow(w *writer, id collfs.UUID) (recordRow, error) {
	r := recordRow{uuid: id}
	err := w.row(`SELECT owner, name, kind, trash_at <> 0, revision FROM record WHERE uuid = ?`, id).
		Scan(&r.owner, &r.name, &r.kind, &r.trashed, &r.revision)
	if errors.Is(err, sql.ErrNoRows) {
		return r, noRecord(id)
	}
	return r, err
}

// apply does op in the transaction of w.
func (f *recordEffects) apply(w *writer, op collfs.RecordOp) error {
	var err error
	switch op.Kind {
	case collfs.CreateCollection, collfs.CreateProject:
		err = f.create(w, &op)
	case collfs.Move:
		err = f.move(w, &op)
	case collfs.Update:
		err = f.update(w, &op)
	case collfs.Trash:
		err = f.trash(w, &op)
	case collfs.Untrash:
		err = f.untrash(w, &op)
	case collfs.DeleteNow:
		err = f.delete(w, &op)
	default:
		err = fmt.Errorf("record operation %d: %w", op.Kind, fs.ErrInvalid)
	}
	if err == nil {
		f.ops = append(f.ops, op)
	}
	return err
}

func (f *recordEffects) event(kind collfs.EventKind, r recordRow) {
	f.events = append(f.events, collfs.Event{UUID: r.uuid, Owner: r.owner, Name: r.name, Kind: kind, Revision: r.revision})
}

func (f *recordEffects) create(w *writer, op *collfs.RecordOp) error {
	switch _, err := readRow(w, op.UUID); {
	case err == nil:
		return fmt.Errorf("record %s: %w", op.UUID, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := checkOwner(w, op.Owner); err != nil {
		return err
	}
	if err := freeName(w, op); err != nil {
		return err
	}
	kind := kindCollection
	if op.Kind == collfs.CreateProject {
		kind = kindProject
	}
	_, err := w.exec(`INSERT INTO record (uuid, kind, owner, name, description, properties, created, modified) VALUES (?, ?, ?, ?, ?, ?, ?7, ?7)`,
		op.UUID, kind, op.Owner, op.Name, op.Desc, blob(op.Properties), nanos(f.at))
	f.created[op.UUID] = true
	f.event(collfs.Created, recordRow{uuid: op.UUID, owner: op.Owner, name: op.Name})
	return err
}

// blob keeps nil apart from empty.
func blob(p []byte) any {
	if p == nil {
		return nil
	}
	return p
}

// checkOwner says whether something can be put into a project.
func checkOwner(w *writer, owner collfs.UUID) error {
	r, err := readRow(w, owner)
	if err == nil && (r.kind == kindCollection || r.trashed) {
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("project %s: %w", owner, fs.ErrNotExist)
	}
	return err
}

// freeName checks the name of op, which it changes if that is allowed and needed.
func freeName(w *writer, op *collfs.RecordOp) error {
	if op.Name == "" || strings.ContainsRune(op.Name, 0) {
		return fmt.Errorf("record name %q: %w", op.Name, collfs.ErrNameInvalid)
	}
	for name, i := op.Name, 2; ; i++ {
		var id collfs.UUID
		err := w.row(`SELECT uuid FROM record WHERE owner = ? AND name = ? AND trash_at = 0 AND uuid <> ?`, op.Owner, name, op.UUID).Scan(&id)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			op.Name = name
			return nil
		case err != nil:
			return err
		case !op.Unique:
			return fmt.Errorf("%q in %s: %w", name, op.Owner, fs.ErrExist)
		}
		name = fmt.Sprintf("%s (%d)", op.Name, i)
	}
}

// movable returns the row of what is to be moved or trashed.
func movable(w *writer, id collfs.UUID) (recordRow, error) {
	r, err := readRow(w, id)
	switch {
	case err != nil:
	case r.trashed:
		err = fmt.Errorf("record %s is in the trash: %w", id, fs.ErrNotExist)
	case r.kind == kindHome:
		err = fmt.Errorf("home of %s: %w", id, fs.ErrPermission)
	}
	return r, err
}

func (f *recordEffects) move(w *writer, op *collfs.RecordOp) error {
	r, err := movable(w, op.UUID)
	if err != nil {
		return err
	}
	if err := checkOwner(w, op.Owner); err != nil {
		return err
	}
	for up := op.Owner; up != ""; {
		if up == op.UUID {
			return fmt.Errorf("project %s: %w", op.UUID, collfs.ErrIntoItself)
		}
		above, err := readRow(w, up)
		if err != nil {
			return err
		}
		up = above.owner
	}
	if err := freeName(w, op); err != nil {
		return err
	}
	_, err = w.exec(`UPDATE record SET owner = ?, name = ?, modified = ? WHERE uuid = ?`, op.Owner, op.Name, nanos(f.at), op.UUID)
	e := collfs.Event{UUID: op.UUID, Owner: op.Owner, Name: op.Name, Kind: collfs.RecordChanged, Revision: r.revision}
	if r.owner != op.Owner {
		e.OldOwner = r.owner
	}
	if r.name != op.Name {
		e.OldName = r.name
	}
	f.events = append(f.events, e)
	return err
}

func (f *recordEffects) update(w *writer, op *collfs.RecordOp) error {
	r, err := readRow(w, op.UUID)
	if err != nil {
		return err
	}
	_, err = w.exec(`UPDATE record SET properties = ?, description = ?, modified = ? WHERE uuid = ?`, blob(op.Properties), op.Desc, nanos(f.at), op.UUID)
	f.event(collfs.RecordChanged, r)
	return err
}

// below selects a record, ?1, and all below it for which a condition holds
// at each step.
func below(condition string) string {
	return `WITH RECURSIVE tree(uuid) AS (VALUES (?1) UNION SELECT r.uuid FROM record r JOIN tree ON r.owner = tree.uuid WHERE ` + condition + `)
		SELECT r.uuid, r.owner, r.name, r.kind, r.revision FROM record r JOIN tree USING (uuid) ORDER BY r.uuid <> ?1, r.uuid`
}

var (
	belowPresent = below(`r.trash_at = 0`)
	belowTrashed = below(`r.trashed_with = ?1`)
)

// each calls event for each record of a query made by below, and returns them.
func (f *recordEffects) each(w *writer, query string, kind collfs.EventKind, id collfs.UUID) ([]recordRow, error) {
	var rows []recordRow
	err := w.query(func(row scanner) error {
		var r recordRow
		if err := row.Scan(&r.uuid, &r.owner, &r.name, &r.kind, &r.revision); err != nil {
			return err
		}
		rows = append(rows, r)
		f.event(kind, r)
		return nil
	}, query, id)
	return rows, err
}

func (f *recordEffects) trash(w *writer, op *collfs.RecordOp) error {
	r, err := movable(w, op.UUID)
	if err != nil {
		return err
	}
	if op.Still && r.kind == kindCollection {
		f.still[op.UUID] = op.Base // the database may be behind: who accepts it compares
	} else if op.Still {
		if err := checkEmpty(w, op.UUID); err != nil {
			return err
		}
	}
	rows, err := f.each(w, belowPresent, collfs.Trashed, op.UUID)
	for _, r := range rows {
		if err == nil {
			_, err = w.exec(`UPDATE record SET trash_at = ?, delete_at = ?, trashed_with = ? WHERE uuid = ?`,
				nanos(f.at), nanos(f.at.Add(trashTime)), op.UUID, r.uuid)
		}
	}
	return err
}

// checkEmpty says whether anything but trash is in a project.
func checkEmpty(w *writer, id collfs.UUID) error {
	var name string
	err := w.row(`SELECT name FROM record WHERE owner = ? AND trash_at = 0 LIMIT 1`, id).Scan(&name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("project %s has %q in it: %w", id, name, collfs.ErrNotEmpty)
}

// trashed returns the row of what is to be taken out of the trash.
func trashed(w *writer, id collfs.UUID) (recordRow, error) {
	r, err := readRow(w, id)
	if err == nil && !r.trashed {
		err = fmt.Errorf("record %s is not in the trash: %w", id, fs.ErrInvalid)
	}
	return r, err
}

func (f *recordEffects) untrash(w *writer, op *collfs.RecordOp) error {
	r, err := trashed(w, op.UUID)
	if err != nil {
		return err
	}
	if op.Owner == "" {
		op.Owner = r.owner
	}
	if op.Name == "" {
		op.Name = r.name
	}
	if err := checkOwner(w, op.Owner); err != nil {
		return err
	}
	if err := freeName(w, op); err != nil {
		return err
	}
	if _, err := w.exec(`UPDATE record SET owner = ?, name = ? WHERE uuid = ?`, op.Owner, op.Name, op.UUID); err != nil {
		return err
	}
	rows, err := f.each(w, belowTrashed, collfs.Untrashed, op.UUID)
	for _, r := range rows {
		if err == nil {
			_, err = w.exec(`UPDATE record SET trash_at = 0, delete_at = 0, trashed_with = '' WHERE uuid = ?`, r.uuid)
		}
	}
	return err
}

// delete deletes a record in the trash and what was trashed along with it. What
// had been trashed by itself keeps its time: it comes under the project above.
func (f *recordEffects) delete(w *writer, op *collfs.RecordOp) error {
	top, err := trashed(w, op.UUID)
	if err != nil {
		return err
	}
	rows, err := f.each(w, belowTrashed, collfs.Deleted, op.UUID)
	for _, r := range rows {
		for _, statement := range []string{
			`DELETE FROM record WHERE uuid = ?`,
			`DELETE FROM checkpoint_part WHERE checkpoint IN (SELECT id FROM checkpoint WHERE collection = ?)`,
			`DELETE FROM checkpoint WHERE collection = ?`,
			`DELETE FROM change WHERE collection = ?`,
			`DELETE FROM version WHERE collection = ?`,
			`DELETE FROM side WHERE collection = ?`,
			`DELETE FROM share WHERE target = ?`,
			`DELETE FROM link WHERE head = ?`,
			`DELETE FROM api_collection WHERE uuid = ?`,
			`DELETE FROM sent_manifest WHERE collection = ?`,
		} {
			if err == nil {
				_, err = w.exec(statement, r.uuid)
			}
		}
		if err == nil {
			_, err = w.exec(`UPDATE record SET owner = ? WHERE owner = ? AND trashed_with <> ?`, top.owner, r.uuid, op.UUID)
		}
	}
	return err
}
