package keepio

import (
	"crypto/md5"
	"math/rand/v2"
	"slices"
	"testing"
)

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(p)
	return p
}

func TestSumsJoinAsTheirBytesDo(t *testing.T) {
	data := randomBytes(3 * ChunkSize)
	for _, cut := range []int{0, 1, 7, 4096, ChunkSize - 1, ChunkSize, ChunkSize + 1, 2 * ChunkSize, 3 * ChunkSize} {
		a, b := data[:cut], data[cut:]
		if got := JoinSums(Sum(a), Sum(b), uint32(len(b))); got != Sum(data) {
			t.Errorf("JoinSums of a cut at %d = %08x; want %08x", cut, got, Sum(data))
		}
	}
}

func TestRawSumTellsHowAChangeOfBytesChangesASum(t *testing.T) {
	data := randomBytes(10000)
	changed := slices.Clone(data)
	diff := make([]byte, 100)
	for i := range diff {
		diff[i] = byte(i*37 + 1)
		changed[5000+i] ^= diff[i]
	}
	if got := Sum(data) ^ shiftSum(rawSum(diff), 10000-5100); got != Sum(changed) {
		t.Errorf("patched sum = %08x; want %08x", got, Sum(changed))
	}
}

func TestZeroHashIsThatOfZeros(t *testing.T) {
	if got := md5.Sum(make([]byte, BlockSize)); got != zeroHash {
		t.Errorf("MD5 of %d zeros = %x; want %x", BlockSize, got, zeroHash)
	}
}

func BenchmarkShiftSum(b *testing.B) {
	for b.Loop() {
		shiftSum(0x12345678, 12345)
	}
}
