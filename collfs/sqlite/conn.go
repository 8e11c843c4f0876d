package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"keepdav/keepio"
)

// A writer is the one connection that writes. It prepares each statement once.
// It takes no context: a write is short, and one that is cut short helps nobody.
type writer struct {
	conn  *sql.Conn
	full  bool // durable transactions sync
	stmts map[string]*sql.Stmt
}

func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if st := w.stmts[query]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		w.stmts[query] = st
	}
	return st, err
}

// exec runs a statement and reports how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	st, err := w.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := st.Exec(args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// A scanner is a row, or the reason why there is none.
type scanner interface{ Scan(dst ...any) error }

type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

func (w *writer) row(query string, args ...any) scanner {
	st, err := w.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return st.QueryRow(args...)
}

func (w *writer) query(each func(scanner) error, query string, args ...any) error {
	st, err := w.stmt(query)
	if err != nil {
		return err
	}
	return eachRow(each)(st.Query(args...))
}

// eachRow calls each for all rows of a result.
func eachRow(each func(scanner) error) func(*sql.Rows, error) error {
	return func(rows *sql.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// errRollback ends a transaction that was only a trial.
var errRollback = errors.New("rolled back")

// tx runs fn in a transaction. It is rolled back when fn fails.
func (w *writer) tx(fn func() error) error {
	if _, err := w.exec(`BEGIN IMMEDIATE`); err != nil {
		return storageError(err)
	}
	err := fn()
	if err == nil {
		_, err = w.exec(`COMMIT`)
	}
	if err != nil {
		// It fails when SQLite has rolled back by itself.
		_, _ = w.exec(`ROLLBACK`)
		return storageError(err)
	}
	return nil
}

// durably runs fn in a transaction that is on disk when it returns nil.
func (w *writer) durably(fn func() error) error {
	if !w.full {
		return w.tx(fn)
	}
	if _, err := w.conn.ExecContext(context.Background(), `PRAGMA synchronous = FULL`); err != nil {
		return storageError(err)
	}
	err := w.tx(fn)
	if _, back := w.conn.ExecContext(context.Background(), `PRAGMA synchronous = NORMAL`); back != nil {
		err = errors.Join(err, storageError(back))
	}
	return err
}

func (w *writer) close() error {
	for _, st := range w.stmts {
		st.Close()
	}
	return w.conn.Close()
}

// write runs fn in a transaction that is on disk when it returns nil.
func (s *Store) write(ctx context.Context, fn func(w *writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.writer == nil {
		return fmt.Errorf("store: %w", sql.ErrConnDone)
	}
	if err := s.untrusted(); err != nil {
		return err
	}
	err := s.reserve.spend(func() error {
		return s.writer.durably(func() error { return fn(s.writer) })
	})
	switch {
	case err == nil:
		s.tidyLocked()
	case isSyncError(err):
		s.distrust(err)
	}
	return err
}

// distrust notes that a sync of SQLite's files has failed. Nobody knows what of
// them is on disk then, and what is synced later may lie behind a part that is not:
// nothing is called durable any more, and the journal is kept, until another
// process has read what there is.
func (s *Store) distrust(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("database: %w", err)
		s.log.Error().Err(err).Msg("the database could not be synced: restart the server when the disk works again")
	}
}

// untrusted returns why the database is not trusted; nil if it is.
func (s *Store) untrusted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", keepio.ErrUnavailable, s.broken)
}

// maxIdle bounds how many connections that only read are kept open.
const maxIdle = 4

// readers are connections that only read. There is always one more: who holds
// one may ask for another.
type readers struct {
	db *sql.DB

	mu     sync.Mutex // guards the fields below
	idle   []*reader
	closed bool
}

// A reader is one connection, for one user at a time. It prepares each
// statement once.
type reader struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func openReaders(dsn string) (*readers, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	return &readers{db: db}, nil
}

func (r *readers) take(ctx context.Context) (*reader, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &reader{conn, make(map[string]*sql.Stmt)}, nil
}

func (r *readers) put(c *reader) {
	r.mu.Lock()
	keep := !r.closed && len(r.idle) < maxIdle
	if keep {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	if !keep {
		c.close()
	}
}

func (r *readers) close() error {
	r.mu.Lock()
	r.closed = true
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	return r.db.Close()
}

func (c *reader) close() {
	for _, st := range c.stmts {
		st.Close()
	}
	c.conn.Close()
}

func (c *reader) stmt(query string) (*sql.Stmt, error) {
	if st := c.stmts[query]; st != nil {
		return st, nil
	}
	st, err := c.conn.PrepareContext(context.Background(), query)
	if err == nil {
		c.stmts[query] = st
	}
	return st, err
}

// row returns the first row of a query; the query runs when it is scanned.
func (r *readers) row(ctx context.Context, query string, args ...any) scanner {
	return lateRow(func(dst []any) error {
		c, err := r.take(ctx)
		if err != nil {
			return err
		}
		defer r.put(c)
		return snapshot{ctx, c}.row(query, args...).Scan(dst...)
	})
}

type lateRow func(dst []any) error

func (l lateRow) Scan(dst ...any) error { return l(dst) }

// query calls each for all rows of a query.
func (r *readers) query(ctx context.Context, each func(scanner) error, query string, args ...any) error {
	c, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer r.put(c)
	return snapshot{ctx, c}.query(each, query, args...)
}

// A snapshot is the database at one moment.
type snapshot struct {
	ctx context.Context
	c   *reader
}

// snapshot runs fn on the database as it is at one moment.
func (r *readers) snapshot(ctx context.Context, fn func(snapshot) error) error {
	c, err := r.take(ctx)
	if err != nil {
		return storageError(err)
	}
	run := func(query string) error {
		_, err := c.conn.ExecContext(context.Background(), query)
		return err
	}
	if err := run(`BEGIN`); err != nil {
		c.close()
		return storageError(err)
	}
	err = fn(snapshot{ctx, c})
	if run(`ROLLBACK`) != nil {
		c.close()
	} else {
		r.put(c)
	}
	return storageError(err)
}

func (s snapshot) row(query string, args ...any) scanner {
	st, err := s.c.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return st.QueryRowContext(s.ctx, args...)
}

func (s snapshot) query(each func(scanner) error, query string, args ...any) error {
	st, err := s.c.stmt(query)
	if err != nil {
		return err
	}
	return eachRow(each)(st.QueryContext(s.ctx, args...))
}
