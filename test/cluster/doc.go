// Package cluster tries several programs on the same collections, as a cluster's users
// have them: mounts, a keep-dav in front of the cluster, and who talks to the server
// itself, over a network on which everything goes wrong that can.
//
// What must hold: everything that was acknowledged is there at the end, under its name
// or in a conflict file, and all see the same tree.
//
// These variables change the tests, besides those of package target:
//
//	KEEPDAV_TEST_SEED    what dice begin with, which a test tells
//	KEEPDAV_TEST_FAULTS  how many of a hundred requests are broken
//	KEEPDAV_TEST_STEPS   how many changes each worker makes
package cluster
