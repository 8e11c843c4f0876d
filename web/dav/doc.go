// Package dav answers WebDAV (RFC 4918, classes 1, 2 and 3) over a
// davfs.FileSystem.
//
// It is a protocol layer of its own rather than golang.org/x/net/webdav, because
// real clients need what that one leaves out: preconditions, uploads that take
// place whole or not at all, listings that open no files, locks that are owned,
// shared and remembered. The tests in rows_test.go name these one by one, those
// in clients_test.go replay what clients send.
//
// # What a caller may rely on
//
// A request is judged before the first byte of its body is read: path, headers,
// conditions, locks, room. (XML bodies, which are small, are read before.) What may not go on costs the client nothing, if it
// waits for "100 Continue". The same guard is asked once more by the file
// system, under its lock, when the change is made; so neither a file that
// changed meanwhile nor a lock taken meanwhile is overlooked. A 2xx answer to a
// change follows its commit. An answer that has begun and cannot be completed
// ends in a panic with http.ErrAbortHandler, which cuts the connection: a short
// answer must not look like a whole one.
//
// Whatever a client sends, memory is bounded: XML bodies by size, depth and
// number of names, If headers by conditions and resources, ranges by number,
// PROPFIND of infinite depth by entries; listings stream. Clients that stall are
// let go.
//
// # Names
//
// A path is decoded and cleaned in one place (paths.go), then stripped of the
// prefix, and only that form is used. The host of a Destination is ignored.
// Hrefs are absolute paths, escaped once; those of collections end in a slash.
//
// # Locks
//
// Locks (the type) keeps the locks that clients take, by collection and path,
// so that users who see a collection under different URLs meet. Its mutex is a
// leaf: it is taken under the locks of collfs, in a guard's check, and nothing
// is called while it is held. The handler itself has no state but a cache of
// parsed PROPFIND bodies.
//
// Start reading at handler.go, then write.go and propfind.go. Status codes are in
// status.go, habits of clients in quirks.go.
package dav
