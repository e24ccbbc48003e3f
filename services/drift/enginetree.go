package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// arrived reports whether commits hold what the deployment wants at all of its places.
func (e *environment) arrived(ctx context.Context, want *eventsv1.DesiredState, revisions []string) (bool, error) {
	places, err := e.svc.enginePlaces(want)
	if err != nil || len(revisions) != len(places) || len(places) == 0 {
		return false, err
	}
	for i, p := range places {
		tree, err := e.treeAt(ctx, p.repository, revisions[i], p.path)
		if err != nil || tree != p.tree {
			return false, err
		}
	}
	return true, nil
}

// passedBy ends a deployment that a later one has overtaken in the engine: it went through the cluster, or was left out on the way, and
// what is there now is the later one's, whose desired state is to come. It is told once.
func (e *environment) passedBy(ctx context.Context, want *eventsv1.DesiredState, revisions []string) (bool, error) {
	places, err := e.svc.enginePlaces(want)
	if err != nil || len(revisions) != len(places) || len(places) == 0 {
		return false, err
	}
	for i, p := range places {
		later, err := e.overtaken(ctx, want, p, revisions[i])
		if err != nil || !later {
			return false, err
		}
	}
	e.mu.Lock()
	since, told := e.engine.since, e.engine.passed == want.GetGeneration()
	e.engine.passed = want.GetGeneration()
	e.mu.Unlock()
	if !told {
		e.log.Info("the engine has synced a later deployment", "generation", want.GetGeneration())
		e.announceSynced(want, since, e.svc.cfg.Now(), counts{})
	}
	return true, nil
}

// treeAt asks the committer what stands at a path of a commit. The answer never changes, so it is asked once.
func (e *environment) treeAt(ctx context.Context, r *committerv1.RepositoryRef, commit, at string) (string, error) {
	key := r.GetUrl() + "\x00" + commit + "\x00" + at
	e.mu.Lock()
	tree, ok := e.engine.trees[key]
	e.mu.Unlock()
	if ok {
		return tree, nil
	}
	t, err := e.readAt(ctx, r, commit, at, true)
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	e.engine.trees[key] = t.GetTree()
	e.mu.Unlock()
	return t.GetTree(), nil
}

func (e *environment) readAt(ctx context.Context, r *committerv1.RepositoryRef, commit, at string, namesOnly bool) (*committerv1.Tree, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := e.svc.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: r, Commit: commit, Path: at, NamesOnly: namesOnly})
	if err = rpc.FromStatus(err); errs.Is(err, errs.NotFound) {
		return &committerv1.Tree{}, nil // a commit that Git no longer has holds nothing that is wanted
	}
	if err != nil {
		return nil, fmt.Errorf("read the commit that the engine has synced from Git: %w", err)
	}
	return t, nil
}

// overtaken reports whether a commit's state file tells of a later deployment than the wanted one.
func (e *environment) overtaken(ctx context.Context, want *eventsv1.DesiredState, p enginePlace, commit string) (bool, error) {
	file := statePath(want.GetEnvironment(), p.part)
	t, err := e.readAt(ctx, p.repository, commit, path.Dir(file), false)
	if err != nil {
		return false, err
	}
	for _, f := range t.GetFiles() {
		if f.GetPath() != path.Base(file) {
			continue
		}
		var s struct {
			Generation int64 `json:"generation"`
			Claims     bool  `json:"claims"`
		}
		return json.Unmarshal(f.GetContent(), &s) == nil && s.Generation > want.GetGeneration() && !s.Claims, nil
	}
	return false, nil
}

// statePath is where the committer keeps an environment's state file (docs/repositories.md).
func statePath(environment, part string) string {
	parts := strings.Split(environment, "/")
	sum := sha256.Sum256([]byte(parts[1] + "/" + parts[3]))
	file := ".towpath/state/" + hex.EncodeToString(sum[:1]) + "/" + parts[1] + "/" + parts[3]
	if part != "" {
		file += "@" + part
	}
	return file
}
