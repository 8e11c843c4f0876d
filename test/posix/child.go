package posix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// childVar tells a process that it is a child, and its job.
const childVar = "KEEPDAV_POSIX_CHILD"

// dirVar tells it where to work.
const dirVar = "KEEPDAV_POSIX_DIR"

var childAsked bool // set before any test runs

// Child does a child's job if this process is one, and then does not return.
// TestMain calls it first.
func Child() {
	childAsked = true
	job, ok := os.LookupEnv(childVar)
	if !ok {
		return
	}
	run, ok := jobs[job]
	if !ok {
		fmt.Printf("no job %q\n", job)
		os.Exit(2)
	}
	if err := try(func() { do(unix.Chdir(os.Getenv(dirVar))); run(os.Args[1:], bufio.NewScanner(os.Stdin)) }); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// jobs are what another process does in the case's directory: it prints lines,
// and reads lines that tell it to go on.
var jobs = map[string]func(args []string, in *bufio.Scanner){
	// cat prints a file.
	"cat": func(args []string, in *bufio.Scanner) {
		b := must(os.ReadFile(args[0]))
		fmt.Print(string(b))
	},
	// read holds a file open and prints all of it each time it is told to.
	"read": func(args []string, in *bufio.Scanner) {
		fd := must(unix.Open(args[0], unix.O_RDONLY, 0))
		for in.Scan() {
			fmt.Println(readAll(fd))
		}
	},
	// lock takes locks as told and prints what came of it.
	"lock": func(args []string, in *bufio.Scanner) {
		fd := must(unix.Open(args[0], unix.O_RDWR, 0))
		fmt.Println("open")
		for in.Scan() {
			fmt.Println(errnoName(lockAsTold(fd, in.Text())))
		}
	},
	// run tries to run a program and holds on to it.
	"run": func(args []string, in *bufio.Scanner) {
		cmd := exec.Command(args[0], args[1:]...)
		err := cmd.Start()
		fmt.Println(errnoName(err))
		in.Scan()
		if err == nil {
			do(cmd.Process.Kill())
			_ = cmd.Wait() // it was killed
		}
	},
	// witness watches a file that is replaced again and again.
	"witness": func(args []string, in *bufio.Scanner) {
		fmt.Println("watching")
		stop := make(chan struct{})
		go func() {
			in.Scan()
			close(stop)
		}()
		for seen := 0; ; seen++ {
			select {
			case <-stop:
				fmt.Println("all well")
				return
			default:
			}
			s := content(args[0])
			check(s != "" && strings.Count(s, s[:1]) == len(s) && len(s) == 5000, "version %d of %s is not whole: %s", seen, args[0], short(s))
		}
	},
}

// A peer is a child process.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// child starts a job in the case's directory. Its end is the end of its input.
func (e *Env) child(job string, args ...string) *peer {
	cmd := exec.Command(must(os.Executable()), args...)
	// Not cmd.Dir: the runtime waits for the new process until it has gone there,
	// which an in-process mount could not let it.
	cmd.Env = append(os.Environ(), childVar+"="+job, dirVar+"="+e.dir)
	cmd.Stderr = os.Stderr
	p := &peer{cmd: cmd, in: must(cmd.StdinPipe()), out: bufio.NewReader(must(cmd.StdoutPipe()))}
	do(cmd.Start())
	e.peers = append(e.peers, p)
	return p
}

// end waits for the process, which must be content with all it saw.
func (p *peer) end() {
	do(p.in.Close())
	rest := must(io.ReadAll(p.out))
	if err := p.cmd.Wait(); err != nil {
		failf("the other process: %v: %s", err, rest)
	}
}

func (p *peer) say(line string) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		failf("the other process: %v", errors.Join(err, p.ended()))
	}
}

// ended is how the process ended before it was told to, in its own words.
func (p *peer) ended() error {
	rest, err := io.ReadAll(p.out)
	return errors.Join(errors.New(strings.TrimSpace(string(rest))), err, p.cmd.Wait())
}

func (p *peer) line() string {
	s, err := p.out.ReadString('\n')
	if err != nil {
		failf("the other process: %v", errors.Join(err, p.ended()))
	}
	return strings.TrimSuffix(s, "\n")
}

// kill ends the process, if it is still there, without a word to it.
func (p *peer) kill() {
	if p.cmd.ProcessState == nil {
		// Errors tell that it has ended or was killed: both are wanted.
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}
