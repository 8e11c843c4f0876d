package apiserver_test

import (
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/apiserver"
	"keepdav/collfs/apiserver/apitest"
	"keepdav/collfs/catalogtest"
)

// What a cluster cannot do.
var exceptions = map[string]string{
	"LoadReturnsWhatWasCommitted":        "names that are not UTF-8 cannot be kept: TestNamesThatAreNotUTF8AreRefused, TestCommittedChangesAreLoaded",
	"OldVersionsStay":                    "each commit is a version, also the creation: TestOldVersionsStay",
	"KeepMakesAVersionAtOnce":            "each commit is a version, also what was not asked for: TestOldVersionsStay",
	"ChangeSetsAreToldSinceEachRevision": "a cluster keeps no change sets, which Since says: TestChangesAreNotToldWithoutTheExtension",
	"DeleteNowNeedsTrash":                "what goes for good is there until no signature can be in use: TestDeleteNowNeedsTrash",
	"AccessFollowsOwnersAndGrants":       "what a user may not see is not there, instead of being there without access: TestAccessFollowsProjects",
	"FindPDHFindsWhatMayBeRead":          "what is found is a collection of its own, whose UUID is the hash: TestContentIsFoundByItsHash",
}

func TestCatalogDoesWhatItHasTo(t *testing.T) {
	for _, keep := range []bool{false, true} {
		name := map[bool]string{false: "ServerGivesUUIDs", true: "ClientGivesUUIDs"}[keep]
		t.Run(name, func(t *testing.T) {
			for _, c := range catalogtest.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					if why := exceptions[c.Name]; why != "" {
						t.Skip(why)
					}
					if keep && (c.Name == "ManyChangesAreLoadedInOrder" || c.Name == "ConcurrentUseIsSafe") {
						t.Skip("it has nothing to do with UUIDs, and takes time")
					}
					t.Parallel()
					e := newEnv(t, apitest.Options{KeepUUIDs: keep})
					if err := c.Check(t.Context(), e.catalogEnv()); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func (e *env) catalogEnv() *catalogtest.Env {
	stranger, token := e.server.AddUser("bob", false)
	mine, theirs := e.catalog(""), e.catalog(token)
	folders := &perUser{mine, map[collfs.UUID]*apiserver.Catalog{e.user: mine, stranger: theirs}}
	return &catalogtest.Env{
		Catalog: mine, Folders: folders, Blocks: e.blocks, NewUUID: newUUID, User: e.user, Stranger: stranger, Name: "alice",
		Grant:   func(user, item collfs.UUID, level collfs.Level) error { e.server.Grant(user, item, level); return nil },
		Advance: e.server.Advance,
	}
}
