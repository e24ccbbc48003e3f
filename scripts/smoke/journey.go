package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names that the journey uses.
const (
	env    = "/v1/applications/shop/environments/dev"
	folder = "environments/dev/shop"
)

// journey is the walk, in order. Each step builds on those before it.
var journey = []step{
	{"start-cluster", startCluster},
	{"start-server", startServer},
	{"login", login},
	{"create-application-rest", createApplication},
	{"create-environment", createEnvironment},
	{"refuse-bad-input", refuseBadInput},
	{"deploy-example", deployExample},
	{"one-commit-in-git", oneCommit},
	{"objects-available", objectsAvailable},
	{"healthy-over-rest", healthyOverREST},
	{"change-one-variable", changeVariable},
	{"second-commit-one-file", secondCommit},
	{"edit-with-kubectl", editWithKubectl},
	{"drift-named", driftNamed},
	{"drift-event", driftEvent},
	{"revert", revert},
	{"rollback-same-tree", rollback},
	{"restart-keeps-everything", restart},
	{"edit-while-down-is-found", foundAfterRestart},
	{"deploy-after-restart", deployAfterRestart},
	{"delete-leaves-nothing", deleteEnvironment},
}

func startCluster(ctx context.Context, w *world) error {
	ready := w.path("cluster.ready")
	var err error
	w.cluster, err = w.start(ctx, "cluster", ready, "devcluster", "up", "--dir", w.path("cluster"), "--ready-file", ready, "--exit-on-stdin-eof")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(ready)
	w.kubeconfig = strings.TrimSpace(string(b))
	return err
}

func startServer(ctx context.Context, w *world) error {
	ready := w.path("towpathd.ready")
	var err error
	w.server, err = w.start(ctx, "towpathd", ready, "towpathd", "serve", "--data-dir", w.path("data"), "--kubeconfig", w.kubeconfig,
		"--ready-file", ready, "--grpc-listen", w.grpc, "--http-listen", w.rest, "--nats-listen", w.nats)
	return err
}

func login(ctx context.Context, w *world) error {
	file := filepath.Join(w.path("data"), "admin-token")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	w.token = strings.TrimSpace(string(b))
	if _, err := w.tow(ctx, "login", "--server", w.grpc, "--token-file", file); err != nil {
		return err
	}
	info, err := os.Stat(w.path("tow.yaml"))
	if err != nil {
		return err
	}
	return equal("the mode of the file with the token", info.Mode().Perm(), 0o600)
}

func createApplication(ctx context.Context, w *world) error {
	var app struct{ Name, Owner string }
	code, err := w.request(ctx, "/v1/applications?application_id=shop", `{"owner":"teams/shop"}`, &app)
	return errors.Join(err, equal("the status", code, http.StatusOK), equal("the name", app.Name, "applications/shop"), equal("the owner", app.Owner, "teams/shop"))
}

func createEnvironment(ctx context.Context, w *world) error {
	_, err := w.tow(ctx, "env", "create", "shop/dev", "--type", "development")
	return err
}

// refuseBadInput tries what people do wrong: a typed error that names the place, and an exit code that scripts can rely on.
func refuseBadInput(ctx context.Context, w *world) error {
	bad := w.path("bad.score.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: score.dev/v1b1\nmetadata: {name: bad}\ncontainers:\n  main: {image: 7}\n"), 0o600); err != nil {
		return err
	}
	for _, c := range []struct {
		says string
		code int
		args []string
	}{
		{"4:17", 1, []string{"deploy", "-e", "shop/dev", "-f", bad}},
		{"--help", 2, []string{"deploy", "--no-such-flag"}},
		{"nowhere", 5, []string{"status", "-e", "shop/nowhere"}},
		{"exist", 7, []string{"env", "create", "shop/dev", "--type", "development"}},
	} {
		a, err := w.program(ctx, w.bin("tow"), c.args...)
		if err != nil {
			return err
		}
		if a.code != c.code || !strings.Contains(a.err, c.says) {
			return fmt.Errorf("tow %s: exit code %d and %q, expected %d and a text with %q", strings.Join(c.args, " "), a.code, a.err, c.code, c.says)
		}
	}
	var failure status
	code, err := w.request(ctx, "/v1/applications?application_id=No_Good", "{}", &failure)
	if err != nil {
		return err
	}
	return errors.Join(equal("the status", code, http.StatusBadRequest), equal("the reason", failure.reason(), "INVALID_FIELD"),
		equal("the field", failure.field(), "application_id"))
}

// deployExample deploys the example as its README says; the environment's variable comes with it.
func deployExample(ctx context.Context, w *world) error {
	var d deployment
	err := w.towJSON(ctx, &d, "deploy", "-e", "shop/dev", "-m", "the example", "--variable", "CURRENCY=EUR", "--wait",
		"-f", "examples/shop")
	if err != nil {
		return err
	}
	w.first, w.tree = d.Commit, d.Tree
	return errors.Join(equal("the state", d.State, "STATE_HEALTHY"), equal("the number", d.Generation, "1"))
}

func oneCommit(ctx context.Context, w *world) error {
	url := "http://tow:" + w.token + "@" + w.rest + "/git/deployments.git"
	if _, err := w.must(ctx, "git", "clone", "--quiet", url, w.path("clone")); err != nil {
		return err
	}
	commits, err := w.git(ctx, "log", "--format=%H")
	if err != nil {
		return err
	}
	if err := equal("the list of commits", commits, w.first); err != nil {
		return err
	}
	trailers, err := w.git(ctx, "log", "-1", "--format=%(trailers:only,unfold)")
	if err != nil {
		return err
	}
	for _, want := range []string{
		"Towpath-Deployment: applications/shop/environments/dev/deployments/1", "Towpath-Application: shop", "Towpath-Environment: dev",
		"Towpath-Generation: 1", "Towpath-Set: sets/", "Towpath-Actor: tokens/bootstrap-admin",
	} {
		if !strings.Contains(trailers, want) {
			return fmt.Errorf("the commit has no trailer %q but %q", want, trailers)
		}
	}
	tree, err := w.git(ctx, "rev-parse", "HEAD:"+folder)
	return errors.Join(err, equal("the folder's tree", tree, w.tree))
}

func objectsAvailable(ctx context.Context, w *world) error {
	for _, object := range []string{"deployment/api", "deployment/web", "deployment/worker", "statefulset/postgres-shop-db", "statefulset/amqp-shop-jobs"} {
		if _, err := w.kubectl(ctx, "rollout", "status", object, "--timeout=20s"); err != nil {
			return err
		}
	}
	_, err := w.kubectl(ctx, "wait", "--for=condition=Available", "--timeout=20s", "deployment", "--all")
	return err
}

func healthyOverREST(ctx context.Context, w *world) error {
	var e environment
	if err := w.get(ctx, env, &e); err != nil {
		return err
	}
	return errors.Join(equal("health", e.Live.Health, "HEALTH_HEALTHY"), equal("sync", e.Live.Sync, "SYNC_STATE_SYNCED"),
		equal("the deployment that runs", e.ActiveDeployment, "applications/shop/environments/dev/deployments/1"))
}

func changeVariable(ctx context.Context, w *world) error {
	var d deployment
	if err := w.towJSON(ctx, &d, "set", "LOG_LEVEL=debug", "-e", "shop/dev", "-w", "api", "--wait"); err != nil {
		return err
	}
	w.second = d.Commit
	value, err := w.kubectl(ctx, "get", "deployment", "api", "-o", `jsonpath={.spec.template.spec.containers[0].env[?(@.name=="LOG_LEVEL")].value}`)
	return errors.Join(err, equal("the state", d.State, "STATE_HEALTHY"), equal("LOG_LEVEL in the cluster", value, "debug"))
}

func secondCommit(ctx context.Context, w *world) error {
	if _, err := w.git(ctx, "pull", "--quiet", "--ff-only"); err != nil {
		return err
	}
	commits, err := w.git(ctx, "log", "--format=%H")
	if err != nil {
		return err
	}
	if err := equal("the list of commits", commits, w.second+"\n"+w.first); err != nil {
		return err
	}
	text, err := w.git(ctx, "diff", "--name-status", w.first, w.second)
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	inState := func(line string) bool { return strings.HasPrefix(line, "M\t.towpath/state/") }
	if len(lines) != 2 || !slices.ContainsFunc(lines, inState) || !slices.Contains(lines, "M\t"+folder+"/deployment-api.yaml") {
		return fmt.Errorf("the second commit changes not just the api's manifest and the state file, but %q", lines)
	}
	return nil
}
