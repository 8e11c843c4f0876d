package collfs

// An openFile is what the handles of one file share.
type openFile struct{}
