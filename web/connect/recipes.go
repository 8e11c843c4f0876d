// Package connect tells people how to reach a server with the program that they
// have: as text for a terminal, and as a page for browsers.
package connect

import (
	"net/url"
	"path"
	"strings"
)

// A Recipe is what to do with one client.
type Recipe struct {
	Client  string
	Once    []string // commands that an administrator of the machine has to give once, on the page only
	Lines   []string // commands, to be pasted
	Remark  string   // a sentence for people
	FirstUp bool     // printed at the first start
}

// A Target is the server as its clients see it.
type Target struct {
	HTTP  string // http://host:port/, "" when only https is accepted
	HTTPS string // https://host:port/
	User  string // who is to log in; "" is shown as USER
	CA    string // file of the authority behind the certificate; "" when it is a public one
}

// Best is the URL to begin with: http on this machine, https elsewhere.
func (t Target) Best() string {
	if t.HTTP != "" {
		return t.HTTP
	}
	return t.HTTPS
}

// Recipes lists what to do with each client, the simplest first.
func Recipes(t Target) []Recipe {
	user := t.User
	if user == "" {
		user = "USER"
	}
	base := t.Best()
	secure := strings.HasPrefix(base, "https:")
	curlCA, rcloneCA := "", ""
	if secure && t.CA != "" {
		curlCA = " --cacert " + t.CA
		rcloneCA = " --ca-cert " + t.CA
	}
	u, err := url.Parse(base)
	if err != nil {
		u = &url.URL{Scheme: "http", Host: "localhost"}
	}
	gvfs := "dav"
	if secure {
		gvfs = "davs"
	}
	https, err := url.Parse(t.HTTPS)
	if err != nil || https.Host == "" {
		https = u
	}
	windows := `\\` + https.Hostname() + `@SSL@` + portOf(https) + `\DavWWWRoot`
	davfs := []string{
		"echo 'buf_size 256' | sudo tee -a /etc/davfs2/davfs2.conf",
		"mkdir -p ~/keep",
		"sudo mount -t davfs -o uid=$(id -un) " + base + " ~/keep",
	}
	davfsRemark := "Needs the package davfs2. buf_size is needed once: with its default, newer Linux kernels show empty directories. Unmount with: sudo umount ~/keep"
	if secure && t.CA != "" {
		trust := []string{"echo 'trust_ca_cert " + t.CA + "' | sudo tee -a /etc/davfs2/davfs2.conf"}
		if !path.IsAbs(t.CA) { // one that was downloaded; davfs2 looks for it there
			trust = append([]string{"sudo cp " + t.CA + " /etc/davfs2/certs/"}, trust...)
		}
		davfs = append(trust, davfs...)
	}
	windowsOnce := []string{
		`reg add HKLM\SYSTEM\CurrentControlSet\Services\WebClient\Parameters /v FileSizeLimitInBytes /t REG_DWORD /d 0xffffffff /f`,
		`reg add HKLM\SYSTEM\CurrentControlSet\Services\WebClient\Parameters /v FileAttributesLimitInBytes /t REG_DWORD /d 100000000 /f`,
		`sc config WebClient start= auto`,
		`net stop WebClient & net start WebClient`,
	}
	var macOnce []string
	if t.CA != "" {
		windowsOnce = append([]string{"certutil -addstore Root keepdav-ca.pem"}, windowsOnce...)
		if secure {
			macOnce = []string{"sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain keepdav-ca.pem"}
		}
	}
	return []Recipe{
		{Client: "Browser", Lines: []string{base}, FirstUp: true},
		{Client: "curl", FirstUp: true, Lines: []string{
			"curl" + curlCA + " -u " + user + " -X MKCOL " + base + "home/first",
			"curl" + curlCA + " -u " + user + " -T FILE " + base + "home/first/",
		}, Remark: "The first line makes a collection, the second puts a file into it."},
		{Client: "davfs2 (Linux, as a directory)", FirstUp: true, Lines: davfs, Remark: davfsRemark},
		{Client: "rclone", FirstUp: true, Lines: []string{
			"rclone config create keep webdav url=" + base + " vendor=rclone user=" + user + " pass=$(rclone obscure 'PASSWORD')",
			"rclone" + rcloneCA + " copy DIR keep:home/first",
			"rclone" + rcloneCA + " mount keep: ~/keep --vfs-cache-mode writes",
		}, Remark: "vendor=rclone keeps modification times."},
		{Client: "GNOME, Nautilus and others (gvfs)", FirstUp: true, Lines: []string{
			"gio mount " + gvfs + "://" + user + "@" + u.Host + "/",
		}, Remark: "Or in the file manager: Other Locations, Connect to Server."},
		{Client: "KDE, Dolphin", Lines: []string{"dolphin web" + gvfs + "://" + user + "@" + u.Host + "/"}},
		{Client: "macOS, Finder", FirstUp: true, Once: macOnce, Lines: []string{
			"osascript -e 'mount volume \"" + base + "\"'",
		}, Remark: "Or in Finder: Go, Connect to Server (⌘K), " + base + ". To mount on a directory: mkdir -p ~/keep && mount_webdav -i " + base + " ~/keep"},
		{Client: "Windows, Explorer", FirstUp: true, Once: windowsOnce, Lines: []string{
			"net use K: " + windows + " /user:" + user + " *",
		}, Remark: "It needs https, a certificate that Windows trusts, the WebClient service, and, for files over 50 MB, the first registry value. Larger files than 4 GiB are more than it can take. rclone with WinFsp has no such limits and is faster: rclone mount keep: K: --vfs-cache-mode writes"},
		{Client: "cadaver", Lines: []string{"cadaver " + base}},
	}
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// Text is what a terminal shows at the first start.
func Text(t Target) string {
	var b strings.Builder
	for _, r := range Recipes(t) {
		if !r.FirstUp {
			continue
		}
		b.WriteString("  " + r.Client + "\n")
		for _, l := range r.Lines {
			b.WriteString("      " + l + "\n")
		}
	}
	return b.String()
}
