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
	var wait func() error
	var err error
	if o.Goroutines {
		out, wait = c.startGoroutine(o.disk, abandon)
	} else if out, wait, err = c.startProcess(); err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	wg.Go(func() {
		c.listen(out, answers, abandon)
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

// startProcess starts this program again.
func (c *client) startProcess() (out io.Reader, wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	// A Ctrl-C at the terminal is for the coordinator only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = (*tail)(c)
	cmd.WaitDelay = time.Second
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	c.cmd, c.pid = cmd, cmd.Process.Pid
	return out, cmd.Wait, nil
}

// startGoroutine starts one instead. When abandon is closed, wait waits for it a
// moment only: it may hang.
func (c *client) startGoroutine(d disk, abandon <-chan struct{}) (out io.Reader, wait func() error) {
	fromUs, in := io.Pipe()
	fromIt, outw := io.Pipe()
	c.in = in
	ended, over := make(chan error, 1), make(chan struct{})
	go func() {
		err := serve(fromUs, outw, d)
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
	return fromIt, func() error {
		select {
		case err := <-ended:
			return err
		case <-abandon:
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(afterKill / 2):
			return nil
		}
	}
}

// listen passes on what the process says until it says no more.
func (c *client) listen(out io.Reader, answers chan<- answer, abandon <-chan struct{}) {
	dec := json.NewDecoder(out)
	for {
		r := new(reply)
		if dec.Decode(r) != nil {
			return
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
