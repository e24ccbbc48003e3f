package committer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// index is what the state files of a branch say, for the questions that need all of them: who owns a folder, and which folders
// did others change. It is read again only where the fan-out folders differ from the last time.
type index struct {
	fans   map[string]git.Hash    // fan-out folder -> tree id that was read
	states map[string]rules.State // place of an environment -> state
	where  map[string]string      // place of an environment -> fan-out folder
	owners rules.Owners
}

func newIndex() *index {
	return &index{fans: map[string]git.Hash{}, states: map[string]rules.State{}, where: map[string]string{}}
}

// refresh reads what changed since the last time in the tree root.
func (x *index) refresh(ctx context.Context, r git.Reader, root git.Hash, log *slog.Logger) error {
	now, err := fanOut(ctx, r, root)
	if err != nil {
		return fmt.Errorf("read the state folder: %w", err)
	}
	changed := map[string]git.Hash{}
	for fan, h := range now {
		if x.fans[fan] != h {
			changed[fan] = h
		}
	}
	files := map[string][]byte{}
	// Most of them at once is one session with the host instead of many.
	if len(changed) > 8 {
		if files, err = git.ReadSubtree(ctx, r, root, rules.StateRoot, git.Limits{}); err != nil {
			return fmt.Errorf("read the state files: %w", err)
		}
	} else {
		for fan, h := range changed {
			some, err := git.ReadSubtree(ctx, r, h, "", git.Limits{})
			if err != nil {
				return fmt.Errorf("read the state files of %s: %w", fan, err)
			}
			for name, data := range some {
				files[fan+"/"+name] = data
			}
		}
	}
	x.forget(now, changed)
	for name, data := range files {
		fan, rest, _ := strings.Cut(name, "/")
		if _, ok := changed[fan]; ok {
			x.read(fan, rest, data, log)
		}
	}
	x.fans = now
	return nil
}

func fanOut(ctx context.Context, r git.Reader, root git.Hash) (map[string]git.Hash, error) {
	top, err := git.Lookup(ctx, r, root, rules.StateRoot)
	if errors.Is(err, git.ErrNotFound) || err == nil && !top.IsDir() {
		return map[string]git.Hash{}, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := r.Tree(ctx, top.Hash)
	if err != nil {
		return nil, err
	}
	fans := make(map[string]git.Hash, len(entries))
	for _, e := range entries {
		if e.IsDir() {
			fans[e.Name] = e.Hash
		}
	}
	return fans, nil
}

// forget drops the states of folders that changed or went away.
func (x *index) forget(now, changed map[string]git.Hash) {
	for environment, fan := range x.where {
		_, again := changed[fan]
		if _, there := now[fan]; again || !there {
			x.owners.Set(environment, "")
			delete(x.states, environment)
			delete(x.where, environment)
		}
	}
}

func (x *index) read(fan, name string, data []byte, log *slog.Logger) {
	state, err := rules.DecodeState(data)
	if err != nil {
		// Only this environment's own deployments fail on it, and say so.
		log.Warn("a state file is not readable", "file", rules.StateRoot+"/"+fan+"/"+name, "error", err)
		return
	}
	dep, err := rules.ParseDeployment(state.Deployment)
	dep.Part = state.Part
	if err != nil || dep.StatePath() != rules.StateRoot+"/"+fan+"/"+name {
		log.Warn("a state file is not where it belongs", "file", rules.StateRoot+"/"+fan+"/"+name)
		return
	}
	x.put(dep, state)
}

// put records a state that was read, or that a push of ours has made.
func (x *index) put(dep rules.Deployment, state rules.State) {
	environment := dep.PlaceName()
	fan, _, _ := strings.Cut(strings.TrimPrefix(dep.StatePath(), rules.StateRoot+"/"), "/")
	x.states[environment], x.where[environment] = state, fan
	if state.Removed {
		x.owners.Set(environment, "")
	} else {
		x.owners.Set(environment, state.Path)
	}
}

// treeAt gives the id of what stands at a path of the tree root, the zero Hash when there is nothing.
func treeAt(ctx context.Context, r git.TreeReader, root git.Hash, path string) (git.Hash, error) {
	e, err := git.Lookup(ctx, r, root, path)
	if errors.Is(err, git.ErrNotFound) {
		return git.ZeroHash, nil
	}
	return e.Hash, err
}

// readState gives the environment's state file in the tree root; nil when there is none.
func readState(ctx context.Context, r git.Reader, root git.Hash, dep rules.Deployment) (*rules.State, error) {
	h, err := treeAt(ctx, r, root, dep.StatePath())
	if err != nil || h.IsZero() {
		return nil, err
	}
	data, err := r.Blob(ctx, h)
	if err != nil {
		return nil, err
	}
	state, err := rules.DecodeState(data)
	if err != nil {
		return nil, errStateFile(dep.StatePath(), err)
	}
	return &state, nil
}

// countChanges gives the number of files that differ between two trees, either of which may be the zero Hash.
func countChanges(ctx context.Context, r git.Reader, a, b git.Hash) (int32, error) {
	if a == b {
		return 0, nil
	}
	before, err := entriesByName(ctx, r, a)
	if err != nil {
		return 0, err
	}
	after, err := entriesByName(ctx, r, b)
	if err != nil {
		return 0, err
	}
	var n int32
	count := func(was, is git.Entry) error {
		wasTree, isTree := git.ZeroHash, git.ZeroHash
		if was.IsDir() {
			wasTree = was.Hash
		}
		if is.IsDir() {
			isTree = is.Hash
		}
		if was != is && (!was.Hash.IsZero() && !was.IsDir() || !is.Hash.IsZero() && !is.IsDir()) {
			n++
		}
		below, err := countChanges(ctx, r, wasTree, isTree)
		n += below
		return err
	}
	for name, is := range after {
		if err := count(before[name], is); err != nil {
			return 0, err
		}
	}
	for name, was := range before {
		if _, ok := after[name]; !ok {
			if err := count(was, git.Entry{}); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func entriesByName(ctx context.Context, r git.Reader, h git.Hash) (map[string]git.Entry, error) {
	if h.IsZero() {
		return nil, nil
	}
	entries, err := r.Tree(ctx, h)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]git.Entry, len(entries))
	for _, e := range entries {
		byName[e.Name] = e
	}
	return byName, nil
}
