package git

import (
	"errors"
	"io/fs"
	"os"
	"runtime/debug"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// guarded reads mapped files. One that somebody cuts short while it is mapped would end the process; so it is a damaged file.
func guarded(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // what the runtime makes of a fault
			err = corrupt("a file was cut short or cannot be read from its disk any more")
		default:
			panic(p)
		}
	}()
	return read()
}

// localFault tells a mirror's own disk from the host: the folder is gone, full or read-only.
func localFault(err error) bool {
	var ours *errs.Error
	if errors.As(err, &ours) {
		return false
	}
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// noMirror is the error when not even a new mirror can be written. It passes when the disk has room again.
func noMirror(err error) error {
	if err == nil || !localFault(err) {
		return err
	}
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
		"the committer cannot write its copy of the repository: %v; make room on its disk, or make its folder writable", reasonOf(err)).Because(err)
}

// reasonOf leaves the path out of an error that people see.
func reasonOf(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	default:
		return err
	}
}
