package drift

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

const (
	// contestRounds reverts of one finding within contestWindow are a fight that nobody wins: we stop.
	contestRounds = 3
	contestWindow = time.Minute
	// A contested finding is reverted again after firstTruce, then after twice as long, up to lastTruce.
	firstTruce = 5 * time.Minute
	lastTruce  = time.Hour
	// healPause is how long a failed revert waits.
	healPause = 15 * time.Second
)

// contest is the history of our reverts of one finding. The zero value and nil are those of a finding never reverted.
type contest struct {
	rounds []time.Time
	until  time.Time // we stand back until then
	truce  time.Duration
}

// stands reports whether the finding is contested now.
func (c *contest) stands(at time.Time) bool { return c != nil && c.truce > 0 && at.Before(c.until) }

// note says in a finding's attribution that it is contested.
func (c *contest) note(attribution string) string {
	return fmt.Sprintf("%s; contested: it came back after each of %d reverts, so Towpath has stopped reverting it by itself until %s",
		attribution, contestRounds, c.until.UTC().Format(time.RFC3339))
}

// round notes one more revert, or that it is one too many: then it gives false.
func (c *contest) round(at time.Time) bool {
	c.rounds = slices.DeleteFunc(c.rounds, func(r time.Time) bool { return at.Sub(r) > contestWindow })
	if len(c.rounds) < contestRounds {
		c.rounds = append(c.rounds, at)
		return true
	}
	c.truce = min(max(2*c.truce, firstTruce), lastTruce)
	c.until = at.Add(c.truce)
	c.rounds = c.rounds[:contestRounds-1] // after the truce one revert shows whether the other side still undoes it
	for i := range c.rounds {
		c.rounds[i] = c.until
	}
	return false
}

// schedule is a growing series of looks.
type schedule struct {
	at   time.Time // zero for none
	step time.Duration
}

// next sets the time of the following look.
func (s *schedule) next(now time.Time, first, last time.Duration) {
	s.step = min(max(2*s.step, first), last)
	s.at = now.Add(s.step)
}

// attend does what is due besides syncing: it looks again at all objects, tells flapping findings that have lasted, reverts
// where the environment heals itself, and asks pods why a workload is not healthy. It runs on the environment's goroutine.
func (e *environment) attend(ctx context.Context) {
	e.mu.Lock()
	sweep := e.sweepDue && e.synced != nil && e.cluster != nil && e.down == nil && !e.gone && e.busy == ""
	e.sweepDue = e.sweepDue && !sweep
	e.mu.Unlock()
	if sweep {
		if err := e.sweep(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("the objects could not all be looked at; it is tried again", "error", err)
			e.mu.Lock()
			e.sweepDue = true
			e.mu.Unlock()
		}
	}
	e.survey(ctx)
	e.opine(ctx)
	e.nameWriters()
	e.mu.Lock()
	e.tellHeld()
	e.ruleEnded()
	due := e.healable()
	e.mu.Unlock()
	e.tell()
	if len(due) > 0 {
		if _, err := e.revert(ctx, decider{healActor, resolutionHealed}, due); err != nil && ctx.Err() == nil {
			e.log.Warn("findings could not be reverted; it is tried again", "error", err)
			e.standBack(due)
		}
	}
	e.explainHealth(ctx)
	e.attendClaims(ctx)
}

// healable gives the findings to be reverted now, and marks those that have become contested. What only a person should decide
// is not among them: removing an object that is no longer declared, and what cannot be judged. It needs the mutex.
func (e *environment) healable() []string {
	if !e.policy().selfHeal || e.gone || e.busy != "" || e.down != nil {
		return nil
	}
	now := e.svc.cfg.Now()
	for name, c := range e.contests {
		if now.Sub(c.until) > 2*lastTruce && (len(c.rounds) == 0 || now.Sub(c.rounds[len(c.rounds)-1]) > 2*lastTruce) {
			delete(e.contests, name)
		}
	}
	var due []string
	for _, t := range e.objects {
		for name, f := range t.findings {
			c := e.contests[name]
			if c == nil {
				c = &contest{}
				e.contests[name] = c
			}
			switch {
			case f.GetKind() == driftv1.Finding_KIND_UNVERIFIED || f.GetKind() == driftv1.Finding_KIND_TERMINATING || now.Before(c.until):
			case c.round(now):
				due = append(due, name)
			default:
				f = proto.CloneOf(f)
				f.Contested = true
				f.Attribution = c.note(f.GetAttribution())
				t.findings[name] = f
				e.announceFinding(f)
			}
		}
	}
	return due
}

// standBack waits with the next revert of findings after one that failed.
func (e *environment) standBack(names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range names {
		if c := e.contests[n]; c != nil {
			c.until = e.svc.cfg.Now().Add(healPause)
			c.rounds = nil // it did not come back; it never went
		}
	}
}

// nextLook is how long run may wait until something is to be attended to.
func (e *environment) nextLook() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.svc.cfg.Now()
	next := earlier(earlier(earlier(e.explain.at, e.claims.look), e.opineAt), e.quiet.rules.NextExpiry(now))
	for _, t := range e.objects {
		for _, fl := range t.flaps {
			if fl.held != nil {
				next = earlier(next, fl.until)
			}
		}
		if !e.policy().selfHeal {
			continue
		}
		for name := range t.findings {
			if c := e.contests[name]; c != nil && now.Before(c.until) {
				next = earlier(next, c.until)
			}
		}
	}
	if e.sweepDue && e.synced != nil && e.down == nil && e.busy == "" {
		next = earlier(next, now.Add(time.Second))
	}
	if next.IsZero() {
		return time.Hour
	}
	return max(next.Sub(now), 10*time.Millisecond)
}
