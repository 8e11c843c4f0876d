// Package apiserver keeps records and contents of collections with the API server
// of an Arvados cluster. A Catalog is collfs.Catalog and collfs.Folders, in the name
// of one token.
//
// # Commits
//
// A change set becomes one request: replace_files says of each path that changed
// what it is made of, new contents travel as a fragment of a manifest. The API has
// no conditional update. So a commit looks first whether the collection is what the
// change set was made to, and afterwards whether it has become what was expected;
// if somebody came between, what their change and ours did to each other is put
// right from the versions of the collection, which every update asks the server to
// keep (repair.go). So our commits destroy nobody's content, and ours is brought
// back, as a conflict file, if somebody overwrites it who had not seen it. Who writes
// to the same path meanwhile, ours is in the versions. If a server answers that it
// does not keep the state as a version, it is asked again: in between, an update by
// somebody else leaves no trace of ours. Attributes are replaced as a whole: of two
// updates at the same time, those of the later one stay.
//
// A transaction of several records and collections is several requests, and not
// atomic: what makes or copies comes before what takes away, and what was done is
// undone, as far as that is possible, if a later part fails (txn.go).
//
// # Revisions and ids
//
// Revisions are counted in this process and kept nowhere: the number moves when the
// content of a collection, or its attributes, is not what was seen last. A content
// has the id that it was made with as long as this process remembers; read from a
// manifest it has one that is derived from its spans.
//
// # Attributes
//
// What manifests cannot say is kept in the record's properties, under one key
// (attrs.go).
//
// # What a cluster cannot do
//
// Names that are not UTF-8 cannot be kept. Files with several names become several
// files. The UUID of a new record is the cluster's: the one that was asked for is
// known to this process only, as another name of the record.
//
// # keepdav servers
//
// A server that announces the extension of package delta has conditional commits,
// revisions, and trees with their attributes: then these are used, and nothing of the
// above that makes up for them (extension.go).
//
// # Locks
//
// From the outer to the inner: entry.turn (who commits or loads a collection),
// entry.mu, Catalog.mu; events.telling comes before events.mu. None but entry.turn is
// held while waiting for the server, and watchers are told without all but that.
//
// Start reading at catalog.go, then plan.go, commit.go.
package apiserver
