-- A store as format 1 wrote it.
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
	files INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	pdh TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (collection, version)
) WITHOUT ROWID;
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
	created INTEGER NOT NULL,
	expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX token_user ON token (user);
CREATE TABLE share (
	user TEXT NOT NULL,
	target TEXT NOT NULL,
	level INTEGER NOT NULL,
	created INTEGER NOT NULL,
	PRIMARY KEY (user, target)
) WITHOUT ROWID;
CREATE INDEX share_target ON share (target);

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

INSERT INTO meta (key, value) VALUES ('cluster', 'abcde'), ('hash seed', x'0102030405060708'),
	('secret', x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'), ('applied', 41), ('event seq', 7), ('next block', 4097), ('gc clock', 0);
INSERT INTO user (uuid, name, full_name, admin, active, password, created) VALUES ('abcde-tpzed-000000000000001', 'ann', 'Ann', 1, 1, '', 1600000000000000000);
INSERT INTO record (uuid, kind, owner, name, created, modified) VALUES ('abcde-tpzed-000000000000001', 3, '', 'abcde-tpzed-000000000000001', 1600000000000000000, 1600000000000000000);
INSERT INTO record (uuid, kind, owner, name, created, modified, revision, version) VALUES
	('abcde-4zz18-000000000000001', 1, 'abcde-tpzed-000000000000001', 'data', 1600000000000000000, 1600000100000000000, 2, 2);
-- Two change sets: mkdir a, mkdir b.
INSERT INTO change (collection, first, last, data) VALUES
	('abcde-4zz18-000000000000001', 1, 1, x'0701000102000161'),
	('abcde-4zz18-000000000000001', 2, 2, x'0701000102000162');
INSERT INTO version (collection, version, revision, modified, files, bytes) VALUES ('abcde-4zz18-000000000000001', 1, 1, 1600000050000000000, 0, 0);
INSERT INTO token (uuid, user, hash, scopes, created, expires) VALUES
	('abcde-gj3su-000000000000001', 'abcde-tpzed-000000000000001', x'089f8352ef7739f190eb0ccb8fb1cd5e1f26987a68468379ad7cdcdc4cecce24', '["all"]', 1600000000000000000, 0);
PRAGMA user_version = 1;
