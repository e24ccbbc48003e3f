package render

import (
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Claims makes the claims of an environment alone: the objects whose outputs the cluster has to say before the rest can be made. A
// claim that needs the outputs of another one is left out until those are known.
func Claims(input *rendererv1.RenderInput) (*rendererv1.RenderResponse, error) {
	return render(input, Options{}, true)
}

// claims are what a rendering knows of its claims.
type claims struct {
	refs []*rendererv1.ClaimRef
	// missing are uids of claims whose outputs are not known, blocked those of resources that cannot be made for want of them.
	missing []string
	blocked map[string]bool
}

// take notes the claim that a resource is. Its object is the last one of the bundle.
func (c *claims) take(made definition.Result, res *resource, f *files) {
	if made.Claim == nil {
		return
	}
	made.Claim.Object = f.objects[len(f.objects)-1]
	c.refs = append(c.refs, made.Claim)
	if made.Missing {
		c.missing = append(c.missing, res.uid)
		c.block(res.uid)
	}
}

func (c *claims) block(uid string) {
	if c.blocked == nil {
		c.blocked = map[string]bool{}
	}
	c.blocked[uid] = true
}

// blocks reports whether a resource waits for outputs of others, and then lets those that need it wait too.
func (r *run) blocks(res *resource) bool {
	if len(r.claims.blocked) == 0 || !slices.ContainsFunc(r.graph.needs(res), func(uid string) bool { return r.claims.blocked[uid] }) {
		return false
	}
	r.claims.block(res.uid)
	return true
}

// pending reports whether a resource has not been made at all, so that nobody can say which outputs it will have.
func (r *run) pending(res *resource) bool { return res.outputs == nil && r.claims.blocked[res.uid] }

func (c *claims) sort() {
	slices.Sort(c.missing)
	slices.SortFunc(c.refs, func(a, b *rendererv1.ClaimRef) int { return strings.Compare(a.GetResource(), b.GetResource()) })
}

// err is REASON_OUTPUTS_MISSING when outputs are missing.
func (c *claims) err() error {
	if len(c.missing) == 0 {
		return nil
	}
	all := strings.Join(c.missing, ",")
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_OUTPUTS_MISSING,
		"the outputs of %s are not known yet; they come from the cluster when it has made what the claims ask for", strings.Join(c.missing, ", ")).With("resources", all)
}
