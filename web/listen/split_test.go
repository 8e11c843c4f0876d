package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers on both halves of a splitter over a loopback port; the answer
// says which it was.
func serve(t *testing.T, limits Limits, keeper *Keeper) (addr string, s *Splitter) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = Split(l, limits)
	srv := &http.Server{TLSConfig: keeper.Config(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			io.WriteString(w, "tls "+r.Proto)
		} else {
			io.WriteString(w, "plain "+r.Proto)
		}
	})}
	done := make(chan struct{}, 2)
	go func() { srv.Serve(s.Plain()); done <- struct{}{} }()
	go func() { srv.ServeTLS(s.TLS(), "", ""); done <- struct{}{} }()
	t.Cleanup(func() {
		s.Close()
		srv.Shutdown(context.Background())
		<-done
		<-done
	})
	return l.Addr().String(), s
}

func selfSigned(t *testing.T) *Keeper {
	t.Helper()
	k, err := SelfSigned(t.TempDir(), []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func client(t *testing.T, k *Keeper) *http.Client {
	t.Helper()
	text, err := os.ReadFile(k.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("the authority is no certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOnePortSpeaksBoth(t *testing.T) {
	k := selfSigned(t)
	addr, _ := serve(t, Limits{}, k)
	c := client(t, k)
	if got := get(t, c, "http://"+addr+"/"); got != "plain HTTP/1.1" {
		t.Errorf("http: %q; want plain HTTP/1.1", got)
	}
	if got := get(t, c, "https://"+addr+"/"); got != "tls HTTP/2.0" {
		t.Errorf("https: %q; want tls HTTP/2.0", got)
	}
}

func TestSilentConnectionsDoNotStopOthersAndEnd(t *testing.T) {
	k := selfSigned(t)
	addr, _ := serve(t, Limits{FirstByte: 50 * time.Millisecond}, k)
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	if got := get(t, client(t, k), "http://"+addr+"/"); got != "plain HTTP/1.1" {
		t.Errorf("beside silent connections: %q", got)
	}
	for _, c := range silent {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a silent connection got bytes; want it closed")
		}
	}
}

func TestConnectionsOverTheLimitWait(t *testing.T) {
	k := selfSigned(t)
	addr, _ := serve(t, Limits{Connections: 1}, k)
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan struct{})
	trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(wrote) }})
	r, err := http.NewRequestWithContext(trace, "GET", "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	c := client(t, k)
	go func() {
		resp, err := c.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	<-wrote
	select {
	case <-answered:
		t.Error("a connection over the limit was answered")
	default:
	}
	first.Close()
	if err := <-answered; err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestFilesGoOutWholeThroughTheSplitter(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Split(l, Limits{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })}
	done := make(chan struct{})
	go func() { srv.Serve(s.Plain()); close(done) }()
	defer func() { s.Close(); srv.Close(); <-done }()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	if got := get(t, &http.Client{Transport: tr}, "http://"+l.Addr().String()+"/"); got != string(want) {
		t.Errorf("%d bytes came; want the %d of the file", len(got), len(want))
	}
}

func TestCertificateIsKeptAndRenewedByTheSameAuthority(t *testing.T) {
	dir := t.TempDir()
	k, err := SelfSigned(dir, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string { return k.now.Load().Leaf.SerialNumber.String() }
	first, finger := serial(), k.Fingerprint()
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	if serial() != first {
		t.Error("a good certificate was replaced")
	}
	c, err := ownCertificate(dir, []string{"localhost"}, time.Now().Add(certLife-renewAhead+time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if c.Leaf.SerialNumber.String() == first {
		t.Error("a certificate that is about to end was kept")
	}
	k, err = SelfSigned(dir, []string{"localhost", "other.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.now.Load().Leaf.VerifyHostname("other.example"); err != nil {
		t.Errorf("a new name is not in the certificate: %v", err)
	}
	if k.Fingerprint() != finger {
		t.Error("the authority changed; clients would have to trust it again")
	}
	if fi, err := os.Stat(filepath.Join(dir, caKeyFile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v, %v; want mode 0600", fi.Mode(), err)
	}
}

func TestReloadThatFailsKeepsTheOldCertificate(t *testing.T) {
	dir := t.TempDir()
	if _, err := SelfSigned(dir, []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, certFile)
	k, err := FromFiles(file, "")
	if err != nil {
		t.Fatal(err)
	}
	old := k.now.Load()
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); err == nil {
		t.Error("Reload of nonsense = nil; want an error")
	}
	if k.now.Load() != old {
		t.Error("the old certificate is gone")
	}
}

func TestCloseDoesNotWaitForSilentConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Split(l, Limits{FirstByte: time.Hour})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for { // until it has been accepted
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n == 1 {
			break
		}
	}
	s.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection got a byte; want it closed")
	}
	if n := len(s.slots); n > 1 { // one is for the accept that ended
		t.Errorf("%d slots are taken after Close", n)
	}
}

func TestAddressesOfOneIPv6NetworkShareTheirConnections(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::ffff:2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth0", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"::1", "::2", false},
	} {
		if got := Source(netip.MustParseAddr(c.a)) == Source(netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s are counted as one: %v; want %v", c.a, c.b, got, c.same)
		}
	}
}

func TestAuthorityWithoutItsKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := SelfSigned(dir, []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := SelfSigned(dir, []string{"localhost"}); err == nil {
		t.Error("an authority whose key is gone is taken")
	}
	if after, err := os.ReadFile(filepath.Join(dir, caFile)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the authority that clients trust was replaced (%v)", err)
	}
	// A crash while the first one was made leaves a key alone.
	fresh := t.TempDir()
	if err := os.WriteFile(filepath.Join(fresh, caKeyFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := SelfSigned(fresh, []string{"localhost"}); err != nil {
		t.Errorf("with a key alone: %v; want a new authority", err)
	}
}
