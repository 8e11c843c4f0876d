package fusefs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// errnos is what kinds of errors are to a program. It is the one place where they
// become numbers.
var errnos = map[collfs.Kind]syscall.Errno{
	collfs.Internal:     syscall.EIO,
	collfs.NotExist:     syscall.ENOENT,
	collfs.Exist:        syscall.EEXIST,
	collfs.Permission:   syscall.EACCES,
	collfs.ReadOnly:     syscall.EROFS,
	collfs.IsDir:        syscall.EISDIR,
	collfs.NotDir:       syscall.ENOTDIR,
	collfs.NotEmpty:     syscall.ENOTEMPTY,
	collfs.IntoItself:   syscall.EINVAL,
	collfs.NameInvalid:  syscall.EINVAL,
	collfs.NameTooLong:  syscall.ENAMETOOLONG,
	collfs.Condition:    syscall.EBUSY,
	collfs.Locked:       syscall.EBUSY,
	collfs.NotSupported: syscall.EOPNOTSUPP,
	collfs.Invalid:      syscall.EINVAL,
	collfs.Closed:       syscall.EBADF,
	collfs.Conflict:     syscall.EAGAIN,
	collfs.Corrupt:      syscall.EIO,
	collfs.Unavailable:  syscall.EIO,
	collfs.Full:         syscall.ENOSPC,
	collfs.ShortBody:    syscall.EIO,
	collfs.TooMany:      syscall.EOVERFLOW,
	collfs.Canceled:     syscall.EINTR,
}

// status is the answer to the kernel for err.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	kind := collfs.KindOf(err)
	// What a disk or a network elsewhere says of itself is no answer to who reads a file.
	if e, ok := errors.AsType[syscall.Errno](err); ok && kind != collfs.Unavailable && kind != collfs.Corrupt {
		return fuse.Status(e)
	}
	if errors.Is(err, collfs.ErrOtherCollection) {
		return fuse.Status(syscall.EXDEV)
	}
	return fuse.Status(errnos[kind])
}
