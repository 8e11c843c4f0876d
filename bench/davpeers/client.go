package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/bench/meter"
)

const (
	kib  = 1 << 10
	mib  = 1 << 20
	gib  = 1 << 30
	page = 4 * kib
)

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConns: 64, MaxIdleConnsPerHost: 64, DisableCompression: true,
			ReadBufferSize: 64 * kib, WriteBufferSize: 64 * kib,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, mib); return &b }}

// An answer is a response whose body was read and thrown away, or kept.
type answer struct {
	status    int
	header    http.Header
	length    int64
	body      []byte
	firstByte time.Duration
}

func (s *server) request(method, path string, body io.Reader, header ...string) (*http.Request, error) {
	r, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	if s.auth {
		r.SetBasicAuth(user0, password0)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r, nil
}

func (s *server) send(r *http.Request, keep bool) (*answer, error) {
	began := time.Now()
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header, firstByte: time.Since(began)}
	if keep {
		a.body, err = io.ReadAll(resp.Body)
		a.length = int64(len(a.body))
	} else {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		for err == nil {
			var n int
			n, err = resp.Body.Read(*buf)
			a.length += int64(n)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err == nil && a.status/100 != 2 {
		err = fmt.Errorf("%s: %s %s: %s", s.name, r.Method, r.URL.Path, resp.Status)
	}
	return a, err
}

func (s *server) do(method, path string, body []byte, header ...string) (*answer, error) {
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	r, err := s.request(method, path, rd, header...)
	if err != nil {
		return nil, err
	}
	return s.send(r, false)
}

func (s *server) put(path string, data []byte) error {
	_, err := s.do("PUT", path, data)
	return err
}

func (s *server) mkcol(path string) error {
	_, err := s.do("MKCOL", path, nil)
	return err
}

// remove deletes; what isn't there is no error. Collections need their slash.
func (s *server) remove(path string) error {
	a, err := s.do("DELETE", path, nil)
	if a != nil && a.status == http.StatusNotFound {
		return nil
	}
	return err
}

func (s *server) transfer(method, from, to string) error {
	_, err := s.do(method, from, nil, "Destination", s.base+to, "Overwrite", "T", "Depth", "infinity")
	return err
}

// get reads a whole file, which must have n bytes.
func (s *server) get(path string, n int64) error {
	a, err := s.do("GET", path, nil)
	if err == nil && a.length != n {
		err = fmt.Errorf("%s: GET %s: %d bytes, want %d", s.name, path, a.length, n)
	}
	return err
}

// ---- data

// A source is a file in memory that is sent with sendfile and mapped for stamping.
type source struct {
	file   *os.File
	mapped []byte
}

func newSource(size int64) (*source, error) {
	fd, err := unix.MemfdCreate("davpeers", 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "davpeers")
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	m, err := syscall.Mmap(fd, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	meter.FillRandom(m[:min(size, 64*mib)])
	for n := 64 * mib; n < len(m); n *= 2 {
		copy(m[n:], m[:n])
	}
	meter.Stamp(m)
	return &source{f, m}, nil
}

// path by which this process, or a child of it, opens the source.
func (s *source) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd()) }

func (s *source) close() {
	syscall.Munmap(s.mapped)
	s.file.Close()
}

func (s *source) putTo(srv *server, path string) error {
	f, err := os.Open(s.path())
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := srv.request("PUT", path, f)
	if err != nil {
		return err
	}
	r.ContentLength = int64(len(s.mapped))
	_, err = srv.send(r, false)
	return err
}

// stream is a reader of n fresh bytes; each is told how many were read so far.
type stream struct {
	left  int64
	chunk []byte
	at    int
	each  func(left int64)
}

func newStream(n int64) *stream {
	s := &stream{left: n, chunk: make([]byte, mib)}
	meter.FillRandom(s.chunk)
	s.at = len(s.chunk)
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.at == len(s.chunk) {
		meter.Stamp(s.chunk)
		s.at = 0
	}
	n := copy(p[:min(int64(len(p)), s.left)], s.chunk[s.at:])
	s.at += n
	s.left -= int64(n)
	if s.each != nil {
		s.each(s.left)
	}
	return n, nil
}

func (s *stream) putTo(srv *server, path string) error {
	n := s.left
	r, err := srv.request("PUT", path, io.NopCloser(s))
	if err != nil {
		return err
	}
	r.ContentLength = n
	_, err = srv.send(r, false)
	return err
}

// ---- many at once

// rate runs job on c goroutines for d and returns jobs per second and the
// median and the 99th percentile of their time in ms.
func rate(d time.Duration, c int, job func(rng *rand.Rand) error) (perSecond, p50, p99 float64, err error) {
	times := make([][]time.Duration, c)
	errs := make([]error, c)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range c {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), meter.Unique()))
			for time.Since(began) < d && errs[w] == nil {
				t := time.Now()
				errs[w] = job(rng)
				times[w] = append(times[w], time.Since(t))
			}
		})
	}
	wg.Wait()
	wall := time.Since(began)
	all := slices.Concat(times...)
	slices.Sort(all)
	at := func(q float64) float64 { return all[min(len(all)-1, int(q*float64(len(all))))].Seconds() * 1000 }
	return float64(len(all)) / wall.Seconds(), at(.5), at(.99), errors.Join(errs...)
}

// fill puts n small files name(i) into the server, with a line of progress.
func (s *server) fill(n, c, size int, name func(i int) string) error {
	began, done := time.Now(), atomic.Int64{}
	return meter.Spread(n, c, func(i int) error {
		data := make([]byte, size)
		binary.LittleEndian.PutUint64(data, meter.Unique())
		err := s.put(name(i), data)
		if k := done.Add(1); k%50000 == 0 {
			progress("  %s: %d of %d files, %.0f/s", s.name, k, n, float64(k)/time.Since(began).Seconds())
		}
		return err
	})
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
