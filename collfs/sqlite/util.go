package sqlite

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"keepdav/collfs"
	"keepdav/keepio"
)

// randomString returns n random characters of those that UUIDs and tokens use.
func randomString(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	out := make([]byte, 0, n)
	for buf := make([]byte, 64); len(out) < n; {
		rand.Read(buf)
		for _, b := range buf {
			// 252 is the largest multiple of 36: each digit is as likely.
			if b < 252 && len(out) < n {
				out = append(out, digits[b%36])
			}
		}
	}
	return string(out)
}

func (s *Store) newUUID(kind string) collfs.UUID {
	return collfs.UUID(s.meta.Cluster + "-" + kind + "-" + randomString(15))
}

// NewCollectionUUID returns a UUID for a new collection.
func (s *Store) NewCollectionUUID() collfs.UUID { return s.newUUID("4zz18") }

// NewProjectUUID returns a UUID for a new project.
func (s *Store) NewProjectUUID() collfs.UUID { return s.newUUID("j7d0g") }

// escapePath makes a path fit for a file: URI.
func escapePath(path string) string {
	return strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
}

// storageError makes a full disk and storage that fails known as such.
func storageError(err error) error {
	var e *driver.Error
	switch {
	case errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_FULL, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", keepio.ErrFull, err)
	case errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_IOERR || e.Code()&0xff == lib.SQLITE_BUSY):
		return fmt.Errorf("%w: %w", keepio.ErrUnavailable, err)
	case errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_CORRUPT || e.Code()&0xff == lib.SQLITE_NOTADB):
		return fmt.Errorf("%w: %w", keepio.ErrCorrupt, err)
	}
	return err
}

// isIOError reports whether SQLite failed to read, write or sync.
func isIOError(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_IOERR
}

// isSyncError reports whether SQLite failed to sync.
func isSyncError(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && (e.Code() == lib.SQLITE_IOERR_FSYNC || e.Code() == lib.SQLITE_IOERR_DIR_FSYNC)
}

// noRows makes the lack of a record known as such.
func noRows(err error, id collfs.UUID) error {
	if errors.Is(err, sql.ErrNoRows) {
		return noRecord(id)
	}
	return err
}

// isConstraint reports whether err says that something is there already.
func isConstraint(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT
}

// makeDir makes dir, with what is missing above it, and syncs the directories
// that hold the new names: a store whose own name isn't on disk is lost with all
// that was synced in it.
func makeDir(dir string, noSync bool) error {
	dir = filepath.Clean(dir)
	above := filepath.Dir(dir)
	if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(above, noSync); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Also when it was there: who made it may not have come to the sync.
	if noSync {
		return nil
	}
	if err := syncDir(above); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil // a directory that we may not read; its owner has made ours
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// nanos is the stored form of a time, and timeOf its inverse.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
