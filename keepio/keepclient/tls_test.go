package keepclient

import (
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

func TestTLSWithoutHTTP2(t *testing.T) {
	data := storetest.Data(1, 300<<10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("%s came over %s", r.Method, r.Proto)
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(data)
			return
		}
		if got, err := io.ReadAll(r.Body); err != nil || md5.Sum(got) != md5.Sum(data) {
			t.Errorf("PUT of %d bytes, %v, or other ones", len(got), err)
		}
		_, _ = io.WriteString(w, keepio.MakeLocator(md5.Sum(data), int64(len(data))).String())
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a client turns down its certificate
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c := clientOf(t, ServersConfig{Services: []string{srv.URL}, Replicas: 1, TLS: &tls.Config{RootCAs: pool}}, "token", nil)
	if err := pushBlock(t.Context(), t, c, data); err != nil {
		t.Errorf("Push: %v", err)
	}
	// Content-Length is missing from a large reply unless the handler sets it.
	if _, _, err := fetchBlock(t.Context(), c, data); err == nil {
		t.Error("Fetch of a reply without a length succeeded")
	}
	stranger := clientOf(t, ServersConfig{Services: []string{srv.URL}, Replicas: 1}, "token", nil)
	if err := pushBlock(t.Context(), t, stranger, data); err == nil {
		t.Error("Push to a server with a certificate of nobody succeeded")
	}
}

func TestBytesAreCountedBelowTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	rt := newTransport(nil, &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}, directTimeouts)
	defer rt.CloseIdleConnections()
	var counted *countedConn
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { counted = counterOf(info.Conn) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if counted == nil || counted.moved.Load() == 0 {
		t.Errorf("counterOf a TLS connection = %v; want one that has counted", counted)
	}
}
