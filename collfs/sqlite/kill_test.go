package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"keepdav/collfs"
)

// killDir is the environment variable that makes the test binary the victim of
// TestAKilledProcessLosesNoAnsweredCommit: the store to commit to.
const killDir = "KEEPDAV_TEST_KILL_DIR"

// victim commits until it is killed, and tells each revision that it got an
// answer for.
func victim(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir, SegmentSize: 32 << 10, Reserve: -1, Blocks: fakeBlocks{}})
	if err != nil {
		return err
	}
	s.Start()
	u, err := s.UserByName(ctx, "ann")
	if err != nil {
		return err
	}
	e, err := s.Lookup(ctx, u.UUID, "data")
	if err != nil {
		return err
	}
	for rev := e.Collection.Revision; ; rev++ {
		_, err := s.Commit(ctx, collfs.Tx{Durable: rev%3 == 0, Changes: []collfs.Change{{Collection: e.Collection.UUID, Base: rev, Ops: mkdir(fmt.Sprint("d", rev))}}})
		if err != nil {
			return err
		}
		if rev%50 == 49 {
			if err := s.Fold(ctx, e.Collection.UUID); err != nil {
				return err
			}
		}
		fmt.Println(rev + 1)
	}
}

func TestAKilledProcessLosesNoAnsweredCommit(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rand.IntN(300) + 1; lines.Scan(); n-- {
			if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		s := openStore(t, Config{Dir: dir})
		rec, saved, err := s.Load(t.Context(), id, 0)
		if err != nil || rec.Revision < last {
			t.Fatalf("round %d: revision %d, %v; want at least %d", round, rec.Revision, err, last)
		}
		if tree, err := collfs.Load(saved, fakeBlocks{}); err != nil || tree.Dirs() != rec.Revision {
			t.Fatalf("round %d: revision %d has %d directories, %v", round, rec.Revision, tree.Dirs(), err)
		}
		if found, err := s.CheckDatabase(t.Context()); err != nil || len(found) > 0 {
			t.Fatal(found, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
