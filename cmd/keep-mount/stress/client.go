package stress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A client is the coordinator's end of a process.
type client struct {
	cfg workerConfig
	pid int
	in  io.WriteCloser
	cmd *exec.Cmd // nil for a goroutine

	mu      sync.Mutex // guards the fields below
	count   uint64
	heard   time.Time
	closing bool // it may end
	killed  bool
	stderr  bytes.Buffer
}

// An answer is what a client said, nil when it ended before it was to.
type answer struct {
	from  *client
	reply *reply
}

func (c *client) name() string { return newWorker(c.cfg, nil).name() }

// start starts a process, or a goroutine, that ends when c.in is closed. What it
// says is sent to answers until abandon is closed. The group waits for it.
func start(cfg workerConfig, o Options, wg *sync.WaitGroup, answers chan<- answer, abandon <-chan struct{}) (*client, error) {
	c := &client{cfg: cfg, pid: os.Getpid(), heard: time.Now()}
	var out io.Reader
	wait := func() error { return nil }
	if o.Goroutines {
		fromUs, in := io.Pipe()
		fromIt, outw := io.Pipe()
		ended, over := make(chan error, 1), make(chan struct{})
		go func() {
			err := serve(fromUs, outw, o.disk)
			close(over)
			ended <- err
		}()
		go func() { // what it says ends with it, or when nobody waits any more
			select {
			case <-over:
			case <-abandon:
			}
			_ = outw.Close() // never fails
		}()
		c.in, out = in, fromIt
		wait = func() error {
			select {
			case err := <-ended:
				return err
			case <-abandon:
			}
			select { // it is about to end, unless it hangs
			case err := <-ended:
				return err
			case <-time.After(afterKill / 2):
				return nil
			}
		}
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		c.cmd = exec.Command(self)
		c.cmd.Env = append(os.Environ(), workerEnv+"=1")
		// A Ctrl-C at the terminal is for the coordinator only.
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.cmd.Stderr = (*tail)(c)
		c.cmd.WaitDelay = time.Second
		if c.in, err = c.cmd.StdinPipe(); err == nil {
			out, err = c.cmd.StdoutPipe()
		}
		if err == nil {
			err = c.cmd.Start()
		}
		if err != nil {
			return nil, fmt.Errorf("start a process: %w", err)
		}
		c.pid, wait = c.cmd.Process.Pid, c.cmd.Wait
	}
	wg.Go(func() {
		dec := json.NewDecoder(out)
		for {
			r := new(reply)
			if dec.Decode(r) != nil {
				break
			}
			c.mu.Lock()
			c.heard = time.Now()
			if r.Beat != nil {
				c.count = r.Beat.Count
			}
			c.mu.Unlock()
			if r.Beat == nil {
				c.tell(answers, abandon, r)
			}
		}
		err := wait()
		c.mu.Lock()
		expected := c.closing && err == nil || c.killed
		c.mu.Unlock()
		if !expected {
			c.tell(answers, abandon, nil)
		}
	})
	return c, json.NewEncoder(c.in).Encode(cfg)
}

func (c *client) tell(answers chan<- answer, abandon <-chan struct{}, r *reply) {
	select {
	case answers <- answer{c, r}:
	case <-abandon:
	}
}

// send asks for something. That the process is gone is noticed elsewhere.
func (c *client) send(r *request) { _ = json.NewEncoder(c.in).Encode(r) }

// close lets the process end.
func (c *client) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	_ = c.in.Close() // of a pipe: nothing is lost
}

func (c *client) kill() {
	c.mu.Lock()
	c.killed = true
	c.mu.Unlock()
	if c.cmd != nil {
		_ = c.cmd.Process.Kill() // an error says that it is gone
	}
}

func (c *client) said() (count uint64, heard time.Time, stderr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.heard, c.stderr.String()
}

// tail keeps the start of what a process prints on its standard error: a panic
// begins with its reason.
type tail client

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 4096 - t.stderr.Len(); room > 0 {
		t.stderr.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
