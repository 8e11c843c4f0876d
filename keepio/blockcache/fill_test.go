package blockcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

// stopAt makes fetches wait, once they have sent n bytes, until the channel is
// closed.
func stopAt(r *memRemote, n int) (goOn chan struct{}) {
	goOn = make(chan struct{})
	r.during = func(ctx context.Context, _ key, _ keepio.Sink, sent int) error {
		if sent < n {
			return nil
		}
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return goOn
}

func TestManyReadersCauseOneFetch(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	data := storetest.Data(1, 2<<20+1)
	k := r.put(data)
	goOn := stopAt(r, 1<<20)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			p := make([]byte, 1000)
			if n, err := s.ReadBlock(t.Context(), k.hash, k.size, p, int64(i*1000)); err != nil || !bytes.Equal(p[:n], data[i*1000:i*1000+1000]) {
				t.Errorf("ReadBlock = %v, or other bytes", err)
			}
		})
	}
	close(goOn)
	wg.Wait()
	if n := r.count(k); n != 1 {
		t.Errorf("%d fetches; want 1", n)
	}
}

func TestReadBlockWaitsForTheMD5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		s := open(t, Config{Remote: r})
		data := storetest.Data(1, 2<<20)
		k := r.put(data)
		goOn := stopAt(r, len(data)-keepio.ChunkSize)
		done := make(chan error)
		go func() {
			_, err := s.ReadBlock(context.Background(), k.hash, k.size, make([]byte, 10), 0)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("ReadBlock = %v before the block was verified", err)
		default:
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = s.Close()
	})
}

func TestReadBlockReturnsChunksThatHaveTheirSums(t *testing.T) {
	data := storetest.Data(1, 2<<20)
	r := newRemote()
	k := r.put(data)
	r.sums = sumsOf(data)
	s := open(t, Config{Remote: r})
	goOn := stopAt(r, 5*keepio.ChunkSize)
	p := make([]byte, 3*keepio.ChunkSize)
	if n, err := s.ReadBlock(t.Context(), k.hash, k.size, p, keepio.ChunkSize/2); err != nil || !bytes.Equal(p[:n], data[keepio.ChunkSize/2:][:len(p)]) {
		t.Errorf("ReadBlock of what has arrived = %v, or other bytes", err)
	}
	var out bytes.Buffer
	if _, err := s.WriteRange(t.Context(), &out, k.hash, k.size, 10, 4*keepio.ChunkSize); err != nil || !bytes.Equal(out.Bytes(), data[10:10+4*keepio.ChunkSize]) {
		t.Errorf("WriteRange of what has arrived = %v, or other bytes", err)
	}
	close(goOn)
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock = %v, or other bytes", err)
	}
}

// A server that knows better than the bytes that came must be believed.
func TestChunksWithoutTheirSumsAreNotReturnedEarly(t *testing.T) {
	for name, sums := range map[string][]uint32{"other sums": make([]uint32, 32), "too few": {1, 2, 3}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			data := storetest.Data(1, 2<<20)
			r := newRemote()
			k := r.put(data)
			r.sums = sums
			s := open(t, Config{Remote: r})
			stopAt(r, 20*keepio.ChunkSize)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if n, err := s.ReadBlock(ctx, k.hash, k.size, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ReadBlock = %d, %v; want it to wait", n, err)
			}
		})
	}
}

// A tap is a writer whose bytes others look at while it is written to.
type tap struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
	got chan int // how many bytes there are
}

func (w *tap) Write(p []byte) (int, error) {
	w.mu.Lock()
	n, err := w.buf.Write(p)
	got := w.buf.Len()
	w.mu.Unlock()
	w.got <- got
	return n, err
}

func (w *tap) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.buf.Bytes())
}

func TestOnlyAStreamThatCanBeCutGetsBytesBeforeTheyAreVerified(t *testing.T) {
	for _, cuts := range []bool{true, false} {
		t.Run(fmt.Sprint("cuts ", cuts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemote()
				s := open(t, Config{Remote: r})
				data := storetest.Data(1, 2<<20)
				k := r.put(data)
				goOn := stopAt(r, len(data)) // never reached by the last piece
				hold := stopAt(r, len(data)-2*keepio.ChunkSize)
				close(goOn)
				w := &tap{got: make(chan int, 1000)}
				var out io.Writer = w
				if cuts {
					out = keepio.CanCut(w)
				}
				done := make(chan error)
				go func() {
					_, err := s.WriteRange(context.Background(), out, k.hash, k.size, 0, int64(k.size))
					done <- err
				}()
				synctest.Wait()
				early := len(w.bytes())
				if want := len(data) - 2*keepio.ChunkSize; cuts && early != want || !cuts && early != 0 {
					t.Errorf("%d bytes went out before they were verified", early)
				}
				close(hold)
				if err := <-done; err != nil || !bytes.Equal(w.bytes(), data) {
					t.Errorf("WriteRange = %v, or other bytes", err)
				}
				_ = s.Close()
			})
		})
	}
}

func TestAStreamOfABadBlockIsCut(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	data := storetest.Data(1, 2<<20)
	k := r.put(data)
	r.during = func(_ context.Context, _ key, _ keepio.Sink, sent int) error {
		if sent == len(data)-keepio.ChunkSize {
			return fmt.Errorf("the MD5 differs: %w", keepio.ErrCorrupt)
		}
		return nil
	}
	var out bytes.Buffer
	n, err := s.WriteRange(t.Context(), keepio.CanCut(&out), k.hash, k.size, 0, int64(k.size))
	if !errors.Is(err, keepio.ErrCorrupt) || n >= int64(k.size) || int64(out.Len()) != n {
		t.Errorf("WriteRange = %d, %v, with %d bytes out; want ErrCorrupt and less than all", n, err, out.Len())
	}
	if s.disk.has(k) {
		t.Error("a bad block is in the cache")
	}
}

// The first server sends garbage, the second the block: what went out already is
// not what it should be.
func TestAStreamThatGotOtherBytesThanTheLastAttemptIsCut(t *testing.T) {
	for _, same := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote()
			s := open(t, Config{Remote: r})
			data := storetest.Data(1, 2<<20)
			k := r.put(data)
			first := bytes.Clone(data[:10*keepio.ChunkSize])
			if !same {
				first[100]++
			}
			r.during = func(_ context.Context, _ key, sink keepio.Sink, sent int) error {
				if sent > 0 {
					return nil
				}
				if _, err := sink.Write(first); err != nil {
					return err
				}
				synctest.Wait()
				return sink.Restart()
			}
			var out bytes.Buffer
			n, err := s.WriteRange(context.Background(), keepio.CanCut(&out), k.hash, k.size, 0, int64(k.size))
			if same && (err != nil || !bytes.Equal(out.Bytes(), data)) {
				t.Errorf("WriteRange = %d, %v, or other bytes", n, err)
			}
			if !same && (!errors.Is(err, keepio.ErrCorrupt) || n >= int64(k.size)) {
				t.Errorf("WriteRange = %d, %v; want ErrCorrupt and less than all", n, err)
			}
			if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
				t.Errorf("ReadBlock = %v, or other bytes", err)
			}
			_ = s.Close()
		})
	}
}

func TestAFetchThatNobodyWaitsForIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		s := open(t, Config{Remote: r})
		k := r.put(storetest.Data(1, 1<<20))
		given := make(chan error, 1)
		r.during = func(ctx context.Context, _ key, _ keepio.Sink, sent int) error {
			if sent == 0 {
				return nil
			}
			<-ctx.Done()
			given <- ctx.Err()
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := s.ReadBlock(ctx, k.hash, k.size, make([]byte, 1), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ReadBlock = %v", err)
		}
		synctest.Wait()
		select {
		case <-given:
			t.Error("the fetch was given up at once: a reader that was interrupted would begin anew")
		default:
		}
		time.Sleep(linger)
		if err := <-given; !errors.Is(err, context.Canceled) {
			t.Errorf("the fetch ended with %v", err)
		}
		_ = s.Close()
	})
}

func TestAnInterruptedReadGoesOnWithTheSameFetch(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	data := storetest.Data(1, 1<<20)
	k := r.put(data)
	goOn := stopAt(r, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.ReadBlock(ctx, k.hash, k.size, make([]byte, 1), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ReadBlock = %v", err)
	}
	close(goOn)
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) || r.count(k) != 1 {
		t.Errorf("ReadBlock = %v with %d fetches, or other bytes", err, r.count(k))
	}
}

func TestErrorsOfTheRemoteReachTheReader(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	data := storetest.Data(1, 100)
	k := r.put(data)
	r.setFault(keepio.ErrUnavailable)
	if _, err := get(s, k); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("ReadBlock = %v; want ErrUnavailable", err)
	}
	r.setFault(nil)
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after the outage ReadBlock = %v, or other bytes", err)
	}
}

// A remote that breaks its promise about the length does not get a name.
func TestARemoteThatSendsTooFewOrTooManyBytesIsCorrupt(t *testing.T) {
	for _, more := range []int{-1, 1} {
		r := newRemote()
		s := open(t, Config{Remote: r})
		data := storetest.Data(1, 1000)
		k := key{hashOf(data), uint32(len(data))}
		r.blocks[k] = append(data[:1000:1000], 0)[:len(data)+more]
		if _, err := get(s, k); !errors.Is(err, keepio.ErrCorrupt) || s.disk.has(k) {
			t.Errorf("ReadBlock of a block with %+d bytes = %v; want ErrCorrupt", more, err)
		}
	}
}

func TestPrefetchedBlocksAreThereWhenTheyAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		s := open(t, Config{Remote: r})
		data := storetest.Data(1, 100000)
		k := r.put(data)
		cancel := s.Prefetch(context.Background(), k.hash, k.size)
		synctest.Wait()
		cancel()
		r.setFault(keepio.ErrUnavailable)
		if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadBlock = %v, or other bytes", err)
		}
		s.Prefetch(context.Background(), k.hash, k.size)()
		if n := r.count(k); n != 1 {
			t.Errorf("%d fetches; want 1", n)
		}
		_ = s.Close()
	})
}

func TestACancelledPrefetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		s := open(t, Config{Remote: r})
		stopAt(r, 0)
		var cancels []func()
		for i := range 2 * prefetchParallel {
			k := r.put(storetest.Data(uint64(i), 1000))
			cancels = append(cancels, s.Prefetch(context.Background(), k.hash, k.size))
		}
		synctest.Wait()
		if n := s.misses.Load(); n != prefetchParallel {
			t.Errorf("%d blocks are fetched ahead; want %d", n, prefetchParallel)
		}
		for _, cancel := range cancels {
			cancel()
		}
		synctest.Wait()
		s.mu.Lock()
		left := len(s.fills)
		s.mu.Unlock()
		if left > 0 {
			t.Errorf("%d fills are left", left)
		}
		_ = s.Close()
	})
}

func TestAReaderIsServedBeforeWhatIsOnlyExpected(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	var wait sync.WaitGroup
	slow := make(map[key]bool)
	goOn := make(chan struct{})
	r.during = func(ctx context.Context, k key, _ keepio.Sink, _ int) error {
		if slow[k] {
			<-goOn
		}
		return nil
	}
	var ks []key
	for i := range prefetchParallel {
		k := r.put(storetest.Data(uint64(i), 1000))
		slow[k] = true
		ks = append(ks, k)
	}
	k := r.put(storetest.Data(99, 1000))
	for _, k := range append(ks, k) {
		cancel := s.Prefetch(t.Context(), k.hash, k.size)
		wait.Go(func() { <-goOn; cancel() })
	}
	if _, err := get(s, k); err != nil {
		t.Error(err)
	}
	close(goOn)
	wait.Wait()
}

func TestCloseEndsFetches(t *testing.T) {
	r := newRemote()
	s, err := Open(Config{Dir: t.TempDir(), Remote: r})
	if err != nil {
		t.Fatal(err)
	}
	k := r.put(storetest.Data(1, 1<<20))
	began := make(chan struct{})
	r.during = func(ctx context.Context, _ key, _ keepio.Sink, _ int) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}
	done := make(chan error)
	go func() {
		_, err := get(s, k)
		done <- err
	}()
	<-began
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("ReadBlock = %v; want ErrUnavailable", err)
	}
	if left, _ := os.ReadDir(s.cfg.Dir + "/" + ownDir + "/tmp"); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	if _, err := get(s, k); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("ReadBlock after Close = %v; want ErrUnavailable", err)
	}
}

func TestALocatorThatNamesTooManyBytesIsRefused(t *testing.T) {
	s := open(t, Config{Remote: newRemote()})
	if _, err := s.ReadBlock(t.Context(), [16]byte{1}, keepio.BlockSize+1, make([]byte, 10), 0); !errors.Is(err, keepio.ErrTooLarge) {
		t.Errorf("ReadBlock = %v; want ErrTooLarge", err)
	}
	if _, err := s.WriteRange(t.Context(), io.Discard, [16]byte{1}, 1<<32-1, 1<<31, 10); !errors.Is(err, keepio.ErrTooLarge) {
		t.Errorf("WriteRange = %v; want ErrTooLarge", err)
	}
	s.Prefetch(t.Context(), [16]byte{1}, 1<<32-1)()
}
