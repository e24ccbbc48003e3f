package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// follow shows a deployment's phases, each with its time, until it ends, and gives it as it ended. A connection that breaks
// on the way is made again: the deployment goes on without us.
func (t *tow) follow(parent context.Context, d *catalogv1.Deployment, timeout time.Duration, out io.Writer) (*catalogv1.Deployment, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	updates := make(chan *catalogv1.Deployment)
	failed := make(chan error, 1)
	go func() { failed <- t.watchUntilEnd(ctx, d.GetName(), updates) }()

	v := &phaseView{t: t, out: out, live: t.OutTerminal, told: map[catalogv1.Deployment_State]bool{}}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	v.show(d)
	for !isFinal(d.GetState()) {
		select {
		case next := <-updates:
			d = next
			v.show(d)
		case err := <-failed:
			v.clear()
			if parent.Err() != nil { // Ctrl-C ends the waiting and nothing else
				t.notef("%s", interrupted(d))
			}
			return nil, lost(ctx, d, timeout, err)
		case <-tick.C:
			v.redraw(d)
		}
	}
	cancel()
	v.clear()
	return d, nil
}

// interrupted says that a deployment goes on after Ctrl-C, how to follow it, and how to stop it.
func interrupted(d *catalogv1.Deployment) string {
	env, number := short(envOf(d.GetName())), last(d.GetName())
	return fmt.Sprintf("interrupted: %s is %s and goes on without us\n  tow wait -e %s %s     follows it again\n  tow cancel -e %s %s   withdraws it while it is not in Git",
		short(d.GetName()), stateName(d.GetState()), env, number, env, number)
}

// lost says why a deployment is not followed any more, and how to find it again.
func lost(ctx context.Context, d *catalogv1.Deployment, timeout time.Duration, err error) error {
	hint := "tow wait -e " + short(envOf(d.GetName())) + " " + last(d.GetName()) + " follows it again"
	if errs.Is(err, errs.Timeout) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errs.New(errs.Timeout, errorsv1.Reason_REASON_TIMEOUT, "%s is still %s after %s; it goes on without us",
			short(d.GetName()), stateName(d.GetState()), timeout).With("tow_hint", hint)
	}
	var e *errs.Error
	if errors.As(err, &e) && e.Kind == errs.Unavailable {
		return e.With("tow_hint", "the deployment goes on without us; "+hint)
	}
	return err
}

// watchUntilEnd sends every version of a deployment until its final one.
func (t *tow) watchUntilEnd(ctx context.Context, name string, updates chan<- *catalogv1.Deployment) error {
	return t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
		stream, err := t.client.WatchDeployment(ctx, &catalogv1.WatchDeploymentRequest{Name: name})
		if err != nil {
			return false, err
		}
		got := false
		for {
			r, err := stream.Recv()
			if err != nil {
				return got, err
			}
			got = true
			select {
			case updates <- r.GetDeployment():
			case <-ctx.Done():
				return got, ctx.Err()
			}
		}
	})
}

// patience is how much longer than a call a watch goes on without a server: a minute unless TOW_RETRY says otherwise, because
// it has something to lose, and a server that is being upgraded comes back.
const patience = 12

// reconnecting runs a watch again and again until ctx ends. watch reports whether anything came. It gives up when the
// server stays away for much longer than a restart takes, and at once on what another try cannot mend.
func (t *tow) reconnecting(ctx context.Context, watch func(ctx context.Context) (bool, error)) error {
	since := time.Now()
	for {
		got, err := watch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if got {
			since = time.Now()
		}
		ended := errors.Is(err, io.EOF)
		if !ended && !errs.Is(err, errs.Unavailable) || time.Since(since) >= patience*t.client.retry {
			if ended {
				return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the server ended the stream")
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// phaseView writes a line for each phase that is over. At a terminal the present one is shown too, with its time running.
type phaseView struct {
	t       *tow
	out     io.Writer
	live    bool
	told    map[catalogv1.Deployment_State]bool
	waiting string
	// pullRequest is the open one whose address was printed.
	pullRequest string
}

func (v *phaseView) show(d *catalogv1.Deployment) {
	v.clear()
	for _, p := range d.GetPhases() {
		if p.GetEndTime() == nil || v.told[p.GetState()] || isFinal(p.GetState()) {
			continue
		}
		v.told[p.GetState()] = true
		fmt.Fprintf(v.out, "%s %s\n", stateName(p.GetState()), took(p.GetEndTime().AsTime().Sub(p.GetStartTime().AsTime())))
	}
	if url := openPullRequest(d); url != v.pullRequest {
		if v.pullRequest = url; url != "" {
			fmt.Fprintf(v.out, "pull request %s\n", clean(url))
		}
	}
	if w := d.GetWaitingReason(); w != v.waiting {
		if v.waiting = w; w != "" && !v.live {
			fmt.Fprintf(v.out, "%s waits: %s\n", stateName(d.GetState()), clean(w))
		}
	}
	v.redraw(d)
}

// redraw writes the present phase's line anew.
func (v *phaseView) redraw(d *catalogv1.Deployment) {
	if !v.live || isFinal(d.GetState()) || len(d.GetPhases()) == 0 {
		return
	}
	now := d.GetPhases()[len(d.GetPhases())-1]
	since := func(at time.Time) string { return took(max(v.t.Now().Sub(at), 0)) }
	line := fmt.Sprintf("%s %s  (%s in all)", stateName(d.GetState()), since(now.GetStartTime().AsTime()), since(d.GetCreateTime().AsTime()))
	if d.GetWaitingReason() != "" {
		line += "  waits: " + clean(d.GetWaitingReason())
	}
	if w := v.t.width(); w > 1 {
		line = clip(line, w-1)
	}
	fmt.Fprintf(v.out, "\r\x1b[K%s", line)
}

func (v *phaseView) clear() {
	if v.live {
		fmt.Fprint(v.out, "\r\x1b[K")
	}
}

// outcome tells how a deployment ended; one that did not end well is an error with an exit code of its own.
func (t *tow) outcome(ctx context.Context, p *printer, d *catalogv1.Deployment, forPeople bool) error {
	total := took(d.GetEndTime().AsTime().Sub(d.GetCreateTime().AsTime()))
	if forPeople {
		err := p.fields(
			"state", stateName(d.GetState())+" after "+total, "commit", d.GetCommit(), "tree", d.GetTree())
		if err != nil {
			return err
		}
	}
	if d.GetState() == catalogv1.Deployment_STATE_HEALTHY {
		return nil
	}
	object := t.tellTrouble(ctx, p, d)
	why := errs.New(errs.Precondition, errorsv1.Reason_REASON_UNSPECIFIED, "%s", whyNotWell(d)).With("tow_hint", whatNext(d, object))
	return &exitCodeError{exitNotWell, why}
}

func whyNotWell(d *catalogv1.Deployment) string {
	msg := short(d.GetName()) + " ended " + stateName(d.GetState())
	if d.GetState() == catalogv1.Deployment_STATE_SUPERSEDED {
		return msg + ": a later deployment took its place"
	}
	if by := endedBy(d); by != "" {
		return msg + " " + by
	}
	if f := d.GetError(); f != nil {
		if f.GetStage() != "" {
			msg += " at " + f.GetStage()
		}
		if f.GetReason() != "" {
			msg += " (" + f.GetReason() + ")"
		}
		msg += ": " + f.GetMessage()
		if f.GetRemedy() != "" {
			msg += "\n" + f.GetRemedy()
		}
	}
	return msg
}

// endedBy tells who ended a deployment before it was in Git, and why; "" where nobody did.
func endedBy(d *catalogv1.Deployment) string {
	who, why := "", ""
	switch d.GetState() {
	case catalogv1.Deployment_STATE_CANCELLED:
		who, why = d.GetCancellation().GetActor(), d.GetCancellation().GetText()
	case catalogv1.Deployment_STATE_REJECTED:
		for _, a := range d.GetApprovals() {
			if !a.GetApproved() {
				who, why = a.GetActor(), a.GetComment()
			}
		}
	}
	if who == "" {
		return ""
	}
	if why == "" {
		return "by " + who
	}
	return "by " + who + ": " + why
}
