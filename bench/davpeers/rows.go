package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

// sizes of a run; -quick has smaller ones.
type sizes struct {
	big     int64
	small   int
	dir     int
	treeN   int // files of the tree; 100 directories or fewer
	million int
	each    int64 // of the eight large files at once
	long    int64 // the sustained upload
	rate    time.Duration
	idle    time.Duration // a server without CPU use for so long has nothing waiting
}

// A sample is one repetition on one server: the figure, and others beside it.
type sample struct {
	value float64
	extra map[string]float64
}

// A row is one workload. What needs no fresh state is made in setup, once for a
// server; prep comes before each repetition and isn't timed.
type row struct {
	name, unit, what string
	higher           bool // is better
	reps             int  // 0: the run's
	only             []string
	idle             bool // count CPU until the server is idle
	setup            func(s *server) error
	prep             func(s *server) error
	run              func(s *server) (sample, error)
	after            func(s *server) error
	bars             []bar
}

func seconds(f func() error) (sample, error) {
	t := time.Now()
	err := f()
	return sample{value: time.Since(t).Seconds()}, err
}

// upload times f, which stores n bytes: MiB/s until the answer, and until a
// sync(2) after it has returned.
func upload(n int64, f func() error) (sample, error) {
	t := time.Now()
	if err := f(); err != nil {
		return sample{}, err
	}
	answered := time.Since(t)
	syscall.Sync()
	durable := time.Since(t)
	return sample{mibPerSecond(n, answered), map[string]float64{"to_disk": mibPerSecond(n, durable)}}, nil
}

func mibPerSecond(n int64, d time.Duration) float64 { return float64(n) / mib / d.Seconds() }

const fiveProps = `<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/><D:creationdate/></D:prop></D:propfind>`

// listing times a PROPFIND of depth 1 over dir and counts its responses.
func listing(s *server, dir, body string, entries int) (sample, error) {
	var b []byte
	if body != "" {
		b = []byte(body)
	}
	r, err := s.request("PROPFIND", dir, bytes.NewReader(b), "Depth", "1", "Content-Type", "application/xml")
	if err != nil {
		return sample{}, err
	}
	t := time.Now()
	resp, err := s.client.Do(r)
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	buf := make([]byte, 256*kib)
	var total, found int64
	first, tail := time.Duration(0), 0
	for err == nil {
		var n int
		n, err = resp.Body.Read(buf[tail:])
		if first == 0 && n > 0 {
			first = time.Since(t)
		}
		total += int64(n)
		have := buf[:tail+n] // with what was left of the last read
		found += countClosing(have, "response>")
		cut := max(bytes.LastIndexByte(have, '<'), 0)
		if i := bytes.LastIndexByte(have, '>'); i > cut {
			cut = len(have)
		}
		tail = copy(buf, have[cut:])
		if tail == len(buf) {
			tail = 0
		}
	}
	wall := time.Since(t)
	if resp.StatusCode != 207 || int(found) != entries+1 {
		return sample{}, fmt.Errorf("%s: PROPFIND %s: %s with %d responses, want 207 with %d", s.name, dir, resp.Status, found, entries+1)
	}
	return sample{wall.Seconds(), map[string]float64{"first_byte_ms": first.Seconds() * 1000, "MiB": float64(total) / mib}}, nil
}

// countClosing counts the closing tags in b that end in name, whatever their prefix.
func countClosing(b []byte, name string) (count int64) {
	for {
		i := bytes.Index(b, []byte(name))
		if i < 0 {
			return count
		}
		open := bytes.LastIndexByte(b[:i], '<')
		if open >= 0 && b[open+1] == '/' && (open+2 == i || b[i-1] == ':') {
			count++
		}
		b = b[i+len(name):]
	}
}

// blockFiles lists the files of keep-dav's store that hold block data.
func blockFiles(store string) map[string]int64 {
	files := map[string]int64{}
	for _, dir := range []string{"blocks", "open"} {
		filepath.WalkDir(filepath.Join(store, dir), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					files[p] = info.Size()
				}
			}
			return nil
		})
	}
	return files
}

func rows(z sizes) ([]row, func(), error) {
	src, err := newSource(z.big)
	if err != nil {
		return nil, nil, err
	}
	ours := []string{keepdavName}
	peers := []string{"xdav", "rclone", "nginx", "apache"}
	haveBig := func(s *server) error { return s.once("big", func() error { return src.putTo(s, "big") }) }
	haveSmall := func(s *server) error {
		return s.once("small", func() error {
			if err := s.mkcol("small/"); err != nil {
				return err
			}
			return s.fill(z.small, 8, page, func(i int) string { return fmt.Sprintf("small/f%05d", i) })
		})
	}
	haveDir := func(s *server) error {
		return s.once("dir", func() error {
			if err := s.mkcol("dir/"); err != nil {
				return err
			}
			return s.fill(z.dir, 8, 16, func(i int) string { return fmt.Sprintf("dir/entry-%06d.txt", i) })
		})
	}
	treeDirs := min(100, max(1, z.treeN/10))
	haveTree := func(s *server) error { // one directory is filled, the others are copies of it
		return s.once("tree", func() error {
			if err := s.mkcol("tree/"); err != nil {
				return err
			}
			if err := s.mkcol("tree/d000/"); err != nil {
				return err
			}
			if err := s.fill(z.treeN/treeDirs, 8, 16, func(i int) string { return fmt.Sprintf("tree/d000/f%05d", i) }); err != nil {
				return err
			}
			for d := 1; d < treeDirs; d++ {
				if err := s.transfer("COPY", "tree/d000/", fmt.Sprintf("tree/d%03d/", d)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// A collection of its own, so that one of a million files stands beside an empty one.
	outside := func(s *server, f func() error) error {
		base := s.base
		s.base = strings.TrimSuffix(base, "bench/")
		defer func() { s.base = base }()
		return f()
	}
	haveMillion := func(s *server) error {
		return s.once("million", func() error {
			return outside(s, func() error {
				for _, c := range []string{"million/", "none/"} {
					if err := s.mkcol(c); err != nil {
						return err
					}
				}
				progress("  %s: filling a collection with %d files", s.name, z.million)
				return s.fill(z.million, 16, 16, func(i int) string { return fmt.Sprintf("million/entry-%07d.txt", i) })
			})
		})
	}
	var coldSince time.Time // when keep-dav began to write "cold"

	list := []row{
		{
			name: "put_big", unit: "MiB/s", what: fmt.Sprintf("PUT of %d MiB, a new file each time", z.big/mib), higher: true, idle: true,
			prep: func(s *server) error { meter.Stamp(src.mapped); return s.remove("put") },
			run:  func(s *server) (sample, error) { return upload(z.big, func() error { return src.putTo(s, "put") }) },
			bars: []bar{
				best("≥ 1.2 × the best peer with a sync after its answer", 1.2, "", "to_disk", peers...),
				best("≥ 0.8 × the best peer without", 0.8, "", "", peers...),
				cpuBar(z.big, peers...),
			},
		},
		{
			name: "put_big_curl", unit: "MiB/s", what: "the same by curl", higher: true, idle: true,
			setup: func(*server) error {
				if find("curl") == "" {
					return fmt.Errorf("curl is not installed")
				}
				return nil
			},
			prep: func(s *server) error { meter.Stamp(src.mapped); return s.remove("put") },
			run: func(s *server) (sample, error) {
				args := []string{"-s", "-S", "-f", "-o", "/dev/null", "-T", src.path(), s.base + "put"}
				if s.auth {
					args = append(args, "-u", user0+":"+password0)
				}
				return upload(z.big, func() error {
					out, err := exec.Command(find("curl"), args...).CombinedOutput()
					if err != nil {
						err = fmt.Errorf("%s: curl: %w: %s", s.name, err, out)
					}
					return err
				})
			},
			after: func(s *server) error { return s.remove("put") },
			bars: []bar{
				best("≥ 1.2 × the best peer with a sync after its answer", 1.2, "", "to_disk", peers...),
				best("≥ 0.8 × the best peer without", 0.8, "", "", peers...),
				cpuBar(z.big, peers...),
			},
		},
		{
			name: "put_sustained", unit: "MiB/s", what: fmt.Sprintf("one PUT of %d MiB from a generator; last_quarter is the rate at its end", z.long/mib), higher: true, reps: 1, only: ours,
			run: func(s *server) (sample, error) {
				st := newStream(z.long)
				var firstAt, lastAt time.Time
				began := time.Now()
				st.each = func(left int64) {
					if firstAt.IsZero() && left <= z.long*3/4 {
						firstAt = time.Now()
					}
					if lastAt.IsZero() && left <= z.long/4 {
						lastAt = time.Now()
					}
				}
				err := st.putTo(s, "long")
				end := time.Now()
				return sample{mibPerSecond(z.long, end.Sub(began)), map[string]float64{
					"first_quarter": mibPerSecond(z.long/4, firstAt.Sub(began)),
					"last_quarter":  mibPerSecond(z.long/4, end.Sub(lastAt)),
				}}, err
			},
			after: func(s *server) error { return s.remove("long") },
			bars:  []bar{ratioOf("the same rate at the end, within a fifth", 0.8, "last_quarter", "first_quarter")},
		},
		{
			name: "get_big", unit: "MiB/s", what: fmt.Sprintf("GET of %d MiB, warm", z.big/mib), higher: true,
			setup: func(s *server) error {
				if err := haveBig(s); err != nil {
					return err
				}
				return s.get("big", z.big)
			},
			run: func(s *server) (sample, error) {
				t := time.Now()
				err := s.get("big", z.big)
				return sample{value: mibPerSecond(z.big, time.Since(t))}, err
			},
			bars: []bar{best("≥ 1.2 × xdav", 1.2, "", "", "xdav"), best("≥ 0.9 × the best of nginx and Apache", 0.9, "", "", "nginx", "apache")},
		},
		{
			name: "get_big_x4", unit: "MiB/s", what: "the same, four at once", higher: true, setup: haveBig,
			run: func(s *server) (sample, error) {
				t := time.Now()
				err := meter.Spread(4, 4, func(int) error { return s.get("big", z.big) })
				return sample{value: mibPerSecond(4*z.big, time.Since(t))}, err
			},
			bars: []bar{best("≥ 1.2 × xdav", 1.2, "", "", "xdav"), best("≥ 0.9 × the best of nginx and Apache", 0.9, "", "", "nginx", "apache")},
		},
		{
			name: "get_big_cold", unit: "MiB/s", what: "GET after the machine's caches were dropped; dd: the block files of keep-dav by dd", higher: true,
			setup: func(s *server) error {
				return s.once("cold", func() error {
					meter.Stamp(src.mapped)
					if s.name != keepdavName {
						return src.putTo(s, "cold")
					}
					coldSince = time.Now()
					if err := src.putTo(s, "cold"); err != nil {
						return err
					}
					meter.WaitIdle(s.pid(), z.idle)
					return nil
				})
			},
			prep: func(s *server) error { return meter.DropCaches() },
			run: func(s *server) (sample, error) {
				t := time.Now()
				if err := s.get("cold", z.big); err != nil {
					return sample{}, err
				}
				v := sample{value: mibPerSecond(z.big, time.Since(t)), extra: map[string]float64{}}
				if s.name == keepdavName {
					n, d, err := ddBlocks(s.dir, coldSince, z.big)
					if err != nil {
						return sample{}, err
					}
					v.extra["dd"] = mibPerSecond(n, d)
				}
				return v, nil
			},
			bars: []bar{ratioOf("≥ 0.9 × dd of the same block files", 0.9, "", "dd")},
		},
		{
			name: "range_64k_c8", unit: "req/s", what: "64 KiB ranges at random offsets, 8 connections", higher: true, setup: haveBig,
			run: func(s *server) (sample, error) {
				q, p50, p99, err := rate(z.rate, 8, func(rng *rand.Rand) error {
					at := rng.Int64N(z.big - 64*kib)
					a, err := s.do("GET", "big", nil, "Range", fmt.Sprintf("bytes=%d-%d", at, at+64*kib-1))
					if err == nil && (a.status != 206 || a.length != 64*kib) {
						err = fmt.Errorf("%s: a range gave %d with %d bytes", s.name, a.status, a.length)
					}
					return err
				})
				return sample{q, map[string]float64{"p50_ms": p50, "p99_ms": p99}}, err
			},
			bars: []bar{best("≥ 1.4 × xdav", 1.4, "", "", "xdav"), best("≥ 0.85 × nginx", 0.85, "", "", "nginx")},
		},
		{
			name: "put_small_c8", unit: "files/s", what: fmt.Sprintf("%d PUTs of 4 KiB, 8 connections; blocks: files in keep-dav's volume after them", z.small), higher: true, idle: true,
			// A new directory each time, the old ones stay: deleting them first would hand
			// their inodes, still warm, to the files that are made next.
			prep: func(s *server) error {
				s.puts = append(s.puts, fmt.Sprintf("puts%d/", len(s.puts)))
				return s.mkcol(s.puts[len(s.puts)-1])
			},
			run: func(s *server) (sample, error) {
				before := len(blockFiles(s.dir))
				data := make([]byte, z.small*page)
				meter.FillRandom(data)
				dir := s.puts[len(s.puts)-1]
				t := time.Now()
				err := meter.Spread(z.small, 8, func(i int) error {
					return s.put(fmt.Sprintf("%sf%05d", dir, i), data[i*page:(i+1)*page])
				})
				answered := time.Since(t)
				syscall.Sync()
				v := sample{float64(z.small) / answered.Seconds(), map[string]float64{"to_disk": float64(z.small) / time.Since(t).Seconds()}}
				if s.name == keepdavName {
					v.extra["blocks"] = float64(max(0, len(blockFiles(s.dir))-before))
				}
				return v, err
			},
			after: func(s *server) error {
				return meter.Spread(len(s.puts), 1, func(i int) error { return s.remove(s.puts[i]) })
			},
			bars: []bar{
				best("≥ 0.7 × xdav, which doesn't sync", 0.7, "", "", "xdav"),
				best("≥ 3 × xdav-fsync", 3, "", "", "xdav-fsync"),
				atMost("blocks ≤ 2", 2, "blocks"),
			},
		},
		{
			name: "get_small_c8", unit: "files/s", what: fmt.Sprintf("GET of %d files of 4 KiB, 8 connections", z.small), higher: true, setup: haveSmall,
			run: func(s *server) (sample, error) {
				t := time.Now()
				err := meter.Spread(z.small, 8, func(i int) error { return s.get(fmt.Sprintf("small/f%05d", i), page) })
				return sample{value: float64(z.small) / time.Since(t).Seconds()}, err
			},
			bars: []bar{best("≥ 1.2 × xdav", 1.2, "", "", "xdav")},
		},
		{
			name: "propfind0_c8", unit: "req/s", what: "PROPFIND of depth 0 on a file, 8 connections", higher: true, setup: haveSmall,
			run: func(s *server) (sample, error) {
				q, p50, p99, err := rate(z.rate, 8, func(rng *rand.Rand) error {
					_, err := s.do("PROPFIND", fmt.Sprintf("small/f%05d", rng.IntN(z.small)), nil, "Depth", "0")
					return err
				})
				return sample{q, map[string]float64{"p50_ms": p50, "p99_ms": p99}}, err
			},
			bars: []bar{best("≥ 1.2 × xdav", 1.2, "", "", "xdav")},
		},
		{
			name: "propfind1_allprop", unit: "s", what: fmt.Sprintf("PROPFIND of depth 1 over %d files, all properties", z.dir), setup: haveDir,
			run: func(s *server) (sample, error) { return listing(s, "dir/", "", z.dir) },
			bars: []bar{
				best("≥ 6 × faster than xdav", 6, "", "", "xdav"), best("no slower than nginx", 1, "", "", "nginx"),
				atMost("first byte < 10 ms", 10, "first_byte_ms"),
			},
		},
		{
			name: "propfind1_5props", unit: "s", what: "the same, five named properties", setup: haveDir,
			run: func(s *server) (sample, error) { return listing(s, "dir/", fiveProps, z.dir) },
			bars: []bar{
				best("≥ 6 × faster than xdav", 6, "", "", "xdav"), best("no slower than nginx", 1, "", "", "nginx"),
				atMost("first byte < 10 ms", 10, "first_byte_ms"),
			},
		},
		{
			name: "copy_big", unit: "s", what: fmt.Sprintf("COPY of a file of %d MiB", z.big/mib), setup: haveBig,
			prep: func(s *server) error { return s.remove("copy") },
			run: func(s *server) (sample, error) {
				return seconds(func() error { return s.transfer("COPY", "big", "copy") })
			},
			after: func(s *server) error { return s.remove("copy") },
			bars:  []bar{atMost("< 20 ms", 0.020, "")},
		},
		{
			name: "move_tree", unit: "s", what: fmt.Sprintf("MOVE of a tree of %d files", z.treeN), setup: haveTree,
			run: func(s *server) (sample, error) {
				v, err := seconds(func() error { return s.transfer("MOVE", "tree/", "moved/") })
				if err == nil {
					err = s.transfer("MOVE", "moved/", "tree/")
				}
				return v, err
			},
			bars: []bar{atMost("< 20 ms", 0.020, "")},
		},
		{
			name: "copy_tree", unit: "s", what: "COPY of that tree", setup: haveTree,
			prep: func(s *server) error { return s.remove("copied/") },
			run: func(s *server) (sample, error) {
				return seconds(func() error { return s.transfer("COPY", "tree/", "copied/") })
			},
			after: func(s *server) error { return s.remove("copied/") },
			bars:  []bar{atMost("< 0.5 s", 0.5, "")},
		},
		{
			name: "put_into_million", unit: "ms", what: fmt.Sprintf("PUT of 1 byte into a collection of %d files; empty: into one without", z.million), only: ours, setup: haveMillion,
			run: func(s *server) (sample, error) {
				var v sample
				err := outside(s, func() error {
					const n = 20
					timed := func(dir string) (float64, error) {
						t := time.Now()
						for range n {
							if err := s.put(dir+"put-"+strconv.FormatUint(meter.Unique(), 36), []byte{1}); err != nil {
								return 0, err
							}
						}
						return time.Since(t).Seconds() * 1000 / n, nil
					}
					empty, err := timed("none/")
					if err != nil {
						return err
					}
					full, err := timed("million/")
					v = sample{full, map[string]float64{"empty": empty}}
					return err
				})
				return v, err
			},
			bars: []bar{ratioAtMost("within 3 × of the same PUT into an empty one", 3, "", "empty")},
		},
		{
			name: "propfind_rss", unit: "MiB", what: fmt.Sprintf("peak RSS of PROPFIND over %d files beyond that over %d", z.million, z.dir), only: ours, reps: 3,
			setup: func(s *server) error {
				if err := haveDir(s); err != nil {
					return err
				}
				if err := haveMillion(s); err != nil {
					return err
				}
				_, err := s.do("PROPFIND", "dir/", []byte(fiveProps), "Depth", "1")
				return err
			},
			run: func(s *server) (sample, error) {
				peak := func(path string) (float64, error) {
					// Once without counting, so that both are loaded and the heap has its size.
					if _, err := s.do("PROPFIND", path, []byte(fiveProps), "Depth", "1"); err != nil {
						return 0, err
					}
					meter.WaitIdle(s.pid(), z.idle)
					meter.ResetPeaks(s.pid())
					_, err := s.do("PROPFIND", path, []byte(fiveProps), "Depth", "1")
					return meter.TreePeakRSS(s.pid()), err
				}
				var v sample
				err := outside(s, func() error {
					large, err := peak("million/")
					if err != nil {
						return err
					}
					small, err := peak("bench/dir/")
					v = sample{large - small, map[string]float64{"of_large": large, "of_small": small}}
					return err
				})
				return v, err
			},
			bars: []bar{atMost("≤ 16 MiB", 16, "")},
		},
		{
			name: "open_million", unit: "s", what: fmt.Sprintf("the first request to a collection of %d files after a start; B_per_file: growth of RSS", z.million), only: ours, reps: 3, setup: haveMillion,
			prep: func(s *server) error {
				s.stop()
				if err := s.start(); err != nil {
					return err
				}
				return outside(s, func() error { _, err := s.do("PROPFIND", "none/", nil, "Depth", "0"); return err })
			},
			run: func(s *server) (sample, error) {
				before := meter.TreeRSS(s.pid())
				var v sample
				err := outside(s, func() (err error) {
					v, err = seconds(func() error {
						_, err := s.do("PROPFIND", "million/entry-0000001.txt", nil, "Depth", "0")
						return err
					})
					return err
				})
				v.extra = map[string]float64{"B_per_file": (meter.TreeRSS(s.pid()) - before) * mib / float64(z.million)}
				return v, err
			},
			bars: []bar{atMost("≤ 1.5 s", 1.5, "")},
		},
		{
			name: "rss_8x", unit: "MiB", what: fmt.Sprintf("peak RSS while 8 × %d MiB are PUT, then 8 PUT and 8 GET at once", z.each/mib), reps: 1, only: ours,
			run: func(s *server) (sample, error) {
				meter.ResetPeaks(s.pid())
				name := func(i int) string { return fmt.Sprintf("eight%d", i) }
				if err := meter.Spread(8, 8, func(i int) error { return newStream(z.each).putTo(s, name(i)) }); err != nil {
					return sample{}, err
				}
				puts := meter.TreePeakRSS(s.pid())
				err := meter.Spread(16, 16, func(i int) error {
					if i < 8 {
						return s.get(name(i), z.each)
					}
					return newStream(z.each).putTo(s, name(i))
				})
				return sample{meter.TreePeakRSS(s.pid()), map[string]float64{"puts_only": puts}}, err
			},
			after: func(s *server) error {
				return meter.Spread(16, 4, func(i int) error { return s.remove(fmt.Sprintf("eight%d", i)) })
			},
			bars: []bar{atMost("≤ 200 MiB", 200, "")},
		},
	}
	return list, src.close, nil
}

// ddBlocks reads n bytes of keep-dav's block files with dd, cold, one file
// after the other: those written since a moment.
func ddBlocks(store string, since time.Time, n int64) (total int64, wall time.Duration, err error) {
	if err := meter.DropCaches(); err != nil {
		return 0, 0, err
	}
	script := "set -e\n"
	seen := map[uint64]bool{} // a file may have two names for a moment
	for p := range blockFiles(store) {
		info, err := os.Stat(p)
		if err != nil || info.ModTime().Before(since) || total >= n {
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		if written := min(info.Size(), st.Blocks*512); !seen[st.Ino] {
			seen[st.Ino] = true
			script += fmt.Sprintf("dd if=%s of=/dev/null bs=1M count=%d status=none\n", p, written/mib)
			total += written / mib * mib
		}
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("no block files in %s were written since %v", store, since)
	}
	t := time.Now()
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("dd: %w: %s", err, out)
	}
	return total, time.Since(t), err
}
