package sqlite

import (
	"context"
	"fmt"
)

// maxFaults bounds how many faults of one kind are told.
const maxFaults = 100

// faults are queries that find what cannot be in a sound database. Each returns
// one text a row.
var faults = []string{
	`SELECT 'change log of ' || collection || ' which does not exist' FROM change WHERE collection NOT IN (SELECT uuid FROM record) GROUP BY collection`,
	`SELECT 'checkpoint of ' || collection || ' which does not exist' FROM checkpoint WHERE collection NOT IN (SELECT uuid FROM record) AND complete`,
	`SELECT 'version of ' || collection || ' which does not exist' FROM version WHERE collection NOT IN (SELECT uuid FROM record) GROUP BY collection`,
	`SELECT 'checkpoint ' || id || ' of ' || collection || ' has not the size it should have' FROM checkpoint
		WHERE complete AND bytes <> (SELECT coalesce(sum(length(data)), 0) FROM checkpoint_part WHERE checkpoint = id)`,
	`SELECT 'record ' || uuid || ' lies in ' || owner || ' which does not exist' FROM record
		WHERE kind <> 3 AND trash_at = 0 AND owner NOT IN (SELECT uuid FROM record WHERE kind <> 1 AND trash_at = 0)`,
	`SELECT 'user ' || uuid || ' has no home' FROM user WHERE uuid NOT IN (SELECT uuid FROM record WHERE kind = 3)`,
	`SELECT 'home of ' || uuid || ' who does not exist' FROM record WHERE kind = 3 AND uuid NOT IN (SELECT uuid FROM user)`,
	`SELECT 'version ' || v.version || ' of ' || v.collection || ' is not older than the present one' FROM version v
		JOIN record r ON r.uuid = v.collection WHERE v.version >= r.version OR v.revision > r.revision`,
	`SELECT 'block file ' || id || ' was committed up to ' || committed_end || ' but stored with ' || size || ' bytes' FROM blockfile
		WHERE md5 IS NOT NULL AND committed_end > size`,
	`SELECT 'block file ' || id || ' has a bad hash' FROM blockfile WHERE md5 IS NOT NULL AND length(md5) <> 16`,
}

// CheckDatabase looks for damage of the database and for what contradicts
// itself in it, and returns what it finds, in words. It does not look at trees:
// see States.
func (s *Store) CheckDatabase(ctx context.Context) (found []string, err error) {
	tell := func(row scanner) error {
		var text string
		err := row.Scan(&text)
		if err == nil && text != "ok" {
			found = append(found, text)
		}
		return err
	}
	err = s.readers.snapshot(ctx, func(q snapshot) error {
		if err := q.query(tell, fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxFaults)); err != nil {
			return err
		}
		for _, query := range faults {
			if err := q.query(tell, query+fmt.Sprintf(` LIMIT %d`, maxFaults)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		// A query that fails is a finding, too.
		return append(found, err.Error()), nil
	}
	return found, err
}
