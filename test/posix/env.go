package posix

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A user is who a step runs as.
type user struct {
	uid, gid int
	groups   []uint32
}

var (
	alice = user{uid: 65501, gid: 65501}
	bob   = user{uid: 65502, gid: 65502}
)

const team = 65510 // a group that is nobody's first one

// Env is what a case works with.
type Env struct {
	dir   string
	fds   []int   // open files, closed at the end
	peers []*peer // other processes, ended at the end
}

func (e *Env) close() {
	for _, p := range e.peers {
		p.kill()
	}
	for _, fd := range e.fds {
		_ = unix.Close(fd) // a case may have closed it
	}
}

// open opens a file until the case ends.
func (e *Env) open(path string, flags int, mode uint32) int {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	do(err)
	e.fds = append(e.fds, fd)
	return fd
}

// closeNow closes a file before the case ends.
func (e *Env) closeNow(fd int) {
	for i, f := range e.fds {
		if f == fd {
			e.fds = append(e.fds[:i], e.fds[i+1:]...)
			break
		}
	}
	do(unix.Close(fd))
}

// as runs f as another user, in the case's directory and with the usual mask.
func (e *Env) as(u user, f func()) {
	if err := onThread(e.dir, &u, f); err != nil {
		panic(failure{fmt.Errorf("as user %d: %w", u.uid, err)})
	}
}

// together runs f(0) to f(n-1) at the same time, each on its own thread.
func (e *Env) together(n int, f func(i int)) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = onThread(e.dir, nil, func() { f(i) }) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		panic(failure{err})
	}
}

// onThread runs f on a thread that nothing else ever uses.
func onThread(dir string, u *user, f func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- enter(dir, u, f)
	}()
	return <-done
}

func enter(dir string, u *user, f func()) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("a working directory of its own: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	unix.Umask(0o022)
	if u != nil {
		if err := become(*u); err != nil {
			return fmt.Errorf("become user %d: %w", u.uid, err)
		}
	}
	err := try(f)
	// The thread ends a little later than its goroutine, and must not keep a mount busy.
	return errors.Join(err, unix.Chdir("/"))
}

// try runs f and returns what ended it.
func try(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

// become changes the user of this thread only; package syscall would change that of all.
func become(u user) error {
	var first *uint32
	if len(u.groups) > 0 {
		first = &u.groups[0]
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.groups)), uintptr(unsafe.Pointer(first)), 0); errno != 0 {
		return errno
	}
	id := uintptr(u.gid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); errno != 0 {
		return errno
	}
	id = uintptr(u.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); errno != 0 {
		return errno
	}
	return nil
}
