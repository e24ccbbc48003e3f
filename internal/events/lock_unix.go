//go:build unix

// The lock needs flock, which only Unix systems have.

package events

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock without waiting. It ends with the file, so also when the process is killed.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
