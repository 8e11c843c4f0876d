package main

import "runtime"

// heapFloor is counted as live by the garbage collector and never touched, so it
// takes up no memory. A server that serves holds a few MiB; without a floor
// the collector would run hundreds of times a second and take a quarter of the
// CPU of small requests. It bounds the garbage between two runs all the same,
// which a higher GOGC would not do for a store with large collections.
const heapFloor = 40 << 20

// keepHeapFloor sets the floor for as long as the returned function isn't called.
func keepHeapFloor() (release func()) {
	floor := make([]byte, heapFloor)
	return func() { runtime.KeepAlive(floor) }
}
