package davfs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
)

// downFolders answer nothing about access while they are down.
type downFolders struct {
	*memcatalog.Catalog
	down  atomic.Bool
	asked atomic.Int64
}

var errFoldersDown = errors.New("the folders are down")

func (d *downFolders) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	d.asked.Add(1)
	if d.down.Load() {
		return collfs.NoAccess, errFoldersDown
	}
	return d.Catalog.Access(ctx, user, id)
}

func TestALevelThatIsAdvisoryOutlivesAnOutage(t *testing.T) {
	for _, advisory := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			mem, home := memcatalog.New()
			d := &downFolders{Catalog: mem}
			files := collfs.NewFS(collfs.Config{Catalog: d, Log: zerolog.Nop()})
			defer files.Close(t.Context())
			site, err := NewSite(Config{Files: files, Folders: d, Catalog: d, Advisory: advisory})
			if err != nil {
				t.Fatal(err)
			}
			defer site.Close()
			f := site.User(collfs.User{UUID: home})
			want, err := f.Level(t.Context(), home)
			if err != nil || want == collfs.NoAccess {
				t.Fatalf("Level = %v, %v", want, err)
			}
			d.down.Store(true)
			for range 3 {
				time.Sleep(2 * accessTTL)
				got, err := f.Level(t.Context(), home)
				if advisory && (err != nil || got != want) || !advisory && !errors.Is(err, errFoldersDown) {
					t.Errorf("advisory %v: Level while nobody answers = %v, %v", advisory, got, err)
				}
				synctest.Wait()
			}
			d.down.Store(false)
			time.Sleep(2 * accessTTL)
			before := d.asked.Load()
			for range 3 {
				if got, err := f.Level(t.Context(), home); err != nil || got != want {
					t.Errorf("advisory %v: Level later = %v, %v", advisory, got, err)
				}
				synctest.Wait()
			}
			if n := d.asked.Load() - before; n != 1 {
				t.Errorf("advisory %v: asked %d times", advisory, n)
			}
		})
	}
}
