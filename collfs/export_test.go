package collfs

// Writing reports whether somebody has the lock of who writes to h's file.
func (h *Handle) Writing() bool {
	if h.o.mu.TryLock() {
		h.o.mu.Unlock()
		return false
	}
	return true
}
