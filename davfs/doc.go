// Package davfs is the whole tree that one user sees: projects as folders,
// collections as folders in them, the files of the collections below.
//
//	/home                  the user's home project
//	/by_id/ID              a collection or project by its UUID; a portable data hash; UUID@N is version N
//	/shared/OWNER          what others share with the user, by owner
//	/users/NAME            the homes of the users that the user may see
//
// The Site is shared by all users of a process, an FS is one user's view of it.
// A name is resolved in two steps. The part that runs through projects is
// looked up in caches that the catalog's events empty (folders.go), with the
// user's access level at each step (resolve.go); what is left is a path inside
// one collection, which collfs looks up in its tree. So a name in a collection
// that is in use costs no query.
//
// # Making and moving
//
// A directory made in a project is a collection. A directory of a collection
// moved into a project becomes a collection, and a collection moved into another
// one becomes a directory of it; both share the data and are one transaction.
// Files put directly into a project are kept in a collection of that project
// called "Loose files" and shown in the project's folder; a record of the same
// name hides such a file, which stays reachable under "Loose files".
//
// # Mounts
//
// A mount works on collections by itself and asks the site about what lies above
// them: Locate says what a name is, Rmdir and Move with POSIX change records by the
// rules of the kernel, and SubscribeRecords tells what others change. An empty
// record goes to the trash only if it is empty in the transaction itself.
//
// # Permission
//
// Every call looks at the access level of what it touches. Levels are remembered
// for accessTTL, so a revoked grant acts within that time, or at once after
// Site.ForgetAccess. What a user may not read does not exist for him.
//
// # Locks
//
// Changes of records in a project hold that project's lock (Site.lockFolders, by
// UUID order) while their Check runs and the catalog commits. Changes inside
// collections are under collfs' locks. folderCache.mu is a leaf: nothing is called
// while it is held. Notices of records are delivered without any of these.
//
// Start reading at api.go, then site.go, resolve.go, spot.go, put.go, transfer.go;
// for a mount locate.go.
package davfs
