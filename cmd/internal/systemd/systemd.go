// Package systemd speaks with systemd, when that has started us. Nothing depends on it.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Notify tells our state, such as "READY=1".
func Notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}

// Extend asks not to lose patience for d.
func Extend(d time.Duration) {
	Notify("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// KeepExtending asks for patience until done is closed.
func KeepExtending(done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		Extend(time.Minute)
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// firstInherited is the first descriptor that is passed to a socket-activated service.
const firstInherited = 3

// Inherited is the listener that systemd passes, nil when it doesn't.
func Inherited() (net.Listener, error) {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("systemd passes %s sockets, one is expected", n)
	}
	f := os.NewFile(firstInherited, "listen")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket of systemd: %w", err)
	}
	return l, nil
}
