// Package meter has what the benchmark programs of this directory share: CPU
// and memory of a server's processes as /proc tells them, bytes that no store
// can have seen before, and figures as they are printed. Times are seconds of
// CPU, memory is MiB. Everything is for one machine, Linux.
package meter

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const clockTick = 100 // Linux: USER_HZ

type procStat struct {
	pid, parent int
	cpu         float64 // with that of its children that have ended
}

func readProc(pid int) (procStat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 15 {
		return procStat{}, false
	}
	p := procStat{pid: pid}
	p.parent, _ = strconv.Atoi(f[1])
	for _, s := range f[11:15] { // utime stime cutime cstime
		v, _ := strconv.ParseFloat(s, 64)
		p.cpu += v / clockTick
	}
	return p, true
}

func processes() (all []procStat) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProc(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// processTree lists root and its descendants.
func processTree(root int) []procStat {
	all := processes()
	in := []int{root}
	var tree []procStat
	for grown := true; grown; {
		grown = false
		for i := len(all) - 1; i >= 0; i-- {
			if p := all[i]; p.pid == root || slices.Contains(in, p.parent) {
				tree, in = append(tree, p), append(in, p.pid)
				all = slices.Delete(all, i, i+1)
				grown = true
			}
		}
	}
	return tree
}

// TreeCPU is the CPU time that root, its descendants, and those of them that
// have ended and were waited for, have used so far.
func TreeCPU(root int) (sum float64) {
	for _, p := range processTree(root) {
		sum += p.cpu
	}
	return sum
}

// ResetPeaks makes the kernel's peak RSS of the processes start from now.
func ResetPeaks(root int) {
	for _, p := range processTree(root) {
		os.WriteFile("/proc/"+strconv.Itoa(p.pid)+"/clear_refs", []byte("5"), 0)
	}
}

// TreePeakRSS adds up the largest memory of each process since ResetPeaks.
func TreePeakRSS(root int) (mib float64) { return treeStatus(root, "VmHWM:") }

// TreeRSS is the memory of the processes now.
func TreeRSS(root int) (mib float64) { return treeStatus(root, "VmRSS:") }

func treeStatus(root int, key string) (mib float64) {
	for _, p := range processTree(root) {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, key); ok {
				kib, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
				mib += kib / 1024
			}
		}
	}
	return mib
}

// WaitIdle waits until the server has used next to no CPU for quiet, at most a
// minute: what it does behind its answers belongs to their cost.
func WaitIdle(root int, quiet time.Duration) {
	const step = 100 * time.Millisecond
	last, since := TreeCPU(root), time.Now()
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && time.Since(since) < quiet; {
		time.Sleep(step)
		if now := TreeCPU(root); now > last+0.011 { // one tick is not work
			last, since = now, time.Now()
		}
	}
}

// BusySeconds is the CPU time of the whole machine so far, kernel threads and
// what the hypervisor took included.
func BusySeconds() (sum float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, s := range strings.Fields(line)[1:] {
		if i != 3 && i != 4 && i < 8 { // idle, iowait, guests
			v, _ := strconv.ParseFloat(s, 64)
			sum += v / clockTick
		}
	}
	return sum
}

// OwnCPU is the CPU time of this process and of its children that have ended.
func OwnCPU() (sum float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		syscall.Getrusage(who, &ru)
		sum += time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
	}
	return sum
}

// OthersShare is which part of the machine neither the server nor this program
// used: neighbours, and the kernel's own threads.
func OthersShare(busy, own, server float64, wall time.Duration) float64 {
	return max(0, busy-own-server) / wall.Seconds() / float64(runtime.NumCPU())
}

// DropCaches writes dirty pages out and empties the kernel's caches. It needs root.
func DropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// OtherProcesses is the CPU time used so far by all processes that are neither
// root, nor descend from it, nor are threads of the kernel. What a process that
// has ended used is found with whoever waited for it.
func OtherProcesses(root int) (sum float64) {
	const kernel = 2 // kthreadd
	ours := map[int]bool{}
	for _, p := range processTree(root) {
		ours[p.pid] = true
	}
	for _, p := range processes() {
		if !ours[p.pid] && p.pid != kernel && p.parent != kernel {
			sum += p.cpu
		}
	}
	return sum
}
