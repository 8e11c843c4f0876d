package dav

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
	"keepdav/davfs/fstest"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// onTheSite are the tests that run a second time on the real file system.
var onTheSite = []func(*testing.T){
	TestPutSaysWhetherItCreated, TestPutHonoursPreconditions, TestPutOfAPartKeepsTheRest, TestPatchUpdatesInPlace,
	TestMoveOverwritesUnlessToldNotTo, TestDestinationOfAnotherHostIsOurs, TestDestinationOutsideThePrefixIsRefused, TestDepthIsReadWithoutCase,
	TestInfinitePropfindIsBounded, TestCopyChecksItsSourceAgain, TestIfHoldsForTheDestinationToTheEnd, TestLockTakenAfterADeleteStays, TestPartHasAsManyBytesAsItsRange, TestStreamThatIsResetCommitsNothing, locksOnProjectsHoldByEveryName, projectLockedDuringAnUploadHolds, lockOnWhatCameMeanwhileHolds, locksOnProjectsAreShownInside, locksOnLooseFilesHoldTheirCollection, TestLockTokenIsAURI, TestMoveOfALockedSourceNeedsOnlyItsToken, TestLockDiesWithItsFile,
	TestDirectoryWithALockedMemberStays, TestDirectoryWithALockedMemberIsNotLockedOver, TestLockWithASlashMakesNoFile, TestUnlockHonoursIf, TestSharedLocks, TestLockWithoutAParentIsAConflict, TestLockTimeoutIsClamped,
	TestUnlockElsewhereIsAConflict, TestLockDiscoveryShowsLocks, TestCopyIntoItselfIsRefusedAtOnce, TestFileIsNoDirectory,
	TestExpectContinueIsNotGivenToTheRefused, TestRefusedBodyIsDrained, TestHostileRequests, TestUnknownMethodsAreNamedTheKnown,
	TestEveryClientFindsTheServer, TestFinderUpload, TestExplorerCopiesAFile, TestWindowsSeesNamesItDoesNotAllow, TestOfficeSavesADocument,
	TestGvfsWorksWithoutSlashes, TestKDEAsksAboutLocks, TestDavfs2EditsAFile, TestRcloneSyncs, TestPropertiesAreGivenBackAsSet,
	TestProppatchIsAllOrNothing, TestDirectoriesAnswerGetAndHead, TestDownloadGoesOnOnlyWithTheSameContent, TestChecksumsAreVerifiedAndKept, TestWindowsFoldersWithForbiddenNamesWork, TestLockIsRefreshedByEitherHeader, TestLitmusPasses,
}

const onTheSitePrefix = "TestOnTheSite/"

func TestOnTheSite(t *testing.T) {
	for _, f := range onTheSite {
		t.Run(funcName(f), f)
	}
}

// TestOverHTTP2 runs what depends on bodies, deadlines and statuses over the
// other protocol.
func TestOverHTTP2(t *testing.T) {
	for _, f := range []func(*testing.T){
		TestPutSaysWhetherItCreated, TestPutHonoursPreconditions, TestPatchUpdatesInPlace, TestRefusedBodyIsDrained, TestRangesOfAFile,
		TestFinderUpload, TestDavfs2EditsAFile, TestDirectoriesAnswerGetAndHead, TestPropertiesAreGivenBackAsSet, TestMkcolRules, TestStreamThatIsResetCommitsNothing,
	} {
		t.Run(funcName(f), f)
	}
}

const overHTTP2Prefix = "TestOverHTTP2/"

// newSite makes a site with the collection "coll" in ann's home, which bob may
// write too. It returns the sessions, and the path under which bob sees it.
func newSite(t testing.TB) (session func(user string) Session, bobs string) {
	t.Helper()
	catalog, annHome := memcatalog.New()
	ann := collfs.User{UUID: annHome, Name: "ann", Admin: true, Active: true}
	bob := collfs.User{UUID: catalog.AddUser("bob", false), Name: "bob", Active: true}
	var last atomic.Uint64
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: t.TempDir(), Store: new(memstore.Store), NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(last.Add(1)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	files := collfs.NewFS(collfs.Config{Catalog: catalog, Spool: spool, HashSeed: 7})
	site, err := davfs.NewSite(davfs.Config{Files: files, Folders: catalog, Catalog: catalog, Side: fstest.NewSideStore()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		site.Close()
		if err := files.Close(context.Background()); err != nil {
			t.Errorf("close files: %v", err)
		}
		if err := spool.Close(context.Background()); err != nil {
			t.Errorf("close spool: %v", err)
		}
	})
	id := catalog.Create(annHome, "coll")
	catalog.Grant(bob.UUID, id, collfs.CanWrite)
	views := map[string]Session{
		"ann": {FS: site.User(ann), User: "ann"},
		"bob": {FS: site.User(bob), User: "bob"},
	}
	return func(user string) Session {
		if s, ok := views[user]; ok {
			return s
		}
		return views["ann"] // litmus waits to be asked for a password
	}, "/by_id/" + string(id)
}

// onSite makes the server's sessions those of a real site.
func (s *davServer) onSite(conf *Config) {
	session, bobs := newSite(s.t)
	s.bobs = bobs
	conf.Session = func(r *http.Request) (Session, error) {
		user := r.Header.Get("X-User")
		if name, _, ok := r.BasicAuth(); ok {
			user = name
		}
		return session(user), nil
	}
}

// asBobSees puts the place where bob finds the collection instead of the one
// that the tests name.
func (s *davServer) asBobSees(text string) string {
	if s.bobs == "" {
		return text
	}
	return strings.ReplaceAll(text, "/shared/x", s.bobs)
}

// asTestsSay undoes asBobSees.
func (s *davServer) asTestsSay(text string) string {
	if s.bobs == "" {
		return text
	}
	return strings.ReplaceAll(text, s.bobs, "/shared/x")
}

func TestNamesMatchWithoutCaseOnlyForWindows(t *testing.T) {
	s := newServer(t, func(c *Config) {
		session, _ := newSite(t)
		c.Session = func(*http.Request) (Session, error) { return session("ann"), nil }
	})
	win := s.as("ann", windowsUA)
	s.put("/home/coll/Mixed.Case", "/home/coll/dir/", "/home/coll/dir/x")
	s.want(404, "GET", "/home/coll/mixed.case", "", "")
	win.want(200, "GET", "/home/coll/mixed.CASE", "", "")
	win.want(204, "PUT", "/home/coll/MIXED.case", "", "y")
	win.want(200, "GET", "/home/coll/DIR/X", "", "")
	win.want(201, "MOVE", "/home/coll/Mixed.Case", "Destination: /home/coll/mixed.case", "")
	s.want(200, "GET", "/home/coll/mixed.case", "", "")
	win.want(201, "MOVE", "/home/coll/MIXED.case", "Destination: /home/coll/Mixed.CASE\nOverwrite: F", "") // however the source is spelled
	win.want(201, "MOVE", "/home/coll/MIXED.case", "Destination: /home/coll/mixed.case", "")
	s.want(200, "GET", "/home/coll/mixed.case", "", "")
	s.put("/home/coll/MIXED.CASE")
	win.want(404, "GET", "/home/coll/Mixed.Case", "", "")
}

func TestMacNamesMatchInAnyForm(t *testing.T) {
	s := newServer(t, func(c *Config) {
		session, _ := newSite(t)
		c.Session = func(*http.Request) (Session, error) { return session("ann"), nil }
	})
	s.want(201, "PUT", "/home/coll/r%C3%A9sum%C3%A9", "", "x")
	s.as("ann", finderUA).want(204, "PUT", "/home/coll/re%CC%81sume%CC%81", "", "y")
	if rs := s.propfind("/home/coll/", "Depth: 1", ""); len(rs) != 2 || rs[1].Href != "/home/coll/r%C3%A9sum%C3%A9" {
		t.Errorf("listing: %+v", rs)
	}
	s.want(201, "MOVE", "/home/coll/r%C3%A9sum%C3%A9", "Destination: /home/coll/re%CC%81sume%CC%81\nOverwrite: F", "")
	if rs := s.propfind("/home/coll/", "Depth: 1", ""); len(rs) != 2 || rs[1].Href != "/home/coll/re%CC%81sume%CC%81" {
		t.Errorf("listing after the name was respelled: %+v", rs)
	}
	s.want(403, "MOVE", "/home/coll/r%C3%A9sum%C3%A9", "Destination: /home/coll/re%CC%81sume%CC%81", "")
	s.want(201, "MOVE", "/home/coll/re%CC%81sume%CC%81", "Destination: /home/coll/r%C3%A9sum%C3%A9", "")
	// A lock taken under one form holds under the other.
	s.lock(200, "/home/coll/r%C3%A9sum%C3%A9", "", exclusiveXML)
	s.want(423, "PUT", "/home/coll/re%CC%81sume%CC%81", "", "z")
}

// The same as BenchmarkPropfind, through the whole site.
func BenchmarkPropfindOnTheSite(b *testing.B) {
	const n = 10_000
	session, _ := newSite(b)
	ann := session("ann")
	for i := range n {
		up, err := ann.FS.Put(b.Context(), fmt.Sprintf("/home/coll/file-%06d.txt", i), davfs.PutOptions{Size: -1})
		if err == nil {
			_, _, err = up.Commit(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	locks, err := NewLocks(b.Context(), LockConfig{})
	if err != nil {
		b.Fatal(err)
	}
	h := New(Config{Locks: locks, Session: func(*http.Request) (Session, error) { return ann, nil }})
	for _, c := range []struct{ name, path, depth, body string }{
		{"all", "/home/coll/", "1", ""}, {"five", "/home/coll/", "1", fiveProps}, {"depth0", "/home/coll/file-005000.txt", "0", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("PROPFIND", c.path, nil)
			r.ContentLength = int64(len(c.body))
			r.Header.Set("Depth", c.depth)
			w := &nullWriter{h: http.Header{}}
			for b.Loop() {
				clear(w.h)
				r.Body = io.NopCloser(strings.NewReader(c.body))
				h.ServeHTTP(w, r)
			}
			if c.depth == "1" {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
			}
		})
	}
}
