package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	// settle is how long to wait for more events before the status is read again: one deployment makes several at once.
	settle = 150 * time.Millisecond
	// refresh is how often a terminal is drawn anew, for the relative times on it.
	refresh = 5 * time.Second
	// again is how often a server that does not answer is asked.
	again = time.Second
)

// statusWatch keeps a status up to date.
type statusWatch struct {
	t      *tow
	p      *printer
	of     statusOf
	screen screen
	// told is what was last written of each environment.
	told map[string]string
	// text is what stands on the screen.
	text string
	// seen is when the server answered last; lost that it does not now.
	seen time.Time
	lost bool
}

// watchStatus shows the status, and again after every event about it.
func (t *tow) watchStatus(ctx context.Context, p *printer, of statusOf) error {
	c, err := t.api()
	if err != nil {
		return err
	}
	if p.format == "yaml" || p.format == "name" {
		return usagef("--watch writes table, wide or json, not %s", p.format)
	}
	changed, failed := make(chan struct{}, 1), make(chan error, 1)
	go func() { failed <- t.watchEventsOf(ctx, c, of, changed) }()
	w := &statusWatch{t: t, p: p, of: of, screen: screen{t: t}, told: map[string]string{}, seen: time.Now()}
	if err := w.show(ctx); err != nil {
		return err // what is wrong at the beginning does not mend itself
	}
	for {
		wait := refresh
		if w.lost {
			wait = again
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-time.After(wait):
			if !t.OutTerminal && !w.lost {
				continue
			}
		case <-changed:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(settle):
			}
		}
		if err := w.goOn(ctx); err != nil {
			return err
		}
	}
}

// watchEventsOf tells of every event about an environment, an application or all.
func (t *tow) watchEventsOf(ctx context.Context, c *client, of statusOf, changed chan<- struct{}) error {
	req := &eventsv1.WatchEventsRequest{}
	switch {
	case of.env != "":
		req.Application, req.Environment = splitEnv(of.env)
	case last(of.app) != "-":
		req.Application = last(of.app)
	}
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
		stream, err := c.events.WatchEvents(ctx, req)
		for got := false; ; got = true {
			if err != nil {
				tell() // what happened meanwhile is seen by reading it again
				return got, err
			}
			if _, err = stream.Recv(); err == nil {
				tell()
			}
		}
	})
}

// goOn shows the status again. A server that does not answer is waited for as long as a stream waits for it.
func (w *statusWatch) goOn(ctx context.Context) error {
	err := w.show(ctx)
	if !errs.Is(err, errs.Unavailable) {
		if err == nil && w.lost && !w.t.OutTerminal {
			w.t.notef("the server answers again")
		}
		w.seen, w.lost = time.Now(), false
		return err
	}
	if time.Since(w.seen) >= patience*w.t.client.retry {
		return err
	}
	text := fmt.Sprintf("the server does not answer for %s; trying again ...", coarse(time.Since(w.seen)))
	switch {
	case w.t.OutTerminal:
		w.screen.draw(w.p.paint(yellow, text) + "\n" + w.text)
	case !w.lost:
		w.t.notef("the server does not answer; trying again ...")
	}
	w.lost = true
	return nil
}

func (w *statusWatch) show(ctx context.Context) error {
	w.p.now = w.t.Now()
	if w.t.OutTerminal && w.p.format != "json" {
		var b bytes.Buffer
		p := *w.p
		p.out = &b
		if err := w.t.showStatus(ctx, &p, w.of); err != nil {
			return err
		}
		w.text = b.String()
		w.screen.draw(w.text)
		return nil
	}
	if w.of.env == "" {
		envs, err := w.t.listEnvironments(ctx, w.of.app)
		if err != nil {
			return err
		}
		for _, m := range envs {
			if err := w.tellList(m); err != nil {
				return err
			}
		}
		return nil
	}
	s, err := w.t.readStatus(ctx, w.of.env)
	if err != nil {
		return err
	}
	return w.tellOne(s)
}

func (w *statusWatch) tellList(m environment) error {
	if w.p.format == "json" {
		b, err := jsonCompact(m)
		if err != nil {
			return err
		}
		return w.tell(m.GetName(), string(b), string(b))
	}
	text := strings.Join(nonEmpty(short(m.GetName()), "runs "+deploymentNumber(m.GetActiveDeployment()), "newest "+deploymentNumber(m.GetLatestDeployment()),
		w.p.painted(liveText(m, syncName(m.GetLive().GetSync()))), w.p.painted(liveText(m, healthName(m.GetLive().GetHealth()))),
		"drift "+liveText(m, itoa(m.GetLive().GetFindings())), clean(heldMark(m, m.GetLive().GetMessage()))), "  ")
	return w.tell(m.GetName(), text, stampNow(w.p.now)+"  "+text)
}

// tellOne writes one environment's status as a line.
func (w *statusWatch) tellOne(s *envStatus) error {
	if w.p.format == "json" {
		text, err := s.json()
		if err != nil {
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return fmt.Errorf("print as JSON: %w", err)
		}
		return w.tell(s.env.GetName(), line.String(), line.String())
	}
	number := func(what, state, name string) string {
		if name == "" {
			return what + " nothing"
		}
		return what + " " + deploymentNumber(name) + " " + w.p.painted(state)
	}
	sync, health, drift, message := "UNKNOWN", "UNKNOWN", "?", s.unknown
	if s.live != nil {
		sync, health, drift, message = syncName(s.live.GetSync()), healthName(s.live.GetHealth()), itoa(s.live.GetFindings()), s.live.GetMessage()
	}
	if why := s.newest.GetWaitingReason(); why != "" {
		message = strings.TrimPrefix(message+"; waits: "+why, "; ")
	}
	text := strings.Join(nonEmpty(short(s.env.GetName()), number("runs", stateName(s.active.GetState()), s.active.GetName()),
		number("newest", stateName(s.newest.GetState()), s.newest.GetName()), w.p.painted(sync), w.p.painted(health), "drift "+drift, clean(message)), "  ")
	return w.tell(s.env.GetName(), text, stampNow(w.p.now)+"  "+text)
}

// tell writes a line where it says something else than the one before about the same.
func (w *statusWatch) tell(name, text, line string) error {
	if w.told[name] == text {
		return nil
	}
	w.told[name] = text
	if _, err := fmt.Fprintln(w.p.out, strings.ReplaceAll(line, "\n", " ")); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func stampNow(now time.Time) string { return now.UTC().Format(time.RFC3339) }
