package sqlite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/keepio"
)

// The clock of the garbage collector measures how much time has certainly
// passed. While the machine runs it follows the clock that nobody can set; over
// a restart it adds what the wall clock says, but no more than the machine has
// been up since. So a wall clock that jumps cannot cut a wait short.
type gcClock struct {
	total time.Duration // what has passed so far
	wall  time.Time     // at the last look
	up    time.Duration // at the last look
	boot  string        // which start of the machine that was
}

// machineTime returns how long the machine has been up, and a name for that
// start of it.
var machineTime = func() (up time.Duration, boot string) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, ""
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, ""
	}
	return time.Duration(ts.Nano()), strings.TrimSpace(string(id))
}

// advance brings the clock to now.
func (c *gcClock) advance(now time.Time) {
	up, boot := machineTime()
	switch {
	case c.wall.IsZero():
	case boot == "": // nothing but the wall clock is known
		c.total += max(0, now.Sub(c.wall))
	case boot == c.boot:
		c.total += max(0, up-c.up)
	default:
		c.total += max(0, min(now.Sub(c.wall), up))
	}
	c.wall, c.up, c.boot = now, up, boot
}

// readClock reads the clock and brings it to now. s.writeMu is held.
func (s *Store) readClock(w *writer) (c gcClock, err error) {
	var text string
	if err := w.row(`SELECT cast(value AS TEXT) FROM meta WHERE key = 'gc clock'`).Scan(&text); err != nil {
		return c, err
	}
	var wall int64
	if text != "0" {
		if _, err := fmt.Sscanf(text, "%d %d %d %s", &c.total, &wall, &c.up, &c.boot); err != nil {
			return c, fmt.Errorf("clock of the garbage collector %q: %w", text, keepio.ErrCorrupt)
		}
		c.wall = timeOf(wall)
		if c.boot == "-" {
			c.boot = ""
		}
	}
	c.advance(s.now())
	boot := c.boot
	if boot == "" {
		boot = "-"
	}
	_, err = w.exec(`UPDATE meta SET value = ? WHERE key = 'gc clock'`, fmt.Sprintf("%d %d %d %s", c.total, nanos(c.wall), c.up, boot))
	return c, err
}

// Marks returns the blocks that were found unreferenced, and since when: so
// much before now as has certainly passed, however the clock was set meanwhile.
func (s *Store) Marks(ctx context.Context) (map[[16]byte]time.Time, error) {
	marks := make(map[[16]byte]time.Time)
	err := s.write(ctx, func(w *writer) error {
		c, err := s.readClock(w)
		if err != nil {
			return err
		}
		return w.query(func(row scanner) error {
			var hash []byte
			var first int64
			if err := row.Scan(&hash, &first); err != nil {
				return err
			}
			marks[[16]byte(hash)] = c.wall.Add(time.Duration(first) - c.total)
			return nil
		}, `SELECT hash, first_seen FROM gc_mark WHERE length(hash) = 16`)
	})
	return marks, err
}

// SetMarks forgets the marks of blocks that are referenced or gone, and then
// marks others as found unreferenced now.
func (s *Store) SetMarks(ctx context.Context, stale, fresh [][16]byte, _ time.Time) error {
	return s.write(ctx, func(w *writer) error {
		c, err := s.readClock(w)
		if err != nil {
			return err
		}
		for _, hash := range stale {
			if _, err := w.exec(`DELETE FROM gc_mark WHERE hash = ?`, hash[:]); err != nil {
				return err
			}
		}
		for _, hash := range fresh {
			if _, err := w.exec(`INSERT INTO gc_mark (hash, first_seen) VALUES (?, ?) ON CONFLICT DO NOTHING`, hash[:], int64(c.total)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Expire deletes the versions that were superseded, and for good the
// collections and projects that were put in the trash, before a moment each.
func (s *Store) Expire(ctx context.Context, versions, trash time.Time) (nVersions, nRecords int, err error) {
	n, err := s.ExpireVersions(ctx, versions)
	if err != nil {
		return int(n), 0, err
	}
	nRecords, err = s.emptyTrash(ctx, `SELECT uuid `+trashedBefore, trash)
	return int(n), nRecords, err
}

// Trash that is deleted early or late tells by when it was put there.
const trashedBefore = `FROM record WHERE trash_at <> 0 AND trashed_with = uuid AND trash_at < ?`

// Expirable counts what Expire would delete.
func (s *Store) Expirable(ctx context.Context, versions, trash time.Time) (nVersions, nRecords int, err error) {
	err = s.readers.row(ctx, `SELECT (SELECT count(*) FROM version WHERE until < ?), (SELECT count(*) `+trashedBefore+`)`,
		nanos(versions), nanos(trash)).Scan(&nVersions, &nRecords)
	return nVersions, nRecords, storageError(err)
}
