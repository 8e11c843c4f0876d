// Package stress finds out whether a directory is a file system that many
// programs can use at once: any directory, of a disk or of a mount.
//
// It makes a sandbox in the directory and starts processes that work in it, round
// by round. Each knows exactly what must be there, so that whatever is lost, torn,
// stale or swapped is found, and said: what, where, what was expected, what came.
// Contents say of themselves who wrote them and when (content.go), and are
// compared byte for byte. In the end everything has been removed again and
// nothing is left over.
//
// # Processes and steps
//
// The coordinator (Run) asks the processes for one step at a time, all for the
// same, and goes on when all have answered. So what a process did in a step has
// happened before what another one sees in the next: it is compared strictly.
// What is seen while others change it allows for what they may be doing. A step
// ends at its first finding, and a run with the step.
//
// # What hangs
//
// Every operation is timed. One that takes longer than Options.Stall is reported
// with the thread that waits and where in the kernel, and the run is over: the
// processes are killed, and one that cannot be is left behind.
//
// Start reading at drive.go, then files.go and moves.go.
package stress
