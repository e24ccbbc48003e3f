package worker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// How workers are started, the strictest way first; a way that the system does not permit is followed by the next. What is in
// confine is done by the worker itself in each of them.
var networks = []string{"own user and network namespace", "own network namespace", "shared"}

// errNotPermitted says that a worker cannot be started in one way, and that there is another.
var errNotPermitted = errors.New("the system does not permit it")

func attributes(level int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true} // what a person's terminal sends to the parent is not for workers
	switch level {
	case 0:
		a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	case 1:
		a.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	}
	return a
}

// startError tells apart what another way of starting can do better.
func startError(err error, level int) error {
	for _, passing := range []error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, passing) {
			return err
		}
	}
	if level+1 < len(networks) {
		return fmt.Errorf("%w: %w", errNotPermitted, err)
	}
	return err
}

// executable is the program that runs, also when its file has been replaced by a newer one.
func executable() string { return "/proc/self/exe" }

// memoryOf gives how much memory a process has for itself, without the program and what it shares with others.
func memoryOf(pid int) int64 {
	resident, shared := pages(pid, 1), pages(pid, 2)
	return max(resident-shared, 0) * int64(os.Getpagesize())
}

func pages(pid, field int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) <= field {
		return 0
	}
	n, _ := strconv.ParseInt(fields[field], 10, 64) // the kernel writes numbers
	return n
}

// confine takes from the process what rendering does not need: more files, larger data than its limit, core dumps, new privileges, and
// the system calls for files, network and programs. All of it is done as far as the system permits; templates have no way to any of
// it anyhow, so that this is the second wall.
func confine(limits Limits) (done hello) {
	var problems []string
	failed := func(what string, err error) bool {
		if err != nil {
			problems = append(problems, what+": "+err.Error())
		}
		return err != nil
	}
	for what, limit := range map[string]struct {
		resource int
		value    uint64
	}{
		"files": {unix.RLIMIT_NOFILE, 16}, "size of files": {unix.RLIMIT_FSIZE, 0}, "core dumps": {unix.RLIMIT_CORE, 0},
	} {
		failed(what, unix.Setrlimit(limit.resource, &unix.Rlimit{Cur: limit.value, Max: limit.value}))
	}
	// The parent looks at the memory every few milliseconds; this is for what is faster. Go reserves in pieces of 64 MB.
	data := uint64(pages(os.Getpid(), 5))*uint64(os.Getpagesize()) + uint64(limits.Memory) + 256<<20
	done.Limits = !failed("data", unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: data, Max: data}))
	if !failed("privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		done.Syscalls = !failed("system calls", refuseSyscalls())
	}
	done.Problem = strings.Join(problems, "; ")
	return done
}
