//go:build linux && !amd64 && !arm64

package worker

import "errors"

// refuseSyscalls has no list for this architecture.
func refuseSyscalls() error { return errors.New("not on this architecture") }
