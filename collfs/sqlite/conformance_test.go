package sqlite

import (
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/catalogtest"
)

// A clock stands still unless it is moved.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) *catalogtest.Env {
		c := &clock{now: time.Now()}
		s := openStore(t, Config{Now: c.Now})
		return &catalogtest.Env{
			Catalog: s, Folders: s, Blocks: fakeBlocks{}, NewUUID: s.newUUID,
			User: newUser(t, s, "ann", false), Stranger: newUser(t, s, "bob", false), Name: "ann",
			Grant: func(user, item collfs.UUID, level collfs.Level) error {
				return s.Grant(t.Context(), user, item, level)
			},
			Advance: c.Advance,
		}
	})
}
