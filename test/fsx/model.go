package fsx

// file is what a file should be. Bytes between its length and its capacity are zeros.
type file []byte

// to makes the file at least that large; the new bytes are zeros.
func (f *file) to(size int64) {
	switch old := int64(len(*f)); {
	case size <= old:
	case size <= int64(cap(*f)):
		*f = (*f)[:size]
	default:
		*f = append(*f, make([]byte, size-old)...)
		clear((*f)[size:cap(*f)])
	}
}

func (f *file) write(off int64, b []byte) {
	f.to(off + int64(len(b)))
	copy((*f)[off:], b)
}

func (f *file) truncate(size int64) {
	f.to(size)
	clear((*f)[size:])
	*f = (*f)[:size]
}

// read is up to n bytes at off.
func (f file) read(off, n int64) []byte {
	size := int64(len(f))
	return f[min(off, size):min(off+n, size)]
}

// zero makes zeros of what there is between off and off+n.
func (f file) zero(off, n int64) { clear(f.read(off, n)) }

// granule is how many bytes in a row are equal.
const granule = 512

// fill makes bytes of p that tell by whom and where they were written.
func fill(p []byte, b byte, off int64) []byte {
	for i := 0; i < len(p); {
		v := b + byte((off+int64(i))/granule)
		if v == 0 {
			v = 1 // a zero is what nobody wrote
		}
		end := min(len(p), i+granule-int((off+int64(i))%granule))
		for ; i < end; i++ {
			p[i] = v
		}
	}
	return p
}
