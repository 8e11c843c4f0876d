package keepio

import "io"

// A CutWriter is a stream whose receiver sees when it ends early: it was told
// how long it is, or gets no proper end. Stores that verify blocks only when they
// are complete may write bytes to it that are not verified yet, if they withhold
// some until they are, and fail if they are bad. Whoever writes to it must not
// end it properly after an error.
type CutWriter interface {
	io.Writer

	// Cut says that the writer promises the above. It does nothing.
	Cut()
}

// CanCut makes w a CutWriter, for callers that cut the stream after an error. It
// keeps what makes sendfile possible.
func CanCut(w io.Writer) CutWriter {
	if r, ok := w.(io.ReaderFrom); ok {
		return cutReaderFrom{cut{w}, r}
	}
	return cut{w}
}

type cut struct{ io.Writer }

func (cut) Cut() {}

type cutReaderFrom struct {
	cut
	io.ReaderFrom
}
