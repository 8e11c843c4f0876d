package collfs

// Unload drops from memory the collections that nobody uses just now and that
// idle says are not worth keeping; version is 0 for the present state. What
// OpenPDH has opened goes unasked. Until then what they refer to counts as in use
// (see Held). idle may take its time.
func (f *FS) Unload(idle func(id UUID, version int) bool) {
	f.mu.Lock()
	var keys []slotKey
	for key, s := range f.loaded {
		if s.c != nil && s.c.pins.Load() == 0 {
			keys = append(keys, key)
		}
	}
	f.mu.Unlock()
	for _, key := range keys {
		if key.pdh == "" && !idle(key.id, key.version) {
			continue
		}
		f.mu.Lock()
		if s := f.loaded[key]; s != nil && s.c != nil && s.c.pins.Load() == 0 && s.c.unused() {
			f.dropLocked(s.c)
		}
		f.mu.Unlock()
	}
}
