package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
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
	err := s.writer.durably(func() error { return fn(s.writer) })
	if s.reserve.relieve(err) {
		err = s.writer.durably(func() error { return fn(s.writer) })
	}
	return err
}

// readers are connections that only read.
type readers struct {
	db *sql.DB

	mu    sync.Mutex // guards stmts
	stmts map[string]*sql.Stmt
}

func openReaders(dsn string) (*readers, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return &readers{db: db, stmts: make(map[string]*sql.Stmt)}, nil
}

func (r *readers) stmt(query string) (*sql.Stmt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.stmts[query]; st != nil {
		return st, nil
	}
	st, err := r.db.Prepare(query)
	if err == nil {
		r.stmts[query] = st
	}
	return st, err
}

func (r *readers) row(ctx context.Context, query string, args ...any) scanner {
	st, err := r.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return st.QueryRowContext(ctx, args...)
}

func (r *readers) query(ctx context.Context, each func(scanner) error, query string, args ...any) error {
	st, err := r.stmt(query)
	if err != nil {
		return err
	}
	return eachRow(each)(st.QueryContext(ctx, args...))
}

// A snapshot is the database at one moment.
type snapshot struct {
	ctx context.Context
	r   *readers
	tx  *sql.Tx
}

// snapshot runs fn on the database as it is at one moment.
func (r *readers) snapshot(ctx context.Context, fn func(snapshot) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return storageError(err)
	}
	defer tx.Rollback()
	return storageError(fn(snapshot{ctx, r, tx}))
}

func (s snapshot) row(query string, args ...any) scanner {
	st, err := s.r.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return s.tx.StmtContext(s.ctx, st).QueryRowContext(s.ctx, args...)
}

func (s snapshot) query(each func(scanner) error, query string, args ...any) error {
	st, err := s.r.stmt(query)
	if err != nil {
		return err
	}
	return eachRow(each)(s.tx.StmtContext(s.ctx, st).QueryContext(s.ctx, args...))
}
