package drift

import (
	"cmp"
	"slices"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// account is a ServiceAccount; without a namespace it is in the one where the engine looks for it.
type account struct{ namespace, name string }

// engineAccount is the ServiceAccount that the engine is to act as; none when the policy names none.
func engineAccount(d *eventsv1.DesiredState, p policy) (account, error) {
	parts := strings.Split(d.GetEnvironment(), "/")
	s := strings.NewReplacer("{application}", parts[1], "{environment}", parts[3],
		"{environment_type}", strings.TrimPrefix(d.GetEnvironmentType(), "environmentTypes/")).Replace(p.sync.GetServiceAccount())
	if s == "" {
		return account{}, nil
	}
	ns, name, both := strings.Cut(s, "/")
	if !both {
		ns, name = "", s
	}
	if name == "" || strings.ContainsAny(name, "/{}") {
		return account{}, errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
			"sync_policy.service_account %q is no ServiceAccount; write name or namespace/name, with {application}, {environment} and {environment_type}", p.sync.GetServiceAccount())
	}
	return account{namespace: ns, name: name}, nil
}

func sortedKeys(keys []objectKey) []objectKey {
	out := slices.Clone(keys)
	slices.SortFunc(out, func(a, b objectKey) int {
		return cmp.Or(strings.Compare(a.group, b.group), strings.Compare(a.kind, b.kind), strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
	return slices.Compact(out)
}
