package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// The files of a certificate directory.
const (
	caFile     = "ca.pem"
	caKeyFile  = "ca-key.pem"
	certFile   = "server.pem" // with its key
	caLife     = 10 * 365 * 24 * time.Hour
	certLife   = 397 * 24 * time.Hour // what browsers and macOS accept
	renewAhead = 60 * 24 * time.Hour
)

// A Keeper holds the certificate that the server shows. All methods may be
// called concurrently.
type Keeper struct {
	load func() (*tls.Certificate, error)
	now  atomic.Pointer[tls.Certificate]

	// CA is the file of the authority to be trusted by clients; "" when the
	// certificate was given by the user.
	CA string
}

// FromFiles keeps a certificate that the user has in files. key may be "" when
// it is in the same file.
func FromFiles(cert, key string) (*Keeper, error) {
	if key == "" {
		key = cert
	}
	k := &Keeper{load: func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", cert, err)
		}
		return &c, nil
	}}
	return k, k.Reload()
}

// SelfSigned keeps a certificate for names (host names and addresses) signed by
// a small authority of this store, both made in dir when they are missing. Clients
// that trust the authority go on working when the certificate is renewed.
func SelfSigned(dir string, names []string) (*Keeper, error) {
	if err := errors.Join(os.MkdirAll(dir, 0o700), syncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("make the directory of certificates: %w", err)
	}
	k := &Keeper{CA: filepath.Join(dir, caFile)}
	k.load = func() (*tls.Certificate, error) { return ownCertificate(dir, names, time.Now()) }
	return k, k.Reload()
}

// Reload reads the files again, or renews the own certificate when it is about
// to end. When that fails the old one stays.
func (k *Keeper) Reload() error {
	c, err := k.load()
	if err != nil {
		return err
	}
	if c.Leaf == nil {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		c.Leaf = leaf
	}
	k.now.Store(c)
	return nil
}

// Ends is when the present certificate ends.
func (k *Keeper) Ends() time.Time { return k.now.Load().Leaf.NotAfter }

// Fingerprint is the SHA-256 of the authority, or of the certificate when the
// user gave one, as browsers show it.
func (k *Keeper) Fingerprint() string {
	der := k.now.Load().Certificate
	sum := sha256.Sum256(der[len(der)-1])
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}

// Config is the configuration of a TLS server that shows the certificate.
func (k *Keeper) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Named here because http.Server sets up HTTP/2 once, and Serve, when it
		// comes before ServeTLS, does so only if it sees this.
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.now.Load(), nil
		},
	}
}

// ownCertificate reads the certificate in dir, and makes a new one when there is
// none, when it is about to end, or when it lacks one of names.
func ownCertificate(dir string, names []string, now time.Time) (*tls.Certificate, error) {
	path := filepath.Join(dir, certFile)
	ca, err := authority(dir, now)
	if err != nil {
		return nil, err
	}
	if c, err := tls.LoadX509KeyPair(path, path); err == nil {
		leaf := c.Leaf
		fresh := leaf.NotAfter.Sub(now) > renewAhead && leaf.CheckSignatureFrom(ca.Leaf) == nil
		covers := !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
		if fresh && covers {
			return &c, nil
		}
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "keepdav"},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(certLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	c, err := issue(template, ca)
	if err != nil {
		return nil, err
	}
	if err := writePEM(path, c, 0o600); err != nil {
		return nil, err
	}
	return c, nil
}

// authority reads the authority in dir, or makes it.
func authority(dir string, now time.Time) (*tls.Certificate, error) {
	cert, key := filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile)
	c, err := tls.LoadX509KeyPair(cert, key)
	switch {
	case err == nil && c.Leaf.NotAfter.Sub(now) > certLife:
		return &c, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("certificate authority %s: %w", cert, err)
	case err != nil:
		if _, serr := os.Stat(cert); serr == nil {
			// A new one in its place would be a stranger to all clients, and nobody would know why.
			return nil, fmt.Errorf("certificate authority %s: its key is missing (%w): put that back, or take both away to have a new authority made", cert, err)
		}
	}
	host, _ := os.Hostname()
	made, err := issue(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "keepdav on " + host},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return nil, err
	}
	// The key is written first: a certificate without its key would be an error at each start.
	if err := writePEM(key, &tls.Certificate{PrivateKey: made.PrivateKey}, 0o600); err != nil {
		return nil, err
	}
	if err := writePEM(cert, &tls.Certificate{Certificate: made.Certificate}, 0o644); err != nil {
		return nil, err
	}
	return made, nil
}

// issue makes a key and a certificate from template, signed by ca, or by itself
// when ca is nil.
func issue(template *x509.Certificate, ca *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	parent, signer, chain := template, any(key), [][]byte(nil)
	if ca != nil {
		parent, signer, chain = ca.Leaf, ca.PrivateKey, ca.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, chain...), PrivateKey: key, Leaf: leaf}, nil
}

// writePEM writes what c has, in one step. When it returns, a loss of power
// leaves it there: what is written next may need it.
func writePEM(path string, c *tls.Certificate, mode fs.FileMode) error {
	var text []byte
	for _, der := range c.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if c.PrivateKey != nil {
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	tmp := path + ".new"
	if err := writeSynced(tmp, text, mode); err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	err := os.Rename(tmp, path)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeSynced writes a file that a loss of power doesn't leave empty once it is
// renamed into place: the next start would fail on it.
func writeSynced(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Names lists what clients may call this machine: its host name, localhost, and
// the addresses of its interfaces, with extra in front.
func Names(extra ...string) []string {
	names := slices.Clone(extra)
	names = append(names, "localhost", "127.0.0.1", "::1")
	if h, err := os.Hostname(); err == nil && h != "" {
		names = append(names, h)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil { // a certificate with fewer names is better than none
		addrs = nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			names = append(names, n.IP.String())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
