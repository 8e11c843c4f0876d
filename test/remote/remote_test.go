package remote

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"keepdav/test/target"
)

func TestWhatOneProgramWritesAllOthersSee(t *testing.T) {
	s := newSite(t)
	a, b, f := s.machine().mount(), s.machine().mount(), s.machine().front()
	a.mustMkdir("home/work")
	readers := func(name string) map[string]func() (string, error) {
		get := func(do func() (int, string, error)) func() (string, error) {
			return func() (string, error) {
				status, body, err := do()
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("status %d", status)
				}
				return body, err
			}
		}
		return map[string]func() (string, error){
			"the first mount":  func() (string, error) { return a.read("home/work/" + name) },
			"the second mount": func() (string, error) { return b.read("home/work/" + name) },
			"the front end":    get(func() (int, string, error) { return f.do("GET", "/home/work/"+name, "", s.token) }),
			"the server": get(func() (int, string, error) {
				r, err := s.Do("GET", "/home/work/"+name, nil)
				if err != nil {
					return 0, "", err
				}
				return r.StatusCode, string(r.Body), nil
			}),
		}
	}
	b.eventually("the collection is in the second mount", func() error { _, err := os.Stat(filepath.Join(b.dir, "home/work")); return err })
	writers := map[string]func(name, text string) error{
		"the first mount":  func(name, text string) error { return a.write("home/work/"+name, text) },
		"the second mount": func(name, text string) error { return b.write("home/work/"+name, text) },
		"the front end": func(name, text string) error {
			status, body, err := f.do("PUT", "/home/work/"+name, text, s.token)
			if err == nil && status/100 != 2 {
				err = fmt.Errorf("PUT: %d %s", status, body)
			}
			return err
		},
		"the server": func(name, text string) error {
			r, err := s.Do("PUT", "/home/work/"+name, []byte(text))
			if err == nil && r.StatusCode/100 != 2 {
				err = fmt.Errorf("PUT: %d %s", r.StatusCode, r.Body)
			}
			return err
		},
	}
	for by, write := range writers {
		for round := range 2 {
			text := fmt.Sprintf("by %s, round %d", by, round)
			if err := write("file", text); err != nil {
				t.Fatalf("%s writes: %v", by, err)
			}
			for at, read := range readers("file") {
				a.eventually(fmt.Sprintf("what %s wrote, at %s", by, at), has(read, text))
			}
		}
	}
	if err := os.Rename(filepath.Join(b.dir, "home/work/file"), filepath.Join(b.dir, "home/work/moved")); err != nil {
		t.Fatal(err)
	}
	a.eventually("the old name is gone", func() error {
		if _, err := os.Stat(filepath.Join(a.dir, "home/work/file")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("stat: %v", err)
		}
		return nil
	})
	a.mustUnmount()
	b.mustUnmount()
}

func TestALargeFileIsTheSameEverywhere(t *testing.T) {
	s := newSite(t)
	a, b := s.machine().mount(), s.machine().mount()
	a.mustMkdir("home/work")
	data := make([]byte, 70<<20)
	rand.New(rand.NewSource(1)).Read(data)
	a.mustWrite("home/work/large", string(data))
	want := md5.Sum(data)
	b.eventually("it is there", func() error { _, err := os.Stat(filepath.Join(b.dir, "home/work/large")); return err })
	got, err := b.read("home/work/large")
	if err != nil || md5.Sum([]byte(got)) != want {
		t.Errorf("the second mount reads %d bytes that are something else, %v", len(got), err)
	}
	if r := s.Must(t, []int{200}, "GET", "/home/work/large", nil); md5.Sum(r.Body) != want {
		t.Error("the server has something else")
	}
	// A part of it, in another mount whose cache is empty.
	part := make([]byte, 100)
	file, err := os.Open(filepath.Join(b.dir, "home/work/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.ReadAt(part, 66<<20); err != nil || !bytes.Equal(part, data[66<<20:][:100]) {
		t.Errorf("a part of it: %v", err)
	}
}

func TestWhatWasClosedSurvivesTheDeathOfTheMount(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	v := m.mount()
	v.mustMkdir("home/work")
	for i := range 20 {
		v.mustWrite(fmt.Sprint("home/work/", i), fmt.Sprint("content ", i))
	}
	v.kill()
	again := m.mount()
	for i := range 20 {
		if got, err := again.read(fmt.Sprint("home/work/", i)); err != nil || got != fmt.Sprint("content ", i) {
			t.Errorf("file %d = %q, %v", i, got, err)
		}
	}
	again.mustUnmount()
}

func TestAServerThatDiesAndComesBackLosesNothing(t *testing.T) {
	s := newSite(t)
	v := s.machine().mount("--retries", "2", "--patience", "3")
	v.mustMkdir("home/work")
	kept := map[string]string{}
	for i := range 30 {
		if i == 10 || i == 20 {
			s.Kill()
		}
		name, text := fmt.Sprint("home/work/", i), fmt.Sprint("content ", i)
		if i == 12 || i == 22 {
			s.start()
		}
		if i == 10 || i == 11 || i == 20 || i == 21 { // it is down: what is written waits, or fails
			done := make(chan error, 1)
			go func() { done <- v.write(name, text) }()
			if i%2 == 1 {
				s.start()
			}
			if err := <-done; err != nil {
				t.Logf("file %d while the server is down: %v", i, err)
				continue
			}
			if i%2 == 1 {
				s.Kill()
			}
			kept[name] = text
			continue
		}
		v.eventually("a file is written after the server came back", func() error { return v.write(name, text) })
		kept[name] = text
	}
	v.mustUnmount()
	again := s.machine().mount()
	for name, text := range kept {
		if got, err := again.read(name); err != nil || got != text {
			t.Errorf("%s = %q, %v; want %q", name, got, err, text)
		}
	}
}

func TestWhatCannotBeCommittedAtTheEndIsTakenUpLater(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	v := m.mount("--commit", "fsync", "--retries", "0", "--patience", "0.1")
	v.mustMkdir("home/work")
	v.mustWrite("home/work/before", "before")
	f, err := os.Open(filepath.Join(v.dir, "home/work/before"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.Kill()
	v.mustWrite("home/work/after", "after") // close does not commit
	said, err := v.unmount()
	if err == nil {
		t.Fatalf("the end of a mount that could not commit: %s", said)
	}
	for _, want := range []string{"1 collections have changes that are not on the cluster", m.home + "/state/keepdav/"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says %q; want %q in it", said, want)
		}
	}
	s.start()
	again := m.mount()
	for _, name := range []string{"before", "after"} {
		if got, err := again.read("home/work/" + name); err != nil || got != name {
			t.Errorf("%s = %q, %v", name, got, err)
		}
	}
	again.mustUnmount()
	if left, _ := filepath.Glob(m.home + "/state/keepdav/*/*/*/leftover/*"); len(left) > 0 {
		t.Errorf("%q stays of what is committed", left)
	}
}

func TestReadsOfWhatIsKnownGoOnWithoutTheServer(t *testing.T) {
	s := newSite(t)
	v := s.machine().mount("--retries", "1")
	v.mustMkdir("home/work")
	v.mustWrite("home/work/file", strings.Repeat("known ", 100_000))
	want, err := v.read("home/work/file")
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	// Not from the kernel's cache of pages.
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		t.Logf("the kernel keeps its pages: %v", err)
	}
	if got, err := v.read("home/work/file"); err != nil || got != want {
		t.Errorf("without the server: %d bytes, %v", len(got), err)
	}
	s.start()
	v.mustUnmount()
}

func TestACertificateThatNobodyKnowsIsAccepted(t *testing.T) {
	s := newSite(t)
	mnt := t.TempDir()
	run := func(env ...string) (string, error) {
		cmd := exec.Command(target.MountBinary(t), "--home", "--retries", "0", mnt, "--exec", "ls", mnt)
		cmd.Env = s.machine(append([]string{"ARVADOS_API_HOST=" + s.addr}, env...)...).env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	s.MakeCollection(t, "shown")
	if out, err := run("ARVADOS_API_HOST_INSECURE=1"); err != nil || !strings.Contains(out, "shown") {
		t.Errorf("with ARVADOS_API_HOST_INSECURE: %v\n%s", err, out)
	}
	if out, err := run(); err == nil || !strings.Contains(out, "ARVADOS_API_HOST_INSECURE=1") {
		t.Errorf("without it: %v\n%s", err, out)
	}
}

func TestAMountThatCannotBeginSaysWhy(t *testing.T) {
	s := newSite(t)
	mnt := t.TempDir()
	free, err := target.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no token", []string{"ARVADOS_API_TOKEN="}, nil, "ARVADOS_API_TOKEN is not set"},
		{"a bad token", []string{"ARVADOS_API_TOKEN=v2/zzzzz-gj3su-000000000000000/secretsecret"}, nil, "does not accept the token"},
		{"half a token", []string{"ARVADOS_API_TOKEN=v2/zzzzz"}, nil, "a part is missing"},
		{"nobody there", []string{"ARVADOS_API_HOST=http://" + free}, []string{"--retries", "0"}, "connection refused"},
		{"no host", []string{"ARVADOS_API_HOST=nowhere.invalid"}, []string{"--retries", "0"}, "nowhere.invalid"},
		{"a path", []string{"ARVADOS_API_HOST=http://x/y"}, nil, "nothing behind them"},
		{"no collection", nil, []string{"--collection", "zzzzz-4zz18-000000000000000"}, "there is no collection or project"},
	} {
		cmd := exec.Command(target.MountBinary(t), append(c.args, mnt)...)
		cmd.Env = s.machine(c.env...).env
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "secretsecret") {
			t.Errorf("%s: %v, %s; want %q in it", c.name, err, out, c.want)
		}
		if err == nil {
			_ = exec.Command("umount", "-l", mnt).Run()
		}
	}
}

func TestTheFrontEndActsWithTheCallersToken(t *testing.T) {
	s := newSite(t)
	s.MakeCollection(t, "work")
	f := s.machine("ARVADOS_API_TOKEN=").front() // it has none of its own
	for _, c := range []struct {
		token string
		want  int
	}{{s.token, 207}, {"", 401}, {"v2/zzzzz-gj3su-000000000000000/bad", 401}, {"bad", 401}} {
		if status, body, err := f.do("PROPFIND", "/home/work/", "", c.token); err != nil || status != c.want {
			t.Errorf("as %q: %d, %v; want %d\n%s", c.token, status, err, c.want, body)
		}
	}
	if status, _, err := f.do("PUT", "/home/work/file", "data", s.token); err != nil || status != 201 {
		t.Errorf("PUT = %d, %v", status, err)
	}
	if r := s.Must(t, []int{200}, "GET", "/home/work/file", nil); string(r.Body) != "data" {
		t.Errorf("the server has %q", r.Body)
	}
}

func TestCommandsOfAStoreAreNotTakenForTheCluster(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	for _, args := range [][]string{{"user", "list"}, {"token", "create", "admin"}, {"gc"}, {"ls", "/home"}} {
		cmd := exec.Command(target.Binary(t), args...)
		cmd.Env = m.env
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "name it with --store") {
			t.Errorf("keep-dav %q: %v, %s", args, err, out)
		}
	}
	cmd := exec.Command(target.Binary(t), "user", "list", "--store", s.Store)
	cmd.Env = m.env
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "admin") {
		t.Errorf("with --store: %v, %s", err, out)
	}
}
