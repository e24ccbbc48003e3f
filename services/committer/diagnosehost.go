package committer

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

func fingerprints(login git.SSHLogin) string {
	var all []string
	for _, s := range login.Signers {
		all = append(all, ssh.FingerprintSHA256(s.PublicKey()))
	}
	return strings.Join(all, ", ")
}

// checkEmbedded looks at a repository that this process keeps.
func (x *examination) checkEmbedded(ctx context.Context) {
	repos := x.svc.cfg.Repos
	if repos == nil {
		x.fail(stepConnect, "this committer keeps no embedded repositories", "give the repository the address of a Git host, or start towpathd with a data folder")
		return
	}
	exists, err := repos.Writable(x.embedded)
	x.ok(stepConnect, "towpathd keeps it itself")
	if err != nil {
		x.fail(stepPush, errs.Message(err), "make room on the disk of towpathd's data folder, and let its user write there")
	} else {
		x.ok(stepPush, "its disk can be written")
	}
	if !exists {
		x.ok(stepRead, "it does not exist yet; the first deployment makes it")
		x.skip(stepBranch, "there is no repository yet; the first deployment makes it, with the branch")
		x.skip(stepOwners, "there is nothing yet")
		return
	}
	x.checkRead(ctx, true)
}

// checkHost asks the host: whether it answers, lets us in, lets us read and would let us push.
func (x *examination) checkHost(ctx context.Context, login bool) {
	if !login {
		if strings.HasPrefix(repositoryKey(x.ref.GetUrl()), "ssh://") {
			return // not even its key can be checked
		}
		x.checkRead(ctx, false)
		return
	}
	if !x.checkRead(ctx, true) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	err := git.MayPush(ctx, x.remote)
	what, words, refused := refusalOf(err)
	switch {
	case err == nil:
		x.ok(stepPush, "the host would take a push")
	case refused && what == rules.RefusedCredentials && x.ref.GetCredentials() == "":
		x.fail(stepPush, "everybody may read, and nobody may push without credentials", "name credentials with write access: "+x.update("--credentials ..."))
	case refused:
		x.fail(stepPush, "the host says: "+words, what.Remedy())
	default:
		finding, remedy := x.failure(ctx, err)
		x.fail(stepPush, finding, remedy)
	}
}

// checkRead reads the branch's tip, as a deployment does. Without login it only finds out whether the host answers.
func (x *examination) checkRead(ctx context.Context, login bool) bool {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	ref := x.ref
	if !login {
		ref = &committerv1.RepositoryRef{Name: ref.GetName(), Url: ref.GetUrl(), Branch: ref.GetBranch()}
	}
	var err error
	if x.remote, err = x.svc.open(ctx, ref, "doctor", git.Hooks{}); err == nil {
		x.tip, err = x.remote.Fetch(ctx, ref.GetBranch())
	}
	if x.embedded == "" && !x.reached(ctx, err) || !login {
		return false
	}
	if err != nil {
		x.unread(ctx, err)
		return false
	}
	x.ok(stepRead, "it can be read")
	switch {
	case x.tip.IsZero():
		x.warn(stepBranch, "there is no branch "+ref.GetBranch()+" yet; the first deployment makes it", "nothing, unless its name is wrong: then correct branch of the repository")
	default:
		x.ok(stepBranch, "%s is at %s", ref.GetBranch(), x.tip.String()[:12])
		x.checkOwners(ctx)
	}
	return true
}

// reached tells what the first answer of the host says about the way to it.
func (x *examination) reached(ctx context.Context, err error) bool {
	var key *git.HostKeyError
	switch {
	case errors.As(err, &key):
		finding, remedy := say(err)
		x.fail(stepConnect, finding, remedy)
		return false
	case err == nil, git.Answered(err), errs.Is(err, errs.Unauthenticated), errs.Is(err, errs.Denied), errs.Is(err, errs.NotFound), errs.Is(err, errs.Invalid):
		x.ok(stepConnect, "it answers")
		return true
	}
	finding, remedy := x.failure(ctx, err)
	x.fail(stepConnect, finding, remedy)
	return false
}

// unread tells why a host that answers could not be read.
func (x *examination) unread(ctx context.Context, err error) {
	what, words, refused := refusalOf(err)
	switch {
	case refused:
		x.hostRefused(stepRead, what, words)
	case errs.Is(err, errs.Unauthenticated): // over SSH, with the key's fingerprint
		finding, remedy := say(err)
		x.fail(stepCredentials, finding, remedy)
	case errs.Is(err, errs.Denied):
		finding, _ := say(err)
		x.fail(stepRead, finding, rules.RefusedRepository.Remedy())
	case git.NotGit(err):
		x.fail(stepRead, "what answers at the URL is no Git repository", "give the clone URL as the host shows it; often its path ends in .git")
	default:
		finding, remedy := x.failure(ctx, err)
		x.fail(stepRead, finding, remedy)
	}
}

// failure says what went wrong where no host said no.
func (x *examination) failure(ctx context.Context, err error) (finding, remedy string) {
	if finding, remedy = onTheWay(err); finding != "" {
		return finding, remedy
	}
	finding, remedy = say(hostError(ctx, x.ref.GetBranch(), err, x.svc.credentials.secrets(x.ref.GetCredentials())))
	var e *errs.Error
	if remedy == "" && errors.As(err, &e) && e.Err != nil {
		finding += ": " + e.Err.Error()
	}
	return finding, orDefault(remedy, "look at the host; if it is well, at the committer's log")
}

// checkOwners compares the folders that Towpath owns with what it wrote.
func (x *examination) checkOwners(ctx context.Context) {
	c, err := x.remote.Commit(ctx, x.tip)
	damaged := &noted{}
	states := newIndex()
	if err == nil {
		err = states.refresh(ctx, x.remote, c.Tree, slog.New(damaged))
	}
	var changed []string
	find := folderFinder(ctx, x.remote, c.Tree)
	for place, state := range states.states {
		if err != nil || state.Removed {
			continue
		}
		var found git.Hash
		if found, err = find(state.Path); err == nil && rules.IsForeign(state, treeText(found)) && !rules.Allows(state, treeText(found)) {
			changed = append(changed, strings.TrimPrefix(strings.Replace(rules.EnvironmentOf(place), "/environments/", "/", 1), "applications/"))
		}
	}
	switch {
	case err != nil:
		finding, remedy := x.failure(ctx, err)
		x.warn(stepOwners, "the state files could not be read: "+finding, remedy)
	case len(damaged.files) > 0:
		x.warn(stepOwners, "nobody can read "+someOf(damaged.files), "restore these files from the branch's history; deployments of their environments find what stands in Git from there")
	case len(changed) > 0:
		x.warn(stepOwners, "somebody else changed the folders of "+someOf(changed), "look at it with tow foreign list, and decide with tow foreign adopt, overwrite or restore")
	default:
		x.ok(stepOwners, "%s", plural(len(states.states), "environment", "environments")+" of Towpath, all as written")
	}
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

// someOf names the first few.
func someOf(all []string) string {
	const most = 5
	all = sortedUnique(all)
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:most], ", ") + " and " + strconv.Itoa(len(all)-most) + " more"
}

// noted is a log handler that keeps the files that an index tells of.
type noted struct {
	mu    sync.Mutex
	files []string
}

// Enabled takes what an operator should see.
func (n *noted) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle keeps the file.
func (n *noted) Handle(_ context.Context, r slog.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "file" {
			n.files = append(n.files, a.Value.String())
		}
		return true
	})
	return nil
}

// WithAttrs changes nothing.
func (n *noted) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup changes nothing.
func (n *noted) WithGroup(string) slog.Handler { return n }
