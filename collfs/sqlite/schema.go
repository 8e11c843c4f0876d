package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// format is the number of the schema that this program writes. It is kept as
// the database's user_version.
const format = 4

// ErrFormat says that a store is of a format that this program doesn't know.
var ErrFormat = errors.New("store has a format that this version does not know")

// schema makes an empty database of the present format. Times are nanoseconds
// since 1970, 0 meaning never.
const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- kind: 1 collection, 2 project, 3 a user's home
CREATE TABLE record (
	uuid TEXT PRIMARY KEY,
	kind INTEGER NOT NULL,
	owner TEXT NOT NULL,
	name TEXT NOT NULL,
	description TEXT NOT NULL DEFAULT '',
	properties BLOB,
	created INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	trash_at INTEGER NOT NULL DEFAULT 0,
	delete_at INTEGER NOT NULL DEFAULT 0,
	trashed_with TEXT NOT NULL DEFAULT '', -- the record whose trashing took this one along
	revision INTEGER NOT NULL DEFAULT 0,
	version INTEGER NOT NULL DEFAULT 1,
	files INTEGER NOT NULL DEFAULT 0,
	bytes INTEGER NOT NULL DEFAULT 0,
	log_bytes INTEGER NOT NULL DEFAULT 0, -- of changes since the last checkpoint
	checkpoint_bytes INTEGER NOT NULL DEFAULT 0,
	pdh TEXT NOT NULL DEFAULT '',
	pdh_revision INTEGER NOT NULL DEFAULT -1
) WITHOUT ROWID;
CREATE UNIQUE INDEX record_name ON record (owner, name) WHERE trash_at = 0;
CREATE INDEX record_owner ON record (owner);
CREATE INDEX record_trash ON record (delete_at) WHERE trash_at <> 0;
CREATE INDEX record_pdh ON record (pdh) WHERE pdh <> '';
CREATE INDEX record_projects ON record (owner) WHERE kind <> 1;

-- what only the API shows of collections: see query.Collection
CREATE TABLE api_collection (
	uuid TEXT PRIMARY KEY,
	modified_by TEXT NOT NULL DEFAULT '',
	preserve INTEGER NOT NULL DEFAULT 0,
	replication INTEGER NOT NULL DEFAULT 0,
	classes TEXT, -- a JSON array
	trash_due INTEGER NOT NULL DEFAULT 0, -- when it is to be trashed
	delete_due INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX api_collection_due ON api_collection (trash_due) WHERE trash_due <> 0;
-- manifests as clients sent them, without signatures
CREATE TABLE sent_manifest (
	collection TEXT NOT NULL,
	revision INTEGER NOT NULL,
	text BLOB NOT NULL,
	PRIMARY KEY (collection, revision)
);

-- a tree at a revision; it counts when complete
CREATE TABLE checkpoint (
	id INTEGER PRIMARY KEY,
	collection TEXT NOT NULL,
	revision INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	complete INTEGER NOT NULL
);
CREATE INDEX checkpoint_of ON checkpoint (collection, revision);
CREATE TABLE checkpoint_part (
	checkpoint INTEGER NOT NULL,
	part INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (checkpoint, part)
);

-- change sets: those that lead to revisions first to last, see appendFrame
CREATE TABLE change (
	collection TEXT NOT NULL,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (collection, last)
);

-- marks: what the collection was at a revision
CREATE TABLE version (
	collection TEXT NOT NULL,
	version INTEGER NOT NULL,
	revision INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	until INTEGER NOT NULL, -- when it was superseded
	files INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	pdh TEXT NOT NULL DEFAULT '',
	uuid TEXT NOT NULL DEFAULT '', -- of the version itself
	PRIMARY KEY (collection, version)
) WITHOUT ROWID;
CREATE INDEX version_uuid ON version (uuid);
CREATE INDEX version_until ON version (until);
CREATE INDEX version_pdh ON version (pdh) WHERE pdh <> '';

-- blocks made in this store; committed_end is how much of the block file
-- commits rely on, md5 and size are set when the block is stored
CREATE TABLE blockfile (
	id INTEGER PRIMARY KEY,
	collection TEXT NOT NULL DEFAULT '',
	committed_end INTEGER NOT NULL DEFAULT 0,
	md5 BLOB,
	size INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX blockfile_open ON blockfile (id) WHERE md5 IS NULL;

CREATE TABLE event (
	seq INTEGER PRIMARY KEY,
	uuid TEXT NOT NULL,
	owner TEXT NOT NULL,
	old_owner TEXT NOT NULL,
	kind INTEGER NOT NULL,
	revision INTEGER NOT NULL,
	at INTEGER NOT NULL
);
CREATE INDEX event_at ON event (at);

CREATE TABLE user (
	uuid TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	full_name TEXT NOT NULL,
	admin INTEGER NOT NULL,
	active INTEGER NOT NULL,
	password TEXT NOT NULL, -- a hash, '' for none
	created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE token (
	uuid TEXT PRIMARY KEY,
	user TEXT NOT NULL,
	hash BLOB NOT NULL, -- SHA-256 of the secret
	scopes TEXT NOT NULL, -- a JSON array
	label TEXT NOT NULL,
	created INTEGER NOT NULL,
	expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX token_user ON token (user);
CREATE TABLE share (
	user TEXT NOT NULL,
	target TEXT NOT NULL,
	level INTEGER NOT NULL,
	created INTEGER NOT NULL,
	uuid TEXT NOT NULL DEFAULT '', -- of the link that the API shows, see shareUUID
	PRIMARY KEY (user, target)
) WITHOUT ROWID;
CREATE INDEX share_target ON share (target);
CREATE INDEX share_uuid ON share (uuid);
-- links of the API that are no shares
CREATE TABLE link (
	uuid TEXT PRIMARY KEY,
	class TEXT NOT NULL,
	name TEXT NOT NULL,
	head TEXT NOT NULL,
	tail TEXT NOT NULL,
	owner TEXT NOT NULL,
	properties TEXT NOT NULL, -- a JSON object
	created INTEGER NOT NULL,
	modified INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX link_head ON link (head);
CREATE INDEX link_name ON link (class, name);
-- what clients have put into the log; numbers are those of events, too
CREATE TABLE note (
	seq INTEGER PRIMARY KEY,
	type TEXT NOT NULL,
	user TEXT NOT NULL,
	object TEXT NOT NULL,
	owner TEXT NOT NULL, -- of the object
	summary TEXT NOT NULL,
	properties TEXT NOT NULL, -- a JSON object
	at INTEGER NOT NULL
);
CREATE INDEX note_at ON note (at);

CREATE TABLE lock (
	token TEXT PRIMARY KEY,
	data BLOB NOT NULL,
	expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE side (
	collection TEXT NOT NULL,
	path TEXT NOT NULL,
	dir TEXT NOT NULL,
	modified INTEGER NOT NULL,
	content BLOB NOT NULL,
	size INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (collection, path)
);
CREATE INDEX side_dir ON side (collection, dir, path);
CREATE TABLE gc_mark (hash BLOB PRIMARY KEY, first_seen INTEGER NOT NULL) WITHOUT ROWID;
`

// migrations[n] brings a database from format n to n+1.
var migrations = map[int]string{
	// Format 1 had no label for tokens, and didn't say when a version was superseded.
	1: `
ALTER TABLE token ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE version ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
UPDATE version SET until = modified;
CREATE INDEX version_until ON version (until);
`,
	// Format 2 had nothing of what the API keeps. Versions get their UUIDs by nameVersions.
	2: `
ALTER TABLE version ADD COLUMN uuid TEXT NOT NULL DEFAULT '';
CREATE INDEX version_uuid ON version (uuid);
CREATE INDEX record_projects ON record (owner) WHERE kind <> 1;
CREATE TABLE api_collection (
	uuid TEXT PRIMARY KEY,
	modified_by TEXT NOT NULL DEFAULT '',
	preserve INTEGER NOT NULL DEFAULT 0,
	replication INTEGER NOT NULL DEFAULT 0,
	classes TEXT,
	trash_due INTEGER NOT NULL DEFAULT 0,
	delete_due INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX api_collection_due ON api_collection (trash_due) WHERE trash_due <> 0;
CREATE TABLE sent_manifest (
	collection TEXT NOT NULL,
	revision INTEGER NOT NULL,
	text BLOB NOT NULL,
	PRIMARY KEY (collection, revision)
);
`,
	// Format 3 had no links but shares, whose UUIDs nameShares gives, and no notes.
	3: `
ALTER TABLE share ADD COLUMN uuid TEXT NOT NULL DEFAULT '';
CREATE INDEX share_uuid ON share (uuid);
CREATE TABLE link (
	uuid TEXT PRIMARY KEY,
	class TEXT NOT NULL,
	name TEXT NOT NULL,
	head TEXT NOT NULL,
	tail TEXT NOT NULL,
	owner TEXT NOT NULL,
	properties TEXT NOT NULL,
	created INTEGER NOT NULL,
	modified INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX link_head ON link (head);
CREATE INDEX link_name ON link (class, name);
CREATE TABLE note (
	seq INTEGER PRIMARY KEY,
	type TEXT NOT NULL,
	user TEXT NOT NULL,
	object TEXT NOT NULL,
	owner TEXT NOT NULL,
	summary TEXT NOT NULL,
	properties TEXT NOT NULL,
	at INTEGER NOT NULL
);
CREATE INDEX note_at ON note (at);
`,
}

// migrate makes the schema of an empty database, or brings an older one to the
// present format, in one transaction.
func migrate(ctx context.Context, conn *sql.Conn, create func(*sql.Tx) error) error {
	var have int
	if err := conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
		return err
	}
	if have == format {
		return nil
	}
	if have > format {
		return fmt.Errorf("format %d, the newest known is %d: use the version of the program that wrote it, or a newer one: %w", have, format, ErrFormat)
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if have == 0 {
		var tables int
		if err := tx.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
			return err
		}
		if tables > 0 {
			return fmt.Errorf("the database was made by another program: %w", ErrFormat)
		}
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
		if err := create(tx); err != nil {
			return err
		}
	}
	for n := max(have, 1); have > 0 && n < format; n++ {
		if _, err := tx.Exec(migrations[n]); err != nil {
			return fmt.Errorf("migrate from format %d: %w", n, err)
		}
	}
	if _, err := tx.Exec(fmt.Sprintf(`PRAGMA user_version = %d`, format)); err != nil {
		return err
	}
	return tx.Commit()
}
