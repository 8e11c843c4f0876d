package cluster

import (
	"crypto/sha256"
	"encoding/binary"
)

// seedOf is the seed of content ids for a cluster. All clients of a cluster have the
// same, so that they agree about what is the same content.
func seedOf(cluster string) uint64 {
	sum := sha256.Sum256([]byte("keepdav content ids\x00" + cluster))
	return binary.LittleEndian.Uint64(sum[:])
}
