package fusefs_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestTwoProcessesAppendToOneFile(t *testing.T) {
	m := newMount(t)
	var wait sync.WaitGroup
	for _, c := range "ab" {
		wait.Go(func() {
			line := strings.Repeat(string(c), 99)
			if out, err := exec.Command("sh", "-c", "for i in $(seq 300); do echo "+line+"; done >> "+filepath.Join(m.dir, "log")).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wait.Wait()
	got := m.do("get", m.at("log"), "")
	if len(got) != 600*100 || strings.Count(got, strings.Repeat("a", 99)+"\n") != 300 || strings.Count(got, strings.Repeat("b", 99)+"\n") != 300 {
		t.Errorf("the log has %d bytes; want the 300 lines of each", len(got))
	}
}

func TestSparseFileBeyond4GiB(t *testing.T) {
	m := newMount(t)
	f, err := os.Create(m.path("sparse"))
	m.must(err)
	const at = 5<<30 + 12345
	_, err = f.WriteAt([]byte("end"), at)
	m.must(err)
	_, err = f.WriteAt([]byte("middle"), 1<<32-3)
	m.must(err)
	m.must(f.Sync())
	m.must(f.Close())
	f, err = os.Open(m.path("sparse"))
	m.must(err)
	defer f.Close()
	buf := make([]byte, 6)
	if n, err := f.ReadAt(buf, 1<<32-3); string(buf[:n]) != "middle" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	i, err := f.Stat()
	m.must(err)
	if blocks := i.Sys().(*syscall.Stat_t).Blocks; i.Size() != at+3 || blocks > 2000 {
		t.Errorf("the file has %d bytes and %d blocks; want %d and few", i.Size(), blocks, at+3)
	}
}

func TestUnlinkedFileGoesOnForWhoHasItOpen(t *testing.T) {
	m := newMount(t)
	f, err := os.Create(m.path("f"))
	m.must(err)
	defer f.Close()
	m.must(os.Remove(m.path("f")))
	const size = 200 << 20
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for n := 0; n < size; n += len(chunk) {
		_, err := f.Write(chunk)
		m.must(err)
	}
	m.must(f.Sync())
	if i, err := f.Stat(); err != nil || i.Size() != size || i.Sys().(*syscall.Stat_t).Nlink != 0 {
		t.Errorf("fstat: %+v, %v", i, err)
	}
	got := make([]byte, len(chunk))
	if _, err := f.ReadAt(got, size-int64(len(got))); err != nil || !bytes.Equal(got, chunk) {
		t.Errorf("its end is not what was written: %v", err)
	}
	if names := m.names(); names != "" {
		t.Errorf("the directory has %s", names)
	}
}

// What is written to files goes with them into another collection, before and after,
// from the kernel's cache too.
func TestDirectoryMovesToAnotherCollectionWithFilesThatAreWritten(t *testing.T) {
	m := newMount(t)
	other := filepath.Join(m.top, "home/other")
	m.must(os.Mkdir(other, 0o755))
	m.must(os.Mkdir(m.path("d"), 0o755))
	data := bytes.Repeat([]byte("x"), 3<<20)
	f, err := os.Create(m.path("d/f"))
	m.must(err)
	_, err = f.Write(data)
	m.must(err)
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	m.must(err)
	copy(mapped, "BEFORE")
	m.must(os.Rename(m.path("d"), filepath.Join(other, "e")))
	copy(mapped[10:], "AFTER")
	_, err = f.WriteAt([]byte("END"), int64(len(data)))
	m.must(err)
	m.must(syscall.Munmap(mapped))
	m.must(f.Close())
	copy(data, "BEFORE")
	copy(data[10:], "AFTER")
	data = append(data, "END"...)
	if got, want := m.do("sum", "/home/other/e/f", ""), fmt.Sprintf("%x", md5.Sum(data)); got != want {
		t.Errorf("the file that moved has the sum %s; want %s", got, want)
	}
	if names := m.names(); names != "" {
		t.Errorf("where it came from there is %s", names)
	}
}

// The mapping outlives the descriptor: nobody waits for what it writes.
func TestWhatIsMappedIsKeptAfterClose(t *testing.T) {
	m := newMount(t)
	m.write("f", strings.Repeat("a", 4096))
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	m.must(err)
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	m.must(err)
	m.must(f.Close())
	copy(mapped, "LATE")
	m.must(syscall.Munmap(mapped))
	far := m.another()
	eventually(t, "others see it", func() bool {
		got, err := far.try("get", m.at("f"), "")
		return err == nil && strings.HasPrefix(got, "LATE")
	})
}

func TestManifestIsReadWhileFilesAreWritten(t *testing.T) {
	m := newMount(t)
	f, err := os.Create(m.path("f"))
	m.must(err)
	for range 50 {
		_, err := f.Write(bytes.Repeat([]byte("z"), 10_000))
		m.must(err)
		if got := m.read(".arvados#collection"); !strings.Contains(got, "manifest_text") {
			t.Fatalf("the hidden file has %q", got)
		}
	}
	m.must(f.Close())
	if got := m.do("get", m.at("f"), ""); got != strings.Repeat("z", 500_000) {
		t.Errorf("the file has %d bytes; want 500000", len(got))
	}
}
