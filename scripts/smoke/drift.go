package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What the journey reads of the API's answers.
type (
	deployment struct{ Name, State, Generation, Commit, Tree, RollbackOf string }

	environment struct {
		ActiveDeployment string
		Live             struct {
			Sync, Health string
			Findings     int
		}
	}

	finding struct {
		Name, Kind, ObjectKind, ObjectName, Field, Manager string
		EditTime                                           time.Time
	}

	findings struct{ Findings []finding }

	// event is one line of the event stream.
	event struct {
		Result struct {
			Type string
			Data struct {
				Finding finding
				Open    int
			}
		}
	}

	// status is google.rpc.Status.
	status struct {
		Code    int
		Message string
		Details []struct {
			Reason          string
			FieldViolations []struct{ Field, Description string }
		}
	}
)

func (s status) reason() string {
	for _, d := range s.Details {
		if d.Reason != "" {
			return d.Reason
		}
	}
	return ""
}

func (s status) field() string {
	for _, d := range s.Details {
		for _, v := range d.FieldViolations {
			return v.Field
		}
	}
	return ""
}

// listen follows the environment's drift events from a moment on, as a script would: one JSON object a line.
func (w *world) listen(ctx context.Context, since time.Time) <-chan event {
	out := make(chan event, 100)
	query := url.Values{
		"application": {"shop"}, "environment": {"dev"}, "type_prefix": {"drift."}, "since": {since.UTC().Format(time.RFC3339Nano)},
	}
	go func() {
		defer close(out)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.rest+"/v1/events:watch?"+query.Encode(), nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+w.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Result.Type != "" {
				out <- e
			}
		}
	}()
	return out
}

// addPort is what somebody does by hand.
func (w *world) addPort(ctx context.Context, port int) error {
	_, err := w.kubectl(ctx, "patch", "service", "api", "--type=json", "-p",
		fmt.Sprintf(`[{"op":"add","path":"/spec/ports/-","value":{"name":"extra-%d","port":%d}}]`, port, port))
	return err
}

func (w *world) ports(ctx context.Context) (string, error) {
	return w.kubectl(ctx, "get", "service", "api", "-o", "jsonpath={.spec.ports[*].port}")
}

func editWithKubectl(ctx context.Context, w *world) error {
	w.events = w.listen(ctx, time.Now())
	if err := w.addPort(ctx, 80); err != nil {
		return err
	}
	ports, err := w.ports(ctx)
	return errors.Join(err, equal("the Service's ports", ports, "8080 80"))
}

// theFinding waits until there is exactly one finding, and checks what it says.
func (w *world) theFinding(ctx context.Context, field string) error {
	return eventually(ctx, func() error {
		var l findings
		if err := w.towJSON(ctx, &l, "drift", "list", "-e", "shop/dev"); err != nil {
			return err
		}
		if len(l.Findings) != 1 {
			return fmt.Errorf("there are %d findings and not one: %v", len(l.Findings), l.Findings)
		}
		return l.Findings[0].check(field)
	})
}

func (f finding) check(field string) error {
	err := errors.Join(equal("the field", f.Field, field), equal("the manager", f.Manager, "kubectl-patch"),
		equal("the object", f.ObjectKind+"/"+f.ObjectName, "Service/api"), equal("the kind", f.Kind, "KIND_EXTRA"))
	if age := time.Since(f.EditTime); age < -2*time.Second || age > time.Minute {
		err = errors.Join(err, fmt.Errorf("the time of the edit is %v, %v ago", f.EditTime, age))
	}
	return err
}

func driftNamed(ctx context.Context, w *world) error { return w.theFinding(ctx, "spec.ports[port=80]") }

func driftEvent(ctx context.Context, w *world) error {
	return w.nextEvent(ctx, "drift.detected", "spec.ports[port=80]")
}

func (w *world) nextEvent(ctx context.Context, kind, field string) error {
	select {
	case e, ok := <-w.events:
		if !ok {
			return errors.New("the event stream ended")
		}
		return errors.Join(equal("the event's type", e.Result.Type, kind), e.Result.Data.Finding.check(field))
	case <-time.After(10 * time.Second):
		return fmt.Errorf("no event came within 10 s, expected %s", kind)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reverted puts everything back and looks whether it is.
func (w *world) reverted(ctx context.Context) error {
	if _, err := w.tow(ctx, "drift", "revert", "-e", "shop/dev", "--yes"); err != nil {
		return err
	}
	ports, err := w.ports(ctx)
	if err := errors.Join(err, equal("the Service's ports", ports, "8080")); err != nil {
		return err
	}
	var l findings
	err = w.towJSON(ctx, &l, "drift", "list", "-e", "shop/dev")
	return errors.Join(err, equal("the number of findings", len(l.Findings), 0))
}

func revert(ctx context.Context, w *world) error {
	return errors.Join(w.reverted(ctx), w.nextEvent(ctx, "drift.resolved", "spec.ports[port=80]"))
}

func rollback(ctx context.Context, w *world) error {
	var d deployment
	if err := w.towJSON(ctx, &d, "rollback", "-e", "shop/dev", "--to", "1", "--wait", "--yes"); err != nil {
		return err
	}
	if _, err := w.git(ctx, "pull", "--quiet", "--ff-only"); err != nil {
		return err
	}
	head, err := w.git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	tree, err := w.git(ctx, "rev-parse", "HEAD:"+folder)
	if err != nil {
		return err
	}
	trailers, err := w.git(ctx, "log", "-1", "--format=%(trailers:key=Towpath-Rollback-Of,valueonly)")
	return errors.Join(err, equal("the state", d.State, "STATE_HEALTHY"), equal("the newest commit", head, d.Commit),
		equal("the folder's tree", tree, w.tree), equal("the tree of the first commit", d.Tree, w.tree),
		equal("the trailer", strings.TrimSpace(trailers), "applications/shop/environments/dev/deployments/1"))
}
