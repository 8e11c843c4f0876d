// Package keepclient is the client of Keep services: keepstore inside a cluster,
// keepproxy from outside. Its Client is a keepio.Remote.
//
// A Servers finds the services, by the cluster's API or from a given list, and
// holds connections, what is known of each host and the cluster's clock. Clients
// with different tokens share it.
//
// # Signatures
//
// A service gives out a block only for a locator that is signed, for a token,
// until some time. Whoever loads a manifest teaches the client its locators by
// Learn, under the name of their source. The client asks for the source to be
// loaded again, through Config.Refresh, when half the life of its signatures has
// passed, before it uses one that ends within a minute, and when a server
// refuses one. A block that was pushed has the locator of the server's reply
// until a source names it.
//
// # Trouble
//
// An operation asks servers in rounds. Servers that say something final are not
// asked again; after a round that leaves others it waits, for a random time that
// grows, or as long as servers ask for. Transfers may take as long as they like
// while bytes move. A host that is overloaded gets fewer requests at once.
//
// No error carries a token or a signature, nor quotes one that a server sent.
//
// # Locks
//
// Servers.mu, registry.mu, Client.flightMu, limiter.mu and transfer.mu are taken
// one at a time, and never held during I/O.
//
// Start reading at client.go, then fetch.go, push.go and locators.go.
package keepclient
