package fusefs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keepdav/davfs/fusefs"
)

// at is the site's name of a file of the collection.
func (m *mount) at(name string) string { return "/home/" + m.name + "/" + name }

// missingOf returns which of what was acknowledged is in no file of the collection,
// whatever it is called.
func (m *mount) missingOf(acknowledged []string) (missing []string) {
	all := ""
	es, err := os.ReadDir(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range es {
		if data, err := m.try("get", m.at(e.Name()), ""); err == nil { // else it was renamed meanwhile
			all += data
		}
	}
	for _, a := range acknowledged {
		if !strings.Contains(all, a) {
			missing = append(missing, a)
		}
	}
	return missing
}

// kept fails unless each of what was acknowledged is in some file.
func (m *mount) kept(acknowledged ...string) {
	m.t.Helper()
	within(m.t, fmt.Sprint(acknowledged, " are in files"), func() bool { return len(m.missingOf(acknowledged)) == 0 })
	if missing := m.missingOf(acknowledged); len(missing) > 0 {
		m.t.Errorf("%q are in none of the files %s", missing, m.names())
	}
}

// The kernel writes whole pages. Where another has written into a page meanwhile,
// that is what its page does not have.
func TestNothingOfTwoWritersOfOneFileIsLost(t *testing.T) {
	others := map[string]func(m *mount){
		"Patch":  func(m *mount) { m.do("patch", m.at("f"), "THEIRS", 100) },
		"Put":    func(m *mount) { m.do("put", m.at("f"), "THEIRS") },
		"Remade": func(m *mount) { m.do("remove", m.at("f"), ""); m.do("put", m.at("f"), "THEIRS") },
		"RenamedOver": func(m *mount) {
			m.do("put", m.at("g"), "THEIRS")
			m.do("move", m.at("g"), m.at("f"))
		},
	}
	for _, how := range []string{"Written", "Mapped", "WriteThrough"} {
		top := newMount(t, func(o *fusefs.Options) { o.WriteCache = how != "WriteThrough" })
		for name, other := range others {
			for _, far := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/far=%v", how, name, far), func(t *testing.T) {
					m := *top
					m.t, m.name = t, fmt.Sprint(name, far)
					m.dir = filepath.Join(m.top, "home", m.name)
					if err := os.Mkdir(m.dir, 0o755); err != nil {
						t.Fatal(err)
					}
					writeBoth(&m, far, how == "Mapped", other)
				})
			}
		}
	}
}

func writeBoth(m *mount, far, mapping bool, other func(*mount)) {
	t := m.t
	t.Helper()
	o := *m
	o.far = far
	page := strings.Repeat("a", 4096)
	m.write("f", page)
	f, err := os.OpenFile(filepath.Join(m.dir, "f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var mapped []byte
	if mapping {
		if mapped, err = syscall.Mmap(int(f.Fd()), 0, len(page), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
			t.Fatal(err)
		}
		copy(mapped[10:], "OURS")
	} else if _, err := f.WriteAt([]byte("OURS"), 10); err != nil {
		t.Fatal(err)
	}
	other(&o)
	m.kept("THEIRS")
	if mapped != nil {
		copy(mapped[20:], "LATER")
		if err := syscall.Munmap(mapped); err != nil {
			t.Fatal(err)
		}
	} else if _, err := f.WriteAt([]byte("LATER"), 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	m.kept("THEIRS", "OURS", "LATER")
}
