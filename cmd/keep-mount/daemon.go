package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// A program in the background is this one, started again in a session of its own. It has the
// standard error of the one that started it until the mount works; then it says so through
// a pipe and lets go.

// readyEnv names the descriptor of the pipe, in the environment of the program in the background.
const readyEnv = "KEEP_MOUNT_READY"

const readyWord = "ready"

// background starts the program again and waits until it is ready, or has failed.
// What it fails with it has said itself. Signals are for it meanwhile.
func background(args []string, signals <-chan os.Signal) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "keep-mount"
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	heard, passing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(passing)
		for {
			select {
			case sig := <-signals:
				_ = cmd.Process.Signal(sig) // one that has ended needs none
			case <-heard:
				return
			}
		}
	}()
	word, err := io.ReadAll(io.LimitReader(r, 100))
	close(heard)
	<-passing
	if err == nil && string(word) == readyWord {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return &exitError{code: exit.ExitCode()}
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("the program in the background failed before the mount was ready: %w", err)
}

// A starter is who waits for us to be ready; nil: nobody.
type starter struct{ pipe *os.File }

// whoStarted finds out whether we are the program in the background.
func whoStarted() (*starter, error) {
	text := os.Getenv(readyEnv)
	if text == "" {
		return nil, nil
	}
	if err := os.Unsetenv(readyEnv); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is for our own use", readyEnv, text)
	}
	syscall.CloseOnExec(fd)
	return &starter{os.NewFile(uintptr(fd), "ready")}, nil
}

// ready says that the mount works and lets go of the terminal. out takes the place
// of the standard error; nil: nothing does.
func (s *starter) ready(out *os.File) error {
	if s == nil {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if out == nil {
		out = null
	}
	err = errors.Join(
		os.Chdir("/"),
		syscall.Dup3(int(null.Fd()), 0, 0),
		syscall.Dup3(int(null.Fd()), 1, 0),
		syscall.Dup3(int(out.Fd()), 2, 0),
	)
	if err != nil {
		return err
	}
	_, err = s.pipe.WriteString(readyWord)
	return errors.Join(err, s.pipe.Close())
}
