package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// defaultWait is how long --wait waits unless it is told.
const defaultWait = 5 * time.Minute

// shipment is how a change is brought to an environment: deploy, set, rollback and the others differ in what they change only.
type shipment struct {
	env, message, planHash, requestID, output string
	plan, wait                                bool
	timeout                                   time.Duration
}

func (s *shipment) bindEnv(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &s.env, "the environment, such as shop/dev")
}

func (s *shipment) bindMessage(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.message, "message", "m", "", "why; shown in the history and in the commit")
	cmd.Flags().StringVar(&s.requestID, "request-id", "", "idempotency key: a second call with the same one gets the first call's deployment")
}

func (s *shipment) bindWait(t *tow, cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.wait, "wait", false, "show the phases until the end; exit code 3 when it did not end well")
	cmd.Flags().DurationVar(&s.timeout, "timeout", defaultWait, "how long --wait waits; exit code 4 after that")
	t.outputFlag(cmd, &s.output)
}

func (s *shipment) bindPlan(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.plan, "plan", false, "show what would change, and change nothing")
	cmd.Flags().StringVar(&s.planHash, "plan-hash", "", "hold to this plan: fail when anything it was made on is different now")
	cmd.MarkFlagsMutuallyExclusive("plan", "wait")
	cmd.MarkFlagsMutuallyExclusive("plan", "plan-hash")
	filesFlag(cmd)
}

// bind adds all flags of a shipment.
func (s *shipment) bind(t *tow, cmd *cobra.Command) {
	s.bindEnv(t, cmd)
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	s.bindPlan(cmd)
}

func (s *shipment) id() string {
	if s.requestID == "" {
		s.requestID = newRequestID()
	}
	return s.requestID
}

// ship plans a change or brings it to the environment.
func (t *tow) ship(ctx context.Context, s *shipment, env string, change *catalogv1.Change) error {
	c, err := t.api()
	if err != nil {
		return err
	}
	if s.plan {
		return t.showPlan(ctx, s.output, &catalogv1.PlanDeploymentRequest{Parent: env, Change: change})
	}
	if _, err := t.printer(s.output); err != nil {
		return err
	}
	d, err := c.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{
		Parent: env, Change: change, Message: s.message, RequestId: s.id(), PlanHash: s.planHash,
	})
	if err != nil {
		return err
	}
	return t.shipped(ctx, s, d)
}

// shipped tells of an accepted deployment and waits for its end where that is asked for.
func (t *tow) shipped(ctx context.Context, s *shipment, d *catalogv1.Deployment) error {
	p, err := t.printer(s.output)
	if err != nil {
		return err
	}
	forPeople := s.output == "table" || s.output == "wide"
	if forPeople {
		t.printf("%s\n", d.GetName())
	}
	progress := t.Stdout
	if !forPeople {
		progress = t.Stderr
	}
	if s.wait {
		if d, err = t.follow(ctx, d, s.timeout, progress); err != nil {
			return err
		}
	}
	if _, err := p.structured(d, d.GetName()); err != nil {
		return err
	}
	if !s.wait {
		// Without this, a change that nobody approves looks like one that was made.
		if w := d.GetWaitingReason(); w != "" && forPeople {
			t.notef("%s waits: %s", stateName(d.GetState()), clean(w))
		}
		return nil
	}
	return t.outcome(ctx, p, d, forPeople)
}

// plannedShipment is a deployment that a person is shown and asked about before.
type plannedShipment struct {
	plan *catalogv1.PlanDeploymentRequest
	// what it does, for the question.
	what string
	// show tells the plan to who is asked.
	show func(p *printer, plan *catalogv1.Plan) error
	run  func(c *client) (*catalogv1.Deployment, error)
}

// shipPlanned shows the plan alone, or shows it, asks, and holds to what it has shown. Without a terminal it needs --yes.
func (t *tow) shipPlanned(ctx context.Context, s *shipment, of plannedShipment, yes bool) error {
	if s.plan {
		return t.showPlan(ctx, s.output, of.plan)
	}
	p, err := t.printer(s.output)
	if err != nil {
		return err
	}
	if !yes && !t.InTerminal {
		return t.confirm(false, "%s", of.what)
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	if !yes {
		plan, err := c.PlanDeployment(ctx, of.plan)
		if err != nil {
			return err
		}
		if err := of.show(p, plan); err != nil {
			return err
		}
		if err := t.confirm(false, "%s", of.what); err != nil {
			return err
		}
		s.planHash = firstOf(s.planHash, plan.GetPlanHash())
	}
	d, err := of.run(c)
	if err != nil {
		return err
	}
	return t.shipped(ctx, s, d)
}
