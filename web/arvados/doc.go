// Package arvados serves the REST API of Arvados, as far as it is about files,
// from an embedded store: clients of a cluster work with it as they do with one.
//
// An API is a set of endpoints (Endpoint), each of which answers one method of one
// path. What they have in common is done around them: who makes the request and
// whether the token is good for it, parameters in each of the forms in which clients
// send them (Params), errors (Error), what is selected of a record (Item), and
// pages of lists (Request.Query, List).
//
// # Changes
//
// What changes a collection goes through collfs.Collection.Apply: all of it or
// nothing, checked and durable, and whoever has the collection open sees it at
// once. Nobody's work is lost to a client that overwrites: see update.go.
//
// Start reading at api.go, then endpoint.go and collections.go.
package arvados
