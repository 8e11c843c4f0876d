// Package cluster tries several programs on the same collections, as a cluster's users
// have them: mounts, a keep-dav in front of the cluster, and who talks to the server
// itself, over a network on which everything goes wrong that can.
//
// What must hold: everything that was acknowledged is there at the end, under its name
// or in a conflict file, and all see the same tree.
package cluster
