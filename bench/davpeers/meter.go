package main

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

// processTree lists root and its descendants.
func processTree(root int) []procStat {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []procStat
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProc(pid); ok {
				all = append(all, p)
			}
		}
	}
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

func treeCPU(root int) (sum float64) {
	for _, p := range processTree(root) {
		sum += p.cpu
	}
	return sum
}

// resetPeaks makes the kernel's peak RSS of the processes start from now.
func resetPeaks(root int) {
	for _, p := range processTree(root) {
		os.WriteFile("/proc/"+strconv.Itoa(p.pid)+"/clear_refs", []byte("5"), 0)
	}
}

func treePeakRSS(root int) (mib float64) { return treeStatus(root, "VmHWM:") }

func treeRSS(root int) (mib float64) { return treeStatus(root, "VmRSS:") }

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

// waitIdle waits until the server has used next to no CPU for quiet, at most a
// minute: what it does behind its answers belongs to their cost.
func waitIdle(root int, quiet time.Duration) {
	const step = 100 * time.Millisecond
	last, since := treeCPU(root), time.Now()
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && time.Since(since) < quiet; {
		time.Sleep(step)
		if now := treeCPU(root); now > last+0.011 { // one tick is not work
			last, since = now, time.Now()
		}
	}
}

// busySeconds is the CPU time of the whole machine so far, kernel threads and
// what the hypervisor took included.
func busySeconds() (sum float64) {
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

func ownCPU() (sum float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		syscall.Getrusage(who, &ru)
		sum += time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
	}
	return sum
}

// othersShare is which part of the machine neither the server nor this program
// used: neighbours, and the kernel's own threads.
func othersShare(busy, own, server float64, wall time.Duration) float64 {
	return max(0, busy-own-server) / wall.Seconds() / float64(runtime.NumCPU())
}

func dropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
