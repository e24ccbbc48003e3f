package cli

import (
	"strconv"
	"strings"
)

// The names of the API, and how people shorten them: shop, shop/dev, and a deployment by its number. Both forms are taken
// everywhere, so that what `-o name` prints can be given to another command.

const (
	applications     = "applications"
	environments     = "environments"
	deployments      = "deployments"
	findings         = "findings"
	environmentTypes = "environmentTypes"
	targets          = "targets"
	repositories     = "repositories"
	tokens           = "tokens"
	roleBindings     = "roleBindings"
	policies         = "policies"
)

// anyEnvironment stands for all environments of all applications.
const anyEnvironment = "applications/-/environments/-"

// nameIn gives a function that makes the full name of an id in a collection.
func nameIn(collection, what string) func(string) (string, error) {
	return func(arg string) (string, error) {
		id := strings.TrimPrefix(arg, collection+"/")
		if id == "" || strings.Contains(id, "/") {
			return "", usagef("%q is no id of %s; give one such as %s", arg, what, exampleIDs[collection])
		}
		return collection + "/" + id, nil
	}
}

var exampleIDs = map[string]string{
	applications: "shop", environmentTypes: "development", targets: "default", repositories: "default", tokens: "ci",
	roleBindings: "checkout", policies: "production",
}

// orEmpty lets an empty argument through: a flag that was not given.
func orEmpty(name func(string) (string, error)) func(string) (string, error) {
	return func(arg string) (string, error) {
		if arg == "" {
			return "", nil
		}
		return name(arg)
	}
}

var (
	appName    = nameIn(applications, "an application")
	typeName   = nameIn(environmentTypes, "an environment type")
	targetName = nameIn(targets, "a target")
	repoName   = nameIn(repositories, "a repository")
	tokenName  = nameIn(tokens, "a token")

	bindingName = nameIn(roleBindings, "a role binding")
	policyName  = nameIn(policies, "a policy")
)

// envName makes an environment's full name of shop/dev.
func envName(arg string) (string, error) {
	p := strings.Split(arg, "/")
	if len(p) == 4 && p[0] == applications && p[2] == environments {
		p = []string{p[1], p[3]}
	}
	if len(p) != 2 || p[0] == "" || p[1] == "" {
		return "", usagef("%q is no environment; give application and environment such as shop/dev", arg)
	}
	return applications + "/" + p[0] + "/" + environments + "/" + p[1], nil
}

// envFlag is envName for the flag --env, which a command cannot do without.
func envFlag(arg string) (string, error) {
	if arg == "" {
		return "", usagef("which environment? give -e, such as -e shop/dev")
	}
	return envName(arg)
}

// deploymentName makes the full name of an environment's deployment, of its number, "latest" or "active".
func deploymentName(env, arg string) (string, error) {
	if arg == "latest" || arg == "active" {
		return env + "/" + deployments + "/" + arg, nil
	}
	number := strings.TrimPrefix(strings.TrimPrefix(arg, env+"/"+deployments+"/"), "#")
	if n, err := strconv.ParseInt(number, 10, 64); err != nil || n < 1 {
		return "", usagef("%q is no deployment; give its number as in `tow history -e %s`, or latest or active", arg, short(env))
	}
	return env + "/" + deployments + "/" + number, nil
}

// findingName makes the full name of a finding of an environment, or of one that is named in full.
func findingName(env, arg string) (string, error) {
	if strings.HasPrefix(arg, applications+"/") && strings.Contains(arg, "/"+findings+"/") {
		return arg, nil
	}
	if env == "" {
		return "", usagef("which environment is finding %q of? give -e, such as -e shop/dev", arg)
	}
	name, err := envName(env)
	if err != nil {
		return "", err
	}
	if arg == "" || strings.Contains(arg, "/") {
		return "", usagef("%q is no finding; give an id as in `tow drift list -e %s`", arg, short(name))
	}
	return name + "/" + findings + "/" + arg, nil
}

// envOf gives the environment that a resource belongs to.
func envOf(name string) string {
	p := strings.SplitN(name, "/", 5)
	if len(p) < 4 {
		return name
	}
	return strings.Join(p[:4], "/")
}

// last gives the last part of a name: an id, a number.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// short gives a name as people write it: shop, shop/dev, "shop/dev #7".
func short(name string) string {
	p := strings.Split(name, "/")
	switch {
	case len(p) == 6 && p[4] == deployments:
		return p[1] + "/" + p[3] + " #" + p[5]
	case len(p) >= 4 && p[0] == applications:
		return strings.Join(append([]string{p[1], p[3]}, p[4:]...), "/")
	default:
		return last(name)
	}
}
