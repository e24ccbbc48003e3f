package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// MayPush asks whether the host would take a push from these credentials at all, and changes nothing: the push is begun and ended
// before anything is sent. Whether it would move a certain branch, only a push can tell. Errors: those of Remote.Push, without
// ErrMoved and ErrUnknown.
func MayPush(ctx context.Context, r Remote) error {
	m, ok := r.(*mirror)
	if !ok {
		return nil // an embedded repository asks nobody; see Repos.Writable for its disk
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	m.client.receive = nil // what an earlier session was told may no longer hold
	if _, err := m.pushCaps(ctx); err != nil {
		return m.notSent("", err)
	}
	return nil
}

// NotGit tells that what answered at the repository's address does not speak Git's protocol: a web page, or another service.
func NotGit(err error) bool { return errors.Is(err, errNotPkt) }

// Answered tells an error that the host gave, whatever it says, from one of the way there.
func Answered(err error) bool {
	var status *statusError
	var theirs *remoteError
	var session *sshRefusal
	var no *Refused
	var limit *Limited
	return NotGit(err) || errors.As(err, &status) || errors.As(err, &theirs) || errors.As(err, &session) || errors.As(err, &no) || errors.As(err, &limit)
}

// Writable tries whether the disk of an embedded repository can be written, by a file beside its objects that it removes again.
// It does not make a repository: exists is false for one that the first push will make. Errors: errs.Invalid for the name,
// errs.Unavailable when the disk cannot be written.
func (r *Repos) Writable(name string) (exists bool, err error) {
	if err := ValidateRepo(name); err != nil {
		return false, err
	}
	dir := filepath.Join(r.dir, filepath.FromSlash(name)+".git")
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		exists, dir = true, filepath.Join(dir, "objects", "pack")
	} else {
		dir = r.dir
	}
	if err := tryWrite(dir); err != nil {
		return exists, unavailable(err, "the disk of the embedded repositories cannot be written: %v", reasonOf(err))
	}
	return exists, nil
}

// tryWrite writes a block and removes it again.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, "tmp_try_")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	if err == nil {
		err = f.Sync() // some disks tell only then that they are full
	}
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("try to write: %w", err)
	}
	return nil
}
