package keepio

import "context"

// A Stream appends one upload to open blocks of its own, so that a small sync
// beside it does not flush it, and so that it can be taken back. Its methods
// are called by one goroutine at a time.
type Stream struct {
	g       *group
	reserve bool
	cur     *blockFile
	parts   []streamPart
	lazy    bool // nobody has said that a sync comes at the end
	done    bool
}

// A streamPart says from where on a block file belongs to the stream.
type streamPart struct {
	bf    *blockFile
	start uint32
}

// Append puts data after what was appended before and returns where it lies;
// see Packer.Append. JoinSegments merges what adjoins. After an error none of
// data counts and the stream goes on.
func (st *Stream) Append(ctx context.Context, data []byte) ([]Segment, error) {
	s := st.g.spool
	s.active.enter()
	defer s.active.leave()
	if err := s.admit(ctx, len(data), st.reserve); err != nil {
		return nil, err
	}
	var segs []Segment
	for len(data) > 0 {
		if err := st.takeFile(); err != nil {
			s.budget.release(int64(len(data)))
			return nil, err
		}
		off, n, kept, err := st.cur.append(data)
		if n > 0 && kept > 0 {
			st.own(off)
			if !st.lazy {
				s.flusher.wrote(st.cur, off, uint32(n))
			}
		}
		if err != nil {
			s.budget.release(int64(len(data) - kept))
			return nil, err
		}
		if n > 0 {
			segs = append(segs, Segment{Block: st.cur.block, Off: off, Len: uint32(n)})
			data = data[n:]
		}
		if len(data) > 0 {
			st.cur = nil
		}
	}
	return segs, nil
}

// takeFile makes sure that there is a file to append to.
func (st *Stream) takeFile() (err error) {
	if st.cur == nil {
		st.cur, err = st.g.streamFile()
	}
	return err
}

// own notes that the present file belongs to the stream from off on.
func (st *Stream) own(off uint32) {
	n := len(st.parts)
	if n > 0 && st.parts[n-1].bf == st.cur {
		return
	}
	st.parts = append(st.parts, streamPart{st.cur, off})
	if st.lazy && n >= lazyBlocks {
		late := st.parts[n-lazyBlocks]
		st.g.spool.flusher.wrote(late.bf, late.start, BlockSize-late.start)
	}
}

// lazyBlocks is how many blocks a stream of which nobody knows whether it will be
// synced leaves to the kernel before it has them written out: a file that is not
// larger costs its writer nothing of the disk.
const lazyBlocks = 6

// Close ends the stream; what was appended stays. The next stream of the
// collection goes on in its last block.
func (st *Stream) Close() {
	if st.done {
		return
	}
	st.done = true
	if st.cur != nil {
		st.g.handBack(st.cur)
	}
	st.cur, st.parts = nil, nil
}

// Abort ends the stream and gives up what was appended: its room is free at
// once where nothing was frozen or stored meanwhile. After Close it does nothing.
func (st *Stream) Abort() {
	if st.done {
		return
	}
	for _, part := range st.parts {
		part.bf.abort(part.start)
	}
	st.Close()
}

// JoinSegments appends more to segs, merging neighbours that adjoin in a block.
// Holes merge too.
func JoinSegments(segs []Segment, more ...Segment) []Segment {
	for _, m := range more {
		if n := len(segs); n > 0 {
			last := &segs[n-1]
			adjoin := last.Block == m.Block && (m.Block == nil || last.Off+last.Len == m.Off)
			if adjoin && uint64(last.Len)+uint64(m.Len) < 1<<32 {
				last.Len += m.Len
				continue
			}
		}
		segs = append(segs, m)
	}
	return segs
}
