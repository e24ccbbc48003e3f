// Package failpoint kills the process at named boundaries of a deployment, so that tests can prove that a crash anywhere loses
// nothing and does nothing twice. Without the environment variable it costs a nil check.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Env names the variable that sets failpoints: "name@n[,name@n...]" kills the process (SIGKILL, as a power cut would) the
// n-th time that it passes the boundary of that name. It is for tests.
const Env = "TOWPATH_FAILPOINTS"

// The boundaries, in the order in which a deployment passes them.
const (
	RowCommitted = "row_committed"
	Published    = "published"
	Rendered     = "rendered"
	PackSent     = "pack_sent"
	RefMoved     = "ref_moved"
	EventSent    = "event_sent"
	Acknowledged = "acknowledged"
)

// Names lists all boundaries.
func Names() []string {
	return []string{RowCommitted, Published, Rendered, PackSent, RefMoved, EventSent, Acknowledged}
}

// FromEnv gives the function that services call at their boundaries; nil when no failpoint is set. A name that does not exist
// is an error, because a test that kills nowhere proves nothing.
func FromEnv() (func(name string), error) { return parse(os.Getenv(Env), kill) }

func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal may take a moment; nothing further may happen
}

func parse(spec string, act func()) (func(string), error) {
	if spec == "" {
		return nil, nil
	}
	left := map[string]int{}
	known := map[string]bool{}
	for _, n := range Names() {
		known[n] = true
	}
	for part := range strings.SplitSeq(spec, ",") {
		name, count, _ := strings.Cut(part, "@")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || !known[name] {
			return nil, fmt.Errorf("%s: %q is not name@n with n >= 1 and a name of %s", Env, part, strings.Join(Names(), ", "))
		}
		left[name] = n
	}
	var mu sync.Mutex
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if left[name] == 0 {
			return
		}
		if left[name]--; left[name] == 0 {
			act()
		}
	}, nil
}
