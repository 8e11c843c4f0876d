package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
)

// oldStore makes a store as format 1 wrote it, and runs SQL on it.
func oldStore(t *testing.T, more string) (dir string) {
	dir = t.TempDir()
	script, err := os.ReadFile("testdata/format1.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "keepdav.db"))
	if err == nil {
		_, err = db.Exec(string(script) + more)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAnOlderStoreIsMigrated(t *testing.T) {
	s := openStore(t, Config{Dir: oldStore(t, "")})
	const id = "abcde-4zz18-000000000000001"
	for version, dirs := range map[int]int64{0: 2, 1: 1} {
		_, saved, err := s.Load(t.Context(), id, version)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := collfs.Load(saved, fakeBlocks{})
		if err != nil || tree.Dirs() != dirs {
			t.Errorf("version %d has %d directories, %v; want %d", version, tree.Dirs(), err, dirs)
		}
	}
	u, _, err := s.LookupToken(t.Context(), "v2/abcde-gj3su-000000000000001/"+strings.Repeat("s", 50))
	if err != nil || u.Name != "ann" {
		t.Errorf("LookupToken = %v, %v; want ann", u, err)
	}
	if tokens, err := s.ListTokens(t.Context(), u.UUID); err != nil || len(tokens) != 1 || tokens[0].Label != "" {
		t.Errorf("ListTokens = %v, %v; want one without a label", tokens, err)
	}
	if n, err := s.ExpireVersions(t.Context(), time.Unix(1600000060, 0)); n != 1 || err != nil {
		t.Errorf("ExpireVersions = %d, %v; want 1", n, err)
	}
	if found, err := s.CheckDatabase(t.Context()); err != nil || len(found) > 0 {
		t.Error(found, err)
	}
	// It has the tables and columns of a new one.
	if got, want := columns(t, s), columns(t, openStore(t, Config{})); got != want {
		t.Errorf("a migrated store has\n%s\na new one\n%s", got, want)
	}
}

// columns describes the tables of a store.
func columns(t *testing.T, s *Store) string {
	var all []string
	err := s.readers.query(t.Context(), func(row scanner) error {
		var text string
		err := row.Scan(&text)
		all = append(all, text)
		return err
	}, `SELECT DISTINCT m.type || ' ' || m.name || ' ' || coalesce(c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || c.pk, '')
		FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) c ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func TestAMigrationThatFailsChangesNothing(t *testing.T) {
	dir := oldStore(t, `ALTER TABLE version ADD COLUMN until INTEGER;`)
	for range 2 {
		if s, err := Open(t.Context(), Config{Dir: dir}); err == nil {
			s.Close(context.Background())
			t.Fatal("Open of a store that cannot be migrated succeeds")
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "keepdav.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var have, labels int
	err = db.QueryRow(`SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM pragma_table_info('token') WHERE name = 'label')`).Scan(&have, &labels)
	if err != nil || have != 1 || labels != 0 {
		t.Errorf("format %d, %d columns added, %v; want format 1 and none", have, labels, err)
	}
}

func TestANewerStoreIsRefused(t *testing.T) {
	_, err := Open(t.Context(), Config{Dir: oldStore(t, `PRAGMA user_version = 99;`)})
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "99") {
		t.Errorf("Open = %v; want ErrFormat that names format 99", err)
	}
}

func TestASecondProcessIsToldWhoOwnsTheStore(t *testing.T) {
	s := openStore(t, Config{})
	if err := s.Announce("http://127.0.0.1:8080/"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: s.Dir()})
	var inUse *InUseError
	if !errors.As(err, &inUse) || !strings.Contains(err.Error(), "http://127.0.0.1:8080/") {
		t.Errorf("Open = %v; want an InUseError with the URL", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	openStore(t, Config{Dir: s.Dir()})
}
