package keepio

import "hash/crc32"

// ChunkSize is the unit in which blocks are checked when they are read: each
// chunk of a block has a CRC-32C (the last chunk may be shorter).
const ChunkSize = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum returns the CRC-32C of p.
func Sum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

func updateSum(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// A CRC is a polynomial over GF(2) modulo the Castagnoli polynomial, bits
// reflected: bit 31 is the coefficient of x^0. Appending n bytes multiplies it
// by x^(8n); that is why sums of adjoining spans can be joined and split
// without looking at the bytes again.
const castagnoliPoly = 0x82f63b78

// mulMod multiplies two polynomials.
func mulMod(a, b uint32) uint32 {
	var p uint32
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		p ^= b & -(a & bit / bit)
		b = b>>1 ^ castagnoliPoly&-(b&1)
	}
	return p
}

// powers[k] is x^(8 * 2^k).
var powers = func() (t [32]uint32) {
	p := uint32(1 << 23) // x^8
	for k := range t {
		t[k], p = p, mulMod(p, p)
	}
	return t
}()

// shiftSum returns what sum contributes to the sum of a span that goes on for
// n bytes more.
func shiftSum(sum uint32, n uint32) uint32 {
	if n == ChunkSize {
		return chunkShift[0][sum&0xff] ^ chunkShift[1][sum>>8&0xff] ^ chunkShift[2][sum>>16&0xff] ^ chunkShift[3][sum>>24]
	}
	for k := 0; n != 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			sum = mulMod(sum, powers[k])
		}
	}
	return sum
}

// chunkShift is shiftSum(_, ChunkSize) as a table by bytes: a 64 MiB span is
// joined from 1,024 chunks.
var chunkShift = func() (t [4][256]uint32) {
	for i := range t {
		for b := range t[i] {
			t[i][b] = mulMod(uint32(b)<<(8*i), powers[16])
		}
	}
	return t
}()

// JoinSums returns the sum, as of Sum, of a span from those of its two parts; n is the
// length of the second.
func JoinSums(first, second uint32, n uint32) uint32 { return shiftSum(first, n) ^ second }

// rawSum is the sum without the conditioning that makes leading zeros count:
// rawSum(a xor b) = Sum(a) xor Sum(b). It tells how a sum changes when bytes
// are overwritten.
func rawSum(p []byte) uint32 { return ^crc32.Update(^uint32(0), castagnoli, p) }
