package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// WhoAmI tells whom the server takes the caller for. Another service of this installation asks it for its own callers, whose
// token it carries in a header of its own: so their mistakes are not counted as that service's.
func (a accessServer) WhoAmI(ctx context.Context, _ *catalogv1.WhoAmIRequest) (*catalogv1.WhoAmIResponse, error) {
	c, ok := auth.CallerFrom(ctx)
	if !ok {
		return nil, unauthenticated("the call carries no token; make one with `tow token create`, then `tow login`")
	}
	if carried := metadata.ValueFromIncomingContext(ctx, auth.CarriedTokenHeader); len(carried) > 0 && c.Subject == auth.ServiceSubject {
		var err error
		if c, err = a.s.Authenticator().Authenticate(ctx, carried[0]); err != nil {
			return nil, err
		}
	}
	out := &catalogv1.WhoAmIResponse{
		Subject: c.Subject, Role: c.Greatest().Proto(), Groups: c.Groups, DisplayName: c.DisplayName, Email: c.Email, Method: c.Method,
		ServerVersion: a.s.cfg.Version, PortalUrl: a.s.cfg.PublicURL,
	}
	if c.Role > auth.Nobody {
		out.Grants = append(out.Grants, &catalogv1.Grant{Role: c.Role.Proto()})
	}
	for _, g := range c.Grants {
		out.Grants = append(out.Grants, &catalogv1.Grant{Role: g.Role.Proto(), Scope: g.Scope})
	}
	return out, nil
}

// CheckAccess tells whether somebody may do something, and by which rule.
func (a accessServer) CheckAccess(ctx context.Context, r *catalogv1.CheckAccessRequest) (*catalogv1.CheckAccessResponse, error) {
	action := auth.Action(r.GetAction())
	if !slices.Contains(auth.Actions, action) {
		return nil, errs.InvalidField("action", "%q is no action; these are: %s", r.GetAction(), join(auth.Actions))
	}
	on, err := accessResource(r.GetResource())
	if err != nil {
		return nil, err
	}
	c, err := a.subject(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := a.s.Authorizer().Decide(ctx, c, action, on)
	if err != nil {
		return nil, err
	}
	return &catalogv1.CheckAccessResponse{Allowed: d.Allowed, Rules: d.Rules, Message: explain(c, d)}, nil
}

// ListAllowedActions tells what the caller may do to a resource.
func (a accessServer) ListAllowedActions(ctx context.Context, r *catalogv1.ListAllowedActionsRequest) (*catalogv1.ListAllowedActionsResponse, error) {
	on, err := accessResource(r.GetResource())
	if err != nil {
		return nil, err
	}
	c, _ := auth.CallerFrom(ctx)
	out := &catalogv1.ListAllowedActionsResponse{}
	for _, action := range auth.Actions {
		d, err := a.s.Authorizer().Decide(ctx, c, action, on)
		if err != nil {
			return nil, err
		}
		if d.Allowed {
			out.Actions = append(out.Actions, string(action))
		}
	}
	return out, nil
}

// accessResource reads the resource that a question about access names.
func accessResource(name string) (auth.Resource, error) {
	on := auth.ParseResource(name)
	if on.Kind == auth.Platform && !strings.HasSuffix(on.Name, "/-") && !knownPlatform(on.Name) {
		return on, errs.InvalidField("resource", "%q is no resource name; give one such as applications/shop/environments/dev, or none for everything", on.Name)
	}
	return on, nil
}

// knownPlatform reports whether a name that is about everything is one.
func knownPlatform(name string) bool {
	collection, id, _ := strings.Cut(name, "/")
	return name == "" || id != "" && slices.Contains([]string{"tokens", "roleBindings", "policies", "auditEvents", "sets"}, collection)
}

func join(actions []auth.Action) string {
	var out []string
	for _, a := range actions {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}

// subject gives whom the question is about. Others than oneself are for those who keep roles.
func (a accessServer) subject(ctx context.Context, r *catalogv1.CheckAccessRequest) (auth.Caller, error) {
	c, _ := auth.CallerFrom(ctx)
	if r.GetSubject() == "" || r.GetSubject() == c.Subject && len(r.GetGroups()) == 0 {
		if len(r.GetGroups()) > 0 {
			return c, errs.InvalidField("groups", "are yours already; give a subject to ask for somebody else")
		}
		return c, nil
	}
	d, err := a.s.Authorizer().Decide(ctx, c, auth.ManageAccess, auth.Everything)
	if err == nil {
		err = d.Err(c)
	}
	if err != nil {
		return c, err
	}
	if id, ok := strings.CutPrefix(r.GetSubject(), "tokens/"); ok {
		row, err := tokens.Get(ctx, a.s.cfg.KV, id)
		if errors.Is(err, store.ErrNotFound) {
			return c, errs.NotFoundf(r.GetSubject(), "see `tow token list`")
		}
		if err != nil {
			return c, err
		}
		return tokenCaller(row.Msg), nil
	}
	if strings.HasPrefix(r.GetSubject(), "groups/") {
		return c, errs.InvalidField("subject", "is a group; give somebody such as users/ada, and the group in groups")
	}
	if err := rules.CheckMembers("subject", []string{r.GetSubject()}); err != nil {
		return c, errs.InvalidField("subject", "%q is nobody; give users/{user}, tokens/{token} or serviceAccounts/{namespace}/{name}", r.GetSubject())
	}
	snap, err := a.s.accessNow(ctx)
	if err != nil {
		return c, err
	}
	return snap.caller(auth.Caller{Subject: r.GetSubject(), Groups: r.GetGroups()}), nil
}

// explain says a decision to a person.
func explain(c auth.Caller, d auth.Decision) string {
	on := d.Resource
	if on == "" {
		on = "everything"
	}
	switch {
	case d.Allowed:
		out := fmt.Sprintf("%s may %s on %s by %s", c.Subject, d.Action, on, strings.Join(d.Rules, ", "))
		if about := policy.About(d.Rules[0]); about != "" {
			out += ": " + about
		}
		return out
	case len(d.Rules) > 0:
		return fmt.Sprintf("%s may not %s on %s: %s forbids it", c.Subject, d.Action, on, strings.Join(d.Rules, ", "))
	}
	return fmt.Sprintf("%s may not %s on %s: no role and no policy permits it", c.Subject, d.Action, on)
}
