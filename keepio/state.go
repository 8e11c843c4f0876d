package keepio

import "fmt"

// A fileState is where a block file is on its way into the store.
type fileState uint8

const (
	fileOpen    fileState = iota // takes appends
	fileSealed                   // complete, waits to be hashed
	fileStoring                  // is being hashed and stored
	fileStored                   // the store has the block; the file is gone
	fileFailed                   // storing failed, will be tried again
	fileDropped                  // nobody wanted the bytes; the file is gone
	fileStates
)

func (s fileState) String() string {
	return [...]string{"open", "sealed", "storing", "stored", "failed", "dropped"}[s]
}

// fileSteps[from][to] says which steps a block file may take.
var fileSteps = [fileStates][fileStates]bool{
	fileOpen:    {fileSealed: true, fileDropped: true},
	fileSealed:  {fileStoring: true, fileDropped: true},
	fileStoring: {fileStored: true, fileFailed: true},
	fileFailed:  {fileSealed: true, fileDropped: true},
}

// step moves *s to the next state. A step that is not in the table is a bug of
// this package.
func (s *fileState) step(to fileState) {
	if !fileSteps[*s][to] {
		panic(fmt.Sprintf("keepio: block file goes from %v to %v", *s, to))
	}
	*s = to
}
