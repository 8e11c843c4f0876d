package blockcache

import (
	"crypto/md5"

	"github.com/rs/zerolog"

	"keepdav/keepio"
)

func hashOf(data []byte) [16]byte { return md5.Sum(data) }

func sumsOf(data []byte) []uint32 {
	var sums []uint32
	for off := 0; off < len(data); off += keepio.ChunkSize {
		sums = append(sums, keepio.Sum(data[off:min(off+keepio.ChunkSize, len(data))]))
	}
	return sums
}

var nolog = zerolog.Nop()
