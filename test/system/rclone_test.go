package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepdav/test/target"
)

// rcloneEnv configures the remote X: without a file.
func rcloneEnv(t *testing.T, rclone, url, vendor string) []string {
	t.Helper()
	obscured := strings.TrimSpace(mustRun(t, time.Minute, "", nil, rclone, "obscure", target.Password))
	return []string{
		"RCLONE_CONFIG=/dev/null",
		"RCLONE_CACHE_DIR=" + t.TempDir(),
		"RCLONE_CONFIG_X_TYPE=webdav",
		"RCLONE_CONFIG_X_URL=" + url,
		"RCLONE_CONFIG_X_VENDOR=" + vendor,
		"RCLONE_CONFIG_X_USER=" + target.User,
		"RCLONE_CONFIG_X_PASS=" + obscured,
		"RCLONE_RETRIES=1",
		"RCLONE_LOW_LEVEL_RETRIES=1",
	}
}

// TestRclone syncs a tree up and down, compares every byte, and syncs again,
// which has to transfer nothing. The vendors rclone and owncloud keep times.
func TestRclone(t *testing.T) {
	rclone := target.Tool(t, "rclone")
	s := target.Start(t, target.Options{})
	for _, vendor := range []string{"rclone", "owncloud", "other"} {
		t.Run(vendor, func(t *testing.T) {
			if s.Kind != target.KeepDAV && vendor != "other" {
				t.Skip("the reference server keeps no times")
			}
			c := s.MakeCollection(t, "rclone-"+vendor)
			env := rcloneEnv(t, rclone, s.URL+c, vendor)
			src, back := t.TempDir(), t.TempDir()
			files := writeTree(t, src)
			call := func(args ...string) string {
				t.Helper()
				return mustRun(t, 3*time.Minute, src, env, rclone, args...)
			}
			call("sync", src, "X:")
			call("check", "--download", src, "X:")
			if vendor != "other" {
				call("check", src, "X:") // by what the server says of the files
			}
			second := call("sync", "-v", "--stats-one-line", src, "X:")
			if strings.Contains(second, "Copied") || strings.Contains(second, "Updated modification time") {
				t.Errorf("the second sync has something to do:\n%s", second)
			}
			call("sync", "X:", back)
			checkTree(t, back, files)
			if vendor != "other" {
				for name := range files {
					was, err := os.Stat(filepath.Join(src, name))
					if err != nil {
						t.Fatal(err)
					}
					is, err := os.Stat(filepath.Join(back, name))
					if err != nil {
						t.Fatal(err)
					}
					if was.ModTime().Unix() != is.ModTime().Unix() {
						t.Errorf("%q came back with the time %v; it had %v", name, is.ModTime().UTC(), was.ModTime().UTC())
					}
				}
			}
			// What is gone here goes there as well; what changed is sent.
			if err := os.Remove(filepath.Join(src, "one")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(src, "page"), randomBytes(5000), 0o644); err != nil {
				t.Fatal(err)
			}
			call("sync", src, "X:")
			call("check", "--download", src, "X:")
			call("moveto", "X:big.bin", "X:sub/renamed")
			call("copyto", "X:sub/renamed", "X:copied")
			call("purge", "X:sub/deep")
		})
	}
}

// TestRcloneMount works on files through "rclone mount".
func TestRcloneMount(t *testing.T) {
	target.NeedRoot(t)
	rclone := target.Tool(t, "rclone")
	s := target.Start(t, target.Options{})
	c := s.MakeCollection(t, "rclone-mount")
	env := rcloneEnv(t, rclone, s.URL+c, "rclone")
	dir := t.TempDir()
	cmd := exec.Command(rclone, "mount", "--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "X:", dir)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	waitMounted(t, dir, ended, &log)
	files := writeTree(t, dir)
	checkTree(t, dir, files)
	if err := os.Rename(filepath.Join(dir, "page"), filepath.Join(dir, "sub/page")); err != nil {
		t.Error(err)
	}
	files["sub/page"] = files["page"]
	delete(files, "page")
	if err := os.Remove(filepath.Join(dir, "one")); err != nil {
		t.Error(err)
	}
	delete(files, "one")
	// The end of the mount sends what is left.
	mustRun(t, time.Minute, "", nil, "umount", dir)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("rclone mount: %v\n%s", err, log.String())
		}
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Fatalf("rclone mount does not end:\n%s", log.String())
	}
	back := t.TempDir()
	mustRun(t, time.Minute, back, env, rclone, "sync", "X:", back)
	checkTree(t, back, files)
}

// waitMounted returns when something is mounted on dir.
func waitMounted(t *testing.T, dir string, ended chan error, log *strings.Builder) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case err := <-ended:
			t.Fatalf("the mount ended: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatalf("%s isn't mounted after 30 s", dir)
		case <-tick.C:
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(mounts), " "+dir+" ") {
				t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
				return
			}
		}
	}
}
