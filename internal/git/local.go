package git

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/towpath-dev/towpath/internal/errs"
)

// local is an embedded repository as a Remote.
type local struct {
	*store
	repo  *repo
	hooks Hooks
	limit int64
}

func openLocal(cfg Config, name string) (Remote, error) {
	if cfg.Repos == nil {
		return nil, errs.InvalidField("repository", "embedded repositories are not set up here; use an http(s) URL")
	}
	r, err := cfg.Repos.repo(name, true)
	if err != nil {
		return nil, err
	}
	return &local{store: r.store, repo: r, hooks: cfg.Hooks, limit: cfg.MaxPush}, nil
}

// Fetch gives the branch's tip; everything is readable anyway.
func (l *local) Fetch(ctx context.Context, branch string) (Hash, error) {
	if err := ValidateBranch(branch); err != nil {
		return ZeroHash, err
	}
	if err := ctx.Err(); err != nil {
		return ZeroHash, err
	}
	tip, err := l.repo.refs.read(branchPrefix + branch)
	if err != nil {
		return ZeroHash, unavailable(err, "branch %s of repository %s could not be read", branch, l.repo.name)
	}
	return tip, nil
}

// Push writes the objects, durably, and then moves the branch, durably.
func (l *local) Push(ctx context.Context, branch string, old, new Hash, objs *ObjectSet) error {
	if err := ValidateBranch(branch); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := encodePack(objs, false)
	if err != nil {
		return fmt.Errorf("encode the pack: %w", err)
	}
	if size := int64(len(p.data)); size > l.limit {
		return tooLarge(size, l.limit)
	}
	if err := l.write(branch, old, new, objs, func() error { return l.install(p.data, p.entries, p.sum) }); err != nil {
		return err
	}
	l.repo.afterPush(branch, old, new)
	return nil
}

func (l *local) write(branch string, old, new Hash, objs *ObjectSet, install func() error) error {
	r := l.repo
	r.mu.Lock()
	defer r.mu.Unlock()
	ref := branchPrefix + branch
	// Looked at twice: here so that a lost race costs no write, and under the reference's lock, which decides.
	switch tip, err := r.refs.read(ref); {
	case err != nil:
		return unavailable(err, "branch %s of repository %s could not be read", branch, r.name)
	case tip != old:
		return moved(branch, old, tip)
	}
	if err := l.connected(branch, new, objs); err != nil {
		return err
	}
	if objs.Len() > 0 {
		if err := install(); err != nil {
			return unavailable(err, "repository %s could not be written", r.name)
		}
	}
	if l.hooks.PackSent != nil {
		l.hooks.PackSent()
	}
	if err := r.moveRef(ref, old, new); err != nil {
		return err
	}
	if l.hooks.RefMoved != nil {
		l.hooks.RefMoved()
	}
	return nil
}

// connected refuses a push that would leave the branch with something missing behind it.
func (l *local) connected(branch string, new Hash, objs *ObjectSet) error {
	c := newConnectivity(objs.Len())
	for id, o := range objs.all() {
		if err := c.add(id, o); err != nil {
			return fmt.Errorf("check the objects to push: %w", err)
		}
	}
	c.need[new] = plumbing.CommitObject
	if h, ok := c.missing(l.store); !ok {
		return errMissingObject(branch, h)
	}
	return nil
}

// errMissingObject is a refusal whose cause is ErrMissing too: a caller that assigned a subtree by its id sends the whole
// content instead.
func errMissingObject(branch string, h Hash) error {
	r := &Refused{Words: "object " + h.String() + " is not in the repository"}
	return refused(branch, r).Because(fmt.Errorf("%w: %w", r, ErrMissing))
}

// Close leaves the repository open for others; Repos closes it.
func (l *local) Close() error { return nil }
