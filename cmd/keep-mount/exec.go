package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The command after --exec may be a file of the mount that this process serves, and
// may be run in it. So this process must not wait for the kernel while it starts the command:
// it starts itself, with trampoline as the first argument, and that finds and becomes the command.

const trampoline = "--become-command"

// reportFD is where the trampoline says why it could not become the command.
const reportFD = 3

// A child is a running command.
type child struct {
	cmd    *exec.Cmd
	report *os.File
	done   chan struct{} // closed when it has ended
	err    error         // of Wait
	shared bool          // the terminal sends its signals to the command as well
}

// startCommand runs a command. Wait for done, then ask for its code.
func startCommand(command []string) (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{trampoline}, command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}
	c := &child{cmd: cmd, report: r, done: make(chan struct{}), shared: inForeground()}
	go func() { // ends with the command
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// inForeground tells whether a terminal sends INT, QUIT and HUP to us, and so to the command.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// pass passes a signal on, unless the terminal has done so.
func (c *child) pass(sig os.Signal) {
	if c.shared && sig != syscall.SIGTERM {
		return
	}
	_ = c.cmd.Process.Signal(sig) // one that has ended needs none
}

// result is what the command ended with: nil for success, an *exitError with its
// code, 128 and the number for a signal, or why it could not be run.
func (c *child) result() error {
	defer c.report.Close()
	why, _ := io.ReadAll(io.LimitReader(c.report, 4096)) // "" when it ran
	exit, ok := errors.AsType[*exec.ExitError](c.err)
	switch {
	case c.err == nil:
		return nil
	case !ok:
		return c.err
	case len(why) > 0:
		return &exitError{code: exit.ExitCode(), err: errors.New(string(why))}
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &exitError{code: 128 + int(ws.Signal())}
	}
	return &exitError{code: exit.ExitCode()}
}

// runTrampoline becomes the command. It returns only when that fails.
func runTrampoline(command []string) int {
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "keep-mount: "+trampoline+" is for our own use")
		return exitUsage
	}
	syscall.CloseOnExec(reportFD)
	path, err := exec.LookPath(command[0])
	if errors.Is(err, exec.ErrDot) { // the user's PATH is the user's business
		err = nil
	}
	if err == nil {
		err = syscall.Exec(path, command, os.Environ())
	}
	code := exitNoExecute
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		code = exitNoCommand
	}
	cause := err
	if e, ok := errors.AsType[*exec.Error](err); ok {
		cause = e.Err
	}
	fmt.Fprintf(os.NewFile(reportFD, "report"), "%s cannot be run: %v", strconv.Quote(command[0]), cause)
	return code
}
