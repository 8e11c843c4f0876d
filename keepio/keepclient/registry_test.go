package keepclient

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"keepdav/keepio"
)

// signed returns the locator of block n with a signature that ends at some Unix
// time; 0: unsigned.
func signed(n int, expiry int64, hints string) keepio.Locator {
	hash := [16]byte{15: 7}
	binary.LittleEndian.PutUint64(hash[:], uint64(n)*0x9e3779b97f4a7c15)
	text := keepio.MakeLocator(hash, int64(n%1000+1)).String() + hints
	if expiry != 0 {
		text += fmt.Sprintf("+A0123456789abcdef0123456789abcdef%08x@%08x", n, expiry)
	}
	loc, err := keepio.ParseLocator(text)
	if err != nil {
		panic(err)
	}
	return loc
}

func newRegistry() *registry {
	r := new(registry)
	r.init()
	return r
}

func (r *registry) get(n int) (keepio.Locator, string, bool) {
	loc := signed(n, 0, "")
	return r.best(loc.Hash(), uint32(loc.Size()), time.Unix(1<<40, 0))
}

func TestLocatorsComeBackAsTheyWereTaught(t *testing.T) {
	r := newRegistry()
	locs := []keepio.Locator{signed(1, 2e9, ""), signed(2, 0, ""), signed(3, 0, "+Rxxxxx-0000000000000000000000000000000000000000@7fffffff"),
		signed(4, 2e9, "+K@xxxxx+Zx+Kzzz"), signed(5, 0, "+Afoo"), keepio.EmptyLocator, {}}
	r.learn("c", locs)
	for i, want := range []string{locs[0].String(), locs[1].String(), locs[2].String(), locs[3].String(), locs[4].String()} {
		got, source, ok := r.get(i + 1)
		if !ok || got.String() != want || source != "c" {
			t.Errorf("locator %d = %q of %q, %v; want %q", i+1, got, source, ok, want)
		}
	}
	if _, _, ok := r.get(6); ok {
		t.Error("an unknown block has a locator")
	}
	if n, _ := r.count(); n != 5 {
		t.Errorf("count = %d; want 5", n)
	}
}

func TestSignatureInTheMiddleIsFound(t *testing.T) {
	r := newRegistry()
	plain := signed(1, 2e9, "")
	sig := plain.String()[len(plain.Bare()):]
	loc, err := keepio.ParseLocator(plain.Bare() + "+Ka" + sig + "+Zb")
	if err != nil {
		t.Fatal(err)
	}
	r.learn("c", []keepio.Locator{loc})
	if got, _, _ := r.get(1); got.String() != plain.Bare()+"+Ka+Zb"+sig {
		t.Errorf("locator = %q; want the signature at its end", got)
	}
}

func TestBestLocatorEndsLast(t *testing.T) {
	r := newRegistry()
	r.learn("old", []keepio.Locator{signed(1, 1000, "")})
	r.learn("new", []keepio.Locator{signed(1, 3000, "")})
	r.learn("mid", []keepio.Locator{signed(1, 2000, "")})
	r.learn("none", []keepio.Locator{signed(1, 0, "")})
	if _, source, _ := r.get(1); source != "new" {
		t.Errorf("best locator is that of %q; want new", source)
	}
	r.learn("new", []keepio.Locator{signed(1, 500, "")})
	if _, source, _ := r.get(1); source != "mid" {
		t.Errorf("best locator is that of %q; want mid", source)
	}
	r.forget("mid")
	r.forget("mid")
	r.forget("never heard of")
	if _, source, _ := r.get(1); source != "old" {
		t.Errorf("best locator is that of %q; want old", source)
	}
}

func TestUnsignedLocatorsLeaveTheOldSignature(t *testing.T) {
	r := newRegistry()
	r.learn("c", []keepio.Locator{signed(1, 1000, "")})
	r.learn("c", []keepio.Locator{signed(1, 0, "")}) // the collection is in the trash now
	if loc, _, _ := r.get(1); loc != signed(1, 1000, "") {
		t.Errorf("locator = %s; want the signature that was good", loc)
	}
}

func (r *registry) push(n int, expiry int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(r.byID[pushedSource], signed(n, expiry, ""))
}

func TestPushedBlocksWaitForASource(t *testing.T) {
	r := newRegistry()
	r.push(1, 1000)
	r.push(2, 3000)
	r.push(2, 3001)
	if all, pushed := r.count(); all != 2 || pushed != 2 {
		t.Errorf("count = %d, %d; want 2, 2", all, pushed)
	}
	if got := r.pushedUntil(time.Unix(2000, 0)); len(got) != 1 || got[0].Hash != signed(1, 0, "").Hash() {
		t.Errorf("pushedUntil = %v; want block 1", got)
	}
	r.learn("remote", []keepio.Locator{signed(1, 0, "+Rxxxxx-0000@7fffffff")}) // no record here has it
	if _, pushed := r.count(); pushed != 2 {
		t.Error("a locator of another cluster made a pushed block committed")
	}
	r.learn("c", []keepio.Locator{signed(1, 5000, "")})
	if _, pushed := r.count(); pushed != 1 || len(r.pushedUntil(time.Unix(2000, 0))) != 0 {
		t.Error("a block that a source has still counts as uncommitted")
	}
}

func TestEndedLocatorsAreSweptAfterAWhile(t *testing.T) {
	r := newRegistry()
	r.learn("c", []keepio.Locator{signed(1, 1000, ""), signed(2, 0, ""), signed(3, 1e6, "")})
	r.push(4, 1000)
	r.sweep(time.Unix(1000, 0).Add(sweepGrace))
	if n, _ := r.count(); n != 4 {
		t.Errorf("count = %d after a sweep at the end of the grace time; want all 4", n)
	}
	r.sweep(time.Unix(1001, 0).Add(sweepGrace))
	if n, pushed := r.count(); n != 2 || pushed != 0 {
		t.Errorf("count = %d, %d after a sweep; want 2, 0", n, pushed)
	}
}

func TestRegistryIsAMapOfMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	r := newRegistry()
	type key struct {
		source string
		n      int
	}
	model := map[key]int64{} // expiry
	for range 20000 {
		source, n := fmt.Sprint(rng.IntN(5)), rng.IntN(100)
		switch op := rng.IntN(200); {
		case op == 0:
			r.forget(source)
			for k := range model {
				if k.source == source {
					delete(model, k)
				}
			}
		case op < 50:
			e := int64(1 + rng.IntN(1000))
			r.push(n, e)
			model[key{"", n}] = e
		default:
			e := int64(1 + rng.IntN(1000))
			hints := []string{"", "+Kx"}[rng.IntN(2)]
			r.learn(source, []keepio.Locator{signed(n, e, hints)})
			model[key{source, n}] = e
			delete(model, key{"", n})
		}
		n = rng.IntN(100)
		var want int64
		for s := range 6 {
			want = max(want, model[key{[]string{"0", "1", "2", "3", "4", ""}[s], n}])
		}
		loc, _, ok := r.get(n)
		got := int64(0)
		if at, signed := loc.SignatureExpiry(); signed {
			got = at.Unix()
		}
		if got != want || ok != (want != 0) {
			t.Fatalf("block %d: expiry %d, %v; want %d", n, got, ok, want)
		}
		if all, _ := r.count(); all != len(model) {
			t.Fatalf("count = %d; want %d", all, len(model))
		}
	}
	if r.used > 5*100+100+2*chunkLen || len(r.hints) > len(model) {
		t.Errorf("%d entries were used for at most 600 locators; %d hints for %d", r.used, len(r.hints), len(model))
	}
	for _, s := range []string{"0", "1", "2", "3", "4"} {
		r.forget(s)
	}
	r.sweep(time.Unix(1e9, 0))
	if all, pushed := r.count(); all != 0 || pushed != 0 {
		t.Errorf("count = %d, %d after all is forgotten", all, pushed)
	}
}

func TestLocatorsTake64BytesEach(t *testing.T) {
	const n = 100_000
	locs := make([]keepio.Locator, 1000)
	var before, after runtime.MemStats
	r := newRegistry()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n / len(locs) {
		for j := range locs {
			locs[j] = signed(i*len(locs)+j, 0, "")
		}
		r.learn(fmt.Sprint(i%10), locs)
	}
	clear(locs)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; each > 64 {
		t.Errorf("a locator takes %d bytes; want at most 64", each)
	}
	runtime.KeepAlive(r)
}

// A block that very many collections share is learned in constant time.
func TestSharedBlockIsLearnedOnceForEachSource(t *testing.T) {
	r := newRegistry()
	loc := []keepio.Locator{signed(1, 2e9, "")}
	for i := range 2000 {
		r.learn(fmt.Sprint(i), loc)
	}
	if n, _ := r.count(); n != 2000 {
		t.Errorf("count = %d; want 2000", n)
	}
	for i := range 2000 {
		r.forget(fmt.Sprint(i))
	}
	if n, _ := r.count(); n != 0 || r.chunks != nil {
		t.Errorf("count = %d after all was forgotten, %d chunks", n, len(r.chunks))
	}
}

func FuzzLearn(f *testing.F) {
	f.Add("acbd18db4cc2f85cedef654fccc4a4d8+3+A73a1b285d4495d77f819a6840e717db2926c9b01@6b151610+Kx")
	f.Add("acbd18db4cc2f85cedef654fccc4a4d8+3+A@+A+Rzzzzz-x@y")
	f.Fuzz(func(t *testing.T, s string) {
		loc, err := keepio.ParseLocator(s)
		if err != nil || loc.Size() == 0 {
			return
		}
		r := newRegistry()
		r.learn("c", []keepio.Locator{loc})
		got, _, ok := r.best(loc.Hash(), uint32(loc.Size()), time.Unix(0, 0))
		if !ok || got.Hash() != loc.Hash() || got.Size() != loc.Size() {
			t.Errorf("learned %q, got %q", loc, got)
		}
		if wantExp, signed := loc.SignatureExpiry(); signed && wantExp.Unix() != 0 {
			if gotExp, ok := got.SignatureExpiry(); !ok || !gotExp.Equal(wantExp) && loc.Unsigned() == got.Unsigned() {
				t.Errorf("learned %q, got %q", loc, got)
			}
		}
	})
}

func BenchmarkLearn(b *testing.B) {
	locs := make([]keepio.Locator, 10000)
	for i := range locs {
		locs[i] = signed(i, 2e9, "")
	}
	for b.Loop() {
		r := newRegistry()
		r.learn("c", locs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(locs)), "ns/locator")
}
