// Package api speaks to the REST API of an Arvados cluster: requests, replies and
// their types, errors, retries and limits. It knows nothing of trees.
//
// A Host is a server: its address, connections, and how many requests it takes at
// once; whoever acts with several tokens shares one. A Client is a Host with a
// token. Both may be used concurrently.
//
// What asks only is tried again as long as the server is not to be reached or
// overloaded, up to Config.Patience. What changes something is tried again only if
// it is known not to have been done; else the error matches ErrUnclear, and who
// asked has to find out.
//
// Start reading at client.go.
package api
