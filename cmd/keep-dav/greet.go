package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"keepdav/web/connect"
)

// greet prints where the server is, and at the first start how to get in.
func (c *serveCmd) greet(s *store, srv *server, addr net.Addr) {
	t := connect.Target{HTTP: localURL(addr), HTTPS: "https://" + localHost(addr) + "/", User: adminName, CA: srv.keeper.CA}
	var b strings.Builder
	if public := publicURL(addr); public != "" {
		fmt.Fprintf(&b, "keep-dav serves %s on %s (from this machine also %s)\n", s.Dir, public, t.HTTP)
		t.HTTPS = public
		t.HTTP = ""
	} else {
		fmt.Fprintf(&b, "keep-dav serves %s on %s and %s\n", s.Dir, t.HTTP, t.HTTPS)
	}
	if srv.password != "" {
		fmt.Fprintf(&b, "\nThis store is new. It has one user:\n\n    user      %s\n", adminName)
		if c.AdminPassword != "" {
			b.WriteString("    password  the one in KEEPDAV_ADMIN_PASSWORD\n")
		} else {
			fmt.Fprintf(&b, "    password  %s\n\nThe password is shown this once. Change it with: keep-dav user passwd %s\n", srv.password, adminName)
		}
		fmt.Fprintf(&b, "\nConnect with\n%s\nMore clients: %sconnect\n", connect.Text(t), t.Best())
		if t.HTTP == "" && srv.keeper.CA != "" {
			fmt.Fprintf(&b, "Clients need to trust the authority %s\nwith the SHA-256 fingerprint %s\n", srv.keeper.CA, srv.keeper.Fingerprint())
		}
	}
	os.Stdout.WriteString(b.String()) // a server without anybody who reads it goes on
}

// publicURL is how other machines reach a listener; "" when they don't.
func publicURL(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return ""
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "localhost"
		if name, err := os.Hostname(); err == nil && name != "" {
			host = name
		}
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port)) + "/"
}
