package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSocketOfSystemdNeedsPublicToo(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	everywhere := &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}
	unix := &net.UnixAddr{Name: "/run/x", Net: "unix"}
	for _, c := range []struct {
		addr   net.Addr
		public bool
		want   string
	}{
		{loopback, false, ""}, {loopback, true, ""}, {everywhere, true, ""},
		{everywhere, false, "--public"}, {unix, true, "TCP"},
	} {
		err := (&serveCmd{Public: c.public}).checkInherited(c.addr)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, public %v: %v; want an error with %q", c.addr, c.public, err, c.want)
		}
	}
}

// keepDAV runs the program without a password in its environment until it ends by itself, or
// until it has greeted.
func keepDAV(t *testing.T, args ...string) (greeting string, ended error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	buf := make([]byte, 64<<10)
	n, _ := out.Read(buf) // the greeting is one write
	if n > 0 {
		cmd.Process.Signal(syscall.SIGTERM)
	}
	return string(buf[:n]), cmd.Wait()
}

func TestPasswordIsShownThoughTheFirstStartFailed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	args := []string{"serve", "--store", dir, "--listen", "127.0.0.1:0"}
	for _, failing := range [][]string{
		{"--tls-cert", "/nowhere/cert.pem"},
		{"--metrics-listen", "192.0.2.1:1"}, // no address of this machine
	} {
		if out, err := keepDAV(t, append(args, failing...)...); err == nil || out != "" {
			t.Fatalf("with %q: %v, %q; want it to fail", failing, err, out)
		}
	}
	if out, err := keepDAV(t, args...); err != nil || !strings.Contains(out, "password  ") {
		t.Errorf("the start after those: %v, and it says %q; want the password", err, out)
	}
}

func TestFlagsThatSayNothingAreRefused(t *testing.T) {
	for _, flags := range []string{
		"--tls-key=k", "--tls-cert=c --tls-name=h", "--max-locks=0", "--max-entries=0", "--max-connections=-1", "--lock-timeout=0s",
		"--stop-grace=-1s", "--gc-every=-1h", "--keep-versions=721h", "--trust-proxy=host",
	} {
		parser, err := newParser(new(cli))
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"serve"}, nil} {
			if _, err := parser.Parse(append(command, strings.Fields(flags)...)); err == nil {
				t.Errorf("%q %s was taken", command, flags)
			}
		}
	}
}

func TestProxiesAreAddressesOrNetworks(t *testing.T) {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve", "--trust-proxy", "127.0.0.1,10.0.0.0/8", "--trust-proxy", "2001:db8::1"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range prefixes(c.Serve.TrustProxy) {
		got = append(got, p.String())
	}
	if want := "127.0.0.1/32 10.0.0.0/8 2001:db8::1/128"; strings.Join(got, " ") != want {
		t.Errorf("--trust-proxy = %q; want %s", got, want)
	}
}
