package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Lengths of ids, in bytes. Application and environment are shorter, because names of objects in the cluster are made of both.
const (
	MaxAppID = 40
	MaxID    = 63
)

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)

// CheckID checks the last part of a resource name: lower-case letters, digits and hyphens, beginning with a letter and not
// ending with a hyphen, 2 to maxLen long. The error names the field.
func CheckID(field, id string, maxLen int) error {
	switch {
	case id == "":
		return errs.InvalidField(field, "is empty; give an id such as \"shop\"")
	case len(id) > maxLen:
		return errs.InvalidField(field, "has %d characters; use at most %d", len(id), maxLen)
	case !idPattern.MatchString(id):
		return errs.InvalidField(field, "%q is no id; use 2 to %d lower-case letters, digits and hyphens, beginning with a letter", id, maxLen)
	}
	return nil
}

// CheckNamespace checks that a namespace is a DNS label, as Kubernetes asks.
func CheckNamespace(field, ns string) error {
	if len(ns) > MaxID {
		return errs.InvalidField(field, "%q has %d characters and a namespace at most %d; give a shorter one in environment.namespace", ns, len(ns), MaxID)
	}
	if !idPattern.MatchString(ns) {
		return errs.InvalidField(field, "%q is no namespace; use lower-case letters, digits and hyphens, beginning with a letter", ns)
	}
	return nil
}

// Env is an environment's place: the ids of its application and itself.
type Env struct{ App, ID string }

// Name gives applications/{application}/environments/{environment}.
func (e Env) Name() string { return "applications/" + e.App + "/environments/" + e.ID }

// Deployment gives the name of the environment's deployment of that generation.
func (e Env) Deployment(generation int64) string {
	return e.Name() + "/deployments/" + strconv.FormatInt(generation, 10)
}

// ParseName takes a name of one collection apart, such as applications/shop, and checks the id.
func ParseName(field, collection, name string) (id string, err error) {
	id, ok := strings.CutPrefix(name, collection+"/")
	if !ok || !idPattern.MatchString(id) || len(id) > MaxID {
		return "", badName(field, name, collection+"/{id}")
	}
	return id, nil
}

// ParseEnv takes an environment's name apart.
func ParseEnv(field, name string) (Env, error) {
	p := strings.Split(name, "/")
	if len(p) != 4 || p[0] != "applications" || p[2] != "environments" || !isAppID(p[1]) || !isAppID(p[3]) {
		return Env{}, badName(field, name, "applications/{application}/environments/{environment}")
	}
	return Env{App: p[1], ID: p[3]}, nil
}

// ParseDeployment takes a deployment's name apart. The last part is its number, or the word "latest" or "active" as it stands.
func ParseDeployment(field, name string) (Env, string, error) {
	const form = "applications/{application}/environments/{environment}/deployments/{number}"
	env, number, ok := strings.Cut(name, "/deployments/")
	if !ok {
		return Env{}, "", badName(field, name, form)
	}
	e, err := ParseEnv(field, env)
	if err != nil {
		return Env{}, "", badName(field, name, form)
	}
	if number == "latest" || number == "active" {
		return e, number, nil
	}
	if _, ok := ParseGeneration(number); !ok {
		return Env{}, "", badName(field, name, form)
	}
	return e, number, nil
}

// ParseGeneration reads a deployment's number: decimal, from 1, without leading zeros, so that a deployment has one name only.
func ParseGeneration(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}

// EnvOfDeployment gives environment and generation of a deployment's full name; false when it is none.
func EnvOfDeployment(name string) (Env, int64, bool) {
	e, number, err := ParseDeployment("", name)
	if err != nil {
		return Env{}, 0, false
	}
	n, ok := ParseGeneration(number)
	return e, n, ok
}

func isAppID(s string) bool { return len(s) <= MaxAppID && idPattern.MatchString(s) }

func badName(field, name, form string) error {
	if name == "" {
		return errs.InvalidField(field, "is empty; give %s", form)
	}
	return errs.InvalidField(field, "%s is not a name of the form %s", quote(name), form)
}

// quote shortens what a caller sent before it is shown again.
func quote(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
