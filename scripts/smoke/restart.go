package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// restart stops the server as an operator would and starts it again with the same state. Meanwhile somebody edits the cluster.
func restart(ctx context.Context, w *world) error {
	history, err := w.tow(ctx, "history", "-e", "shop/dev", "-o", "json")
	if err != nil {
		return err
	}
	head, err := w.git(ctx, "ls-remote", "origin", "refs/heads/main")
	if err != nil {
		return err
	}
	if err := w.server.stop(); err != nil {
		return err
	}
	w.server = nil
	if code, err := w.request(ctx, env, "", &struct{}{}); err == nil {
		return fmt.Errorf("somebody answers after the server's stop: %d", code)
	}
	if err := w.addPort(ctx, 81); err != nil {
		return err
	}
	if err := startServer(ctx, w); err != nil {
		return err
	}
	// The login still holds, nothing is lost, and nothing was done twice.
	after, err := w.tow(ctx, "history", "-e", "shop/dev", "-o", "json")
	if err != nil {
		return err
	}
	if err := equal("the history after the restart", after, history); err != nil {
		return err
	}
	same, err := w.git(ctx, "ls-remote", "origin", "refs/heads/main")
	if err := errors.Join(err, equal("the branch after the restart", same, head)); err != nil {
		return err
	}
	return eventually(ctx, func() error {
		var e environment
		if err := w.get(ctx, env, &e); err != nil {
			return err
		}
		return errors.Join(equal("health", e.Live.Health, "HEALTH_HEALTHY"), equal("sync", e.Live.Sync, "SYNC_STATE_SYNCED"),
			equal("the deployment that runs", e.ActiveDeployment, "applications/shop/environments/dev/deployments/3"))
	})
}

func foundAfterRestart(ctx context.Context, w *world) error {
	return errors.Join(w.theFinding(ctx, "spec.ports[port=81]"), w.reverted(ctx))
}

func deployAfterRestart(ctx context.Context, w *world) error {
	var d deployment
	err := w.towJSON(ctx, &d, "set", "CURRENCY=CHF", "-e", "shop/dev", "--wait")
	return errors.Join(err, equal("the state", d.State, "STATE_HEALTHY"), equal("the number", d.Generation, "4"))
}

// keptOnPurpose are the kinds of objects that a removal leaves: data is nobody's to throw away by the way.
const keptOnPurpose = "persistentvolumeclaim"

func deleteEnvironment(ctx context.Context, w *world) error {
	var d deployment
	if err := w.towJSON(ctx, &d, "env", "delete", "shop/dev", "--wait", "--yes"); err != nil {
		return err
	}
	var failure status
	code, err := w.request(ctx, env, "", &failure)
	if err := errors.Join(err, equal("the status of the environment", code, http.StatusNotFound), equal("the reason", failure.reason(), "NOT_FOUND")); err != nil {
		return err
	}
	if _, err := w.git(ctx, "pull", "--quiet", "--ff-only"); err != nil {
		return err
	}
	files, err := w.git(ctx, "ls-tree", "-r", "--name-only", "HEAD", "environments")
	if err := errors.Join(err, equal("what Git has left of it", files, "")); err != nil {
		return err
	}
	return eventually(ctx, func() error { return w.nothingLeft(ctx) })
}

// nothingLeft looks at all kinds that the example has. Pods take a moment to end after what owned them is gone.
func (w *world) nothingLeft(ctx context.Context) error {
	out, err := w.kubectl(ctx, "get", "deployment,statefulset,cronjob,replicaset,pod,service,ingress,secret,configmap,"+keptOnPurpose, "-o", "json")
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	for _, o := range list.Items {
		// Kubernetes itself puts this one into every namespace.
		if o.Kind == "ConfigMap" && o.Metadata.Name == "kube-root-ca.crt" || strings.EqualFold(o.Kind, keptOnPurpose) {
			continue
		}
		// The volumes' data cannot be opened without the passwords that were generated for them.
		if o.Kind == "Secret" && slices.Contains([]string{"postgres-shop-db", "amqp-shop-jobs", "s3-report-reports"}, o.Metadata.Name) {
			continue
		}
		return fmt.Errorf("%s/%s is still there", o.Kind, o.Metadata.Name)
	}
	return nil
}
