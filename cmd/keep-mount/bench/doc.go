// Package bench measures a directory, of a mount or any other, with the work
// that the first writable mount of Keep was measured with in 2015, and prints its
// figures beside those of then.
//
// The groups are what iozone does with -s512m -l1 -u1 and with -s128m -l4 -u4,
// what dd does with a file of 2 GiB, and small files. Several clients are threads
// of this process.
//
// Every measurement is repeated; the median counts, and the spread is told. No
// page of 4 KiB is ever written twice, so a store that keeps equal bytes once
// gains nothing; what is read is checked to be what was written there. A
// measurement goes from before the opening of its files to after their closing:
// a mount may do its work there. Data that was written before is given to the
// disk first, untimed. Memory use does not depend on the sizes.
//
// Start reading at run.go.
package bench
