package fusemount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options say what the kernel is to make of a mount.
type Options struct {
	Source     string // shown in the first column of df
	Subtype    string // the type of the mount is then fuse.SUBTYPE
	ReadOnly   bool
	AllowOther bool
	// CheckModes has the kernel compare owners and permission bits. Otherwise
	// whoever reaches the mount may do what the program lets him.
	CheckModes bool
	Devices    bool // device files and set-user-ID bits count, if root mounts
	NoExec     bool
	ReadAhead  int // KiB that the kernel reads ahead, if it lets us choose; 0: as it likes
}

// Errors to be asked for with errors.Is. Their texts come with what to do.
var (
	ErrMounted = errors.New("something is mounted there already")
	ErrStale   = errors.New("a mount is there whose program is gone (transport endpoint is not connected)")
	ErrBusy    = errors.New("it is in use")
)

// maxRead is the largest read that the kernel may ask for.
const maxRead = 1 << 20

// Check says why nothing can be mounted at dir, or nil.
func Check(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("%s: %w: --replace mounts in its place, --unmount takes it away", dir, ErrStale)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("mount point %s does not exist: make it with mkdir", dir)
	case err != nil:
		return fmt.Errorf("mount point: %w", err)
	case !info.IsDir():
		return fmt.Errorf("mount point %s is not a directory", dir)
	}
	e, there, err := At(dir)
	if err == nil && there && e.IsFUSE() {
		return fmt.Errorf("%s: %w (%s, type %s): --replace mounts in its place, --unmount takes it away", dir, ErrMounted, e.Source, e.Type)
	}
	return err
}

// Mount mounts at dir and returns the descriptor through which it is served.
func Mount(dir string, o Options) (*os.File, error) {
	if err := Check(dir); err != nil {
		return nil, err
	}
	dev, err := mountDirect(dir, o)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, fs.ErrPermission) {
		return mountHelped(dir, o)
	}
	return dev, err
}

// mountDirect is for who may call mount.
func mountDirect(dir string, o Options) (*os.File, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no /dev/fuse: load the kernel's module with \"modprobe fuse\", or start the container with --device /dev/fuse")
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	dev := os.NewFile(uintptr(fd), "/dev/fuse")
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if o.Devices {
		flags = 0
	}
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if o.NoExec {
		flags |= unix.MS_NOEXEC
	}
	data := append(o.words(), fmt.Sprintf("fd=%d", fd), "rootmode=40000", fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid()))
	if err := unix.Mount(o.Source, dir, "fuse."+o.Subtype, flags, strings.Join(data, ",")); err != nil {
		dev.Close()
		return nil, &fs.PathError{Op: "mount", Path: dir, Err: err}
	}
	o.setReadAhead(dir)
	return dev, nil
}

// setReadAhead changes what only root may change; without it reads are smaller.
func (o Options) setReadAhead(dir string) {
	if e, there, err := At(dir); err == nil && there && o.ReadAhead > 0 {
		_ = os.WriteFile("/sys/class/bdi/"+e.Device+"/read_ahead_kb", []byte(strconv.Itoa(o.ReadAhead)), 0)
	}
}

// words are the options that both ways of mounting take.
func (o Options) words() []string {
	words := []string{fmt.Sprintf("max_read=%d", maxRead)}
	if o.AllowOther {
		words = append(words, "allow_other")
	}
	if o.CheckModes {
		words = append(words, "default_permissions")
	}
	return words
}

// mountHelped mounts through fusermount3, which is set-user-ID root.
func mountHelped(dir string, o Options) (*os.File, error) {
	helper, err := helperPath()
	if err != nil {
		return nil, fmt.Errorf("only root may mount by itself, and for others %w: install the package fuse3", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	words := append(o.words(), "nosuid", "nodev", "fsname="+escape(o.Source), "subtype="+escape(o.Subtype))
	if o.ReadOnly {
		words = append(words, "ro")
	}
	if o.NoExec {
		words = append(words, "noexec")
	}
	cmd := exec.Command(helper, "-o", strings.Join(words, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3", "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return nil, helperError(dir, string(out), err)
	}
	return receive(ours)
}

// receive takes a descriptor out of a message on a socket.
func receive(socket *os.File) (*os.File, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("fusermount3 sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("fusermount3 sent no descriptor")
	}
	return os.NewFile(uintptr(fds[0]), "/dev/fuse"), nil
}

// helperPath finds fusermount3, or its older self.
func helperPath() (string, error) {
	for _, name := range []string{"fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("there is no fusermount3")
}

// hints tell what to do about what fusermount3 says.
var hints = []struct{ says, do string }{
	{"user_allow_other", "the administrator has to write user_allow_other into /etc/fuse.conf, or leave --allow-other away"},
	{"no write access to mount", "ordinary users mount on directories of their own"},
	{"/dev/fuse: Permission denied", "ordinary users can mount when everybody may read and write /dev/fuse (mode 0666, as udev makes it)"},
	{"/dev/fuse", "start the container with --device /dev/fuse, or load the kernel's module with \"modprobe fuse\""},
	{"Operation not permitted", "a container needs --device /dev/fuse --cap-add SYS_ADMIN; on a machine, fusermount3 has to be set-user-ID root"},
	{"too many", "mount_max in /etc/fuse.conf limits how many mounts users have"},
}

func helperError(dir, says string, err error) error {
	says = strings.TrimSpace(says)
	if says == "" {
		return fmt.Errorf("mount %s: fusermount3: %w", dir, err)
	}
	for _, h := range hints {
		if strings.Contains(says, h.says) {
			return fmt.Errorf("mount %s: %s (%s)", dir, says, h.do)
		}
	}
	return fmt.Errorf("mount %s: %s", dir, says)
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(s)
}

// Unmount takes away what is mounted at dir; ErrBusy while it is in use. Whoever
// serves it notices. A lazy one takes it out of the tree at once; programs that have
// files open go on with those.
func Unmount(dir string, lazy bool) error {
	dir, err := Resolve(dir)
	if err != nil {
		return err
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err = unix.Unmount(dir, flags)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("unmount %s: %w", dir, ErrBusy)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("unmount %s: nothing is mounted there", dir)
	case !errors.Is(err, syscall.EPERM):
		if err != nil {
			return &fs.PathError{Op: "unmount", Path: dir, Err: err}
		}
		return nil
	}
	helper, err := helperPath()
	if err != nil {
		return fmt.Errorf("unmount %s: only root may by itself, and for others %w: install the package fuse3", dir, err)
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	cmd := exec.Command(helper, append(args, "--", dir)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	switch says := strings.TrimSpace(string(out)); {
	case err == nil:
		return nil
	case strings.Contains(says, "busy"):
		return fmt.Errorf("unmount %s: %w", dir, ErrBusy)
	default:
		return fmt.Errorf("unmount %s: %s (%w)", dir, says, err)
	}
}

// Abort makes the kernel give up a mount that was taken out of the tree while
// programs have files open: whatever they do with those fails from now on, and who
// serves the mount sees its end. It needs the file system fusectl, which is
// usually there.
func Abort(device string) error {
	_, minor, _ := strings.Cut(device, ":")
	if _, err := strconv.ParseUint(minor, 10, 32); err != nil {
		return fmt.Errorf("abort: %q is no device", device)
	}
	return os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0)
}
