package drift

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// maxActors bounds the clients that a cluster keeps. They share their connections, so one that was dropped is cheap to make again.
const maxActors = 256

// actors are clients that act as ServiceAccounts, the last used ones last.
type actors struct {
	config *rest.Config

	mu     sync.Mutex
	byUser map[string]dynamic.Interface
	order  []string
}

func newActors(config *rest.Config) *actors {
	return &actors{config: rest.CopyConfig(config), byUser: map[string]dynamic.Interface{}}
}

// as gives the client that acts as an account.
func (a *actors) as(account syncpolicy.Account) (dynamic.Interface, error) {
	user := account.User()
	a.mu.Lock()
	defer a.mu.Unlock()
	if d := a.byUser[user]; d != nil {
		a.order = append(slices.DeleteFunc(a.order, func(u string) bool { return u == user }), user)
		return d, nil
	}
	cfg := rest.CopyConfig(a.config)
	// The API server adds the groups that every ServiceAccount has.
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("act as %s: %w", user, err)
	}
	if len(a.order) == maxActors {
		delete(a.byUser, a.order[0])
		a.order = a.order[1:]
	}
	a.byUser[user], a.order = d, append(a.order, user)
	return d, nil
}

// writer gives the client by which manifests of the environment are applied and removed: the one that acts as the ServiceAccount of
// its policy, or Towpath's own. What Towpath keeps for itself, and looking, always go by Towpath's own rights.
func (e *environment) writer(c *cluster) (dynamic.Interface, error) {
	account, err := e.account()
	if err != nil {
		return nil, err
	}
	if account == (syncpolicy.Account{}) {
		return c.dyn, nil
	}
	return c.actors.as(account)
}

// account is the ServiceAccount that the environment's policy names.
func (e *environment) account() (syncpolicy.Account, error) {
	e.mu.Lock()
	template := e.policy().sync.GetServiceAccount()
	d := e.desired
	if d == nil {
		d = e.claims.want
	}
	e.mu.Unlock()
	parts := strings.Split(e.name, "/")
	account, err := syncpolicy.ServiceAccount(template, d.GetNamespace(), syncpolicy.Names{
		Application: parts[1], Environment: parts[3], EnvironmentType: strings.TrimPrefix(d.GetEnvironmentType(), "environmentTypes/"),
	})
	if err != nil {
		return account, errs.New(errs.Precondition, errorsv1.Reason_REASON_RIGHT_MISSING, "sync_policy.service_account: %s", err)
	}
	return account, nil
}

// cannot is how every API server words that RBAC gives no such right. Refusals of admission, such as a quota's, are forbidden too and
// are worded otherwise.
var cannot = regexp.MustCompile(`User "([^"]*)" cannot ([a-z*]+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?`)

// rightMissing names the right that a refusal is about, nil when it is about something else.
func rightMissing(err error, what string) *errs.Error {
	var st apierrors.APIStatus
	if !apierrors.IsForbidden(err) || !errors.As(err, &st) {
		return nil
	}
	m := cannot.FindStringSubmatch(st.Status().Message)
	if m == nil {
		return nil
	}
	user, verb, namespace := m[1], m[2], m[5]
	resource := schema.GroupResource{Group: m[4], Resource: m[3]}.String()
	where := "in namespace " + namespace
	if namespace == "" {
		where = "in the whole cluster"
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_RIGHT_MISSING,
		"%s may not %s %s %s (to %s); give it the right, for example: %s", who(user), verb, resource, where, what, grant(user, verb, resource, namespace)).
		With("verb", verb).With("resource", resource).With("namespace", namespace).With("user", user).Because(err)
}

const serviceAccountPrefix = "system:serviceaccount:"

func who(user string) string {
	if account, ok := strings.CutPrefix(user, serviceAccountPrefix); ok {
		return "ServiceAccount " + strings.Replace(account, ":", "/", 1)
	}
	return "Towpath's user " + user
}

// grant is what gives the right. An apply needs more than the verb that was refused first, so it is given with what belongs to it.
func grant(user, verb, resource, namespace string) string {
	if slices.Contains([]string{"get", "create", "patch", "delete"}, verb) {
		verb = "get,create,patch,delete"
	}
	subject, name := "--user="+user, "towpath"
	if account, ok := strings.CutPrefix(user, serviceAccountPrefix); ok {
		subject = "--serviceaccount=" + account
		name = "towpath-" + account[strings.LastIndex(account, ":")+1:]
	}
	kind, binding, ref, in := "role", "rolebinding", "--role=", " -n "+namespace
	if namespace == "" {
		kind, binding, ref, in = "clusterrole", "clusterrolebinding", "--clusterrole=", ""
	}
	name += "-" + strings.ReplaceAll(resource, ".", "-")
	return fmt.Sprintf("kubectl create %s %s%s --verb=%s --resource=%s && kubectl create %s %s%s %s%s %s",
		kind, name, in, verb, resource, binding, name, in, ref, name, subject)
}

// withoutSecret withholds an API server's message about a Secret when one of its values is in it: an admission webhook may repeat what
// it was given. The error is the same otherwise, also for those who ask what it is.
func withoutSecret(u *unstructured.Unstructured, err error) error {
	if err == nil || u.GetKind() != "Secret" || !showsValue(u, err.Error()) {
		return err
	}
	var st *apierrors.StatusError
	if !errors.As(err, &st) {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"Secret %s was not taken; the message is not shown because it has a value of the Secret in it", u.GetName())
	}
	out := st.ErrStatus
	out.Message = fmt.Sprintf("Secret %q was refused (%s); the cluster's message is not shown because it has a value of the Secret in it",
		u.GetName(), out.Reason)
	if out.Details != nil {
		out.Details = out.Details.DeepCopy()
		for i := range out.Details.Causes {
			out.Details.Causes[i].Message = ""
		}
	}
	return &apierrors.StatusError{ErrStatus: out}
}

// showsValue reports whether a text has a value of a Secret in it, as it is or encoded.
func showsValue(u *unstructured.Unstructured, text string) bool {
	plain, _, _ := unstructured.NestedMap(u.Object, "stringData")
	encoded, _, _ := unstructured.NestedMap(u.Object, "data")
	for _, v := range plain {
		if s := fmt.Sprint(v); s != "" && strings.Contains(text, s) {
			return true
		}
	}
	for _, v := range encoded {
		s, _ := v.(string)
		if s != "" && (strings.Contains(text, s) || strings.Contains(text, decoded(s))) {
			return true
		}
	}
	return false
}

// decoded gives a value as it is in files; what is no base64 gives a text that nothing has in it.
func decoded(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return s
	}
	return string(b)
}
