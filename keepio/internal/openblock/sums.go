package openblock

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"keepdav/keepio"
)

// A sums file holds the magic, the block's size, the CRC-32C of each chunk and
// the CRC-32C of all that, numbers little-endian.
const sumsMagic = "kdsums1\n"

func encodeSums(size uint32, sums []uint32) []byte {
	b := make([]byte, 0, len(sumsMagic)+4*len(sums)+8)
	b = append(b, sumsMagic...)
	b = binary.LittleEndian.AppendUint32(b, size)
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return binary.LittleEndian.AppendUint32(b, keepio.Sum(b))
}

// decodeSums returns nil if b is not a whole sums file for that size.
func decodeSums(b []byte, size uint32) []uint32 {
	n := Chunks(size)
	body := len(sumsMagic) + 4 + 4*n
	if len(b) != body+4 || string(b[:len(sumsMagic)]) != sumsMagic ||
		binary.LittleEndian.Uint32(b[len(sumsMagic):]) != size ||
		binary.LittleEndian.Uint32(b[body:]) != keepio.Sum(b[:body]) {
		return nil
	}
	sums := make([]uint32, n)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(b[len(sumsMagic)+4+4*i:])
	}
	return sums
}

// Chunks returns how many chunks a block of that size has.
func Chunks(size uint32) int {
	return int((int64(size) + keepio.ChunkSize - 1) / keepio.ChunkSize)
}

// A SumsDir is a directory with the sums of blocks, one file each. It is a cache:
// nothing is synced and a failure costs no more than another look at the block.
type SumsDir struct {
	Dir  string
	Mode fs.FileMode // of the directories in it
}

func (d SumsDir) path(hash [16]byte) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(d.Dir, name[:3], name)
}

// Read returns a block's sums, or nil if they are not known.
func (d SumsDir) Read(hash [16]byte, size uint32) []uint32 {
	b, err := os.ReadFile(d.path(hash))
	if err != nil {
		return nil
	}
	return decodeSums(b, size)
}

// Write remembers a block's sums.
func (d SumsDir) Write(hash [16]byte, size uint32, sums []uint32) {
	if len(sums) != Chunks(size) {
		return
	}
	target := d.path(hash)
	f, err := os.CreateTemp(filepath.Dir(target), ".new-")
	if errors.Is(err, fs.ErrNotExist) {
		if os.MkdirAll(filepath.Dir(target), d.Mode) != nil {
			return
		}
		f, err = os.CreateTemp(filepath.Dir(target), ".new-")
	}
	if err != nil {
		return
	}
	_, err = f.Write(encodeSums(size, sums))
	if cerr := f.Close(); err != nil || cerr != nil || os.Rename(f.Name(), target) != nil {
		_ = os.Remove(f.Name())
	}
}

// Remove forgets a block's sums.
func (d SumsDir) Remove(hash [16]byte) { _ = os.Remove(d.path(hash)) }
