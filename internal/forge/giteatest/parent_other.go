//go:build !linux

package giteatest

import "os/exec"

// dieWithParent does nothing: only Linux can tie a process to the life of its parent.
func dieWithParent(*exec.Cmd) {}
