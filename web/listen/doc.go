// Package listen accepts http and https on one port, and keeps the
// certificates for the latter.
//
// The first byte of a connection says which of the two it is: a TLS record of
// type handshake begins with 0x16, an HTTP request never does. The byte is
// peeked at in the kernel, so a plain connection is handed on as it is and
// sendfile works on it.
//
// Start reading at split.go, then cert.go.
package listen
