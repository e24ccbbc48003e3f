package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// statusColumns show how environments are.
var statusColumns = []column[environment]{
	{"ENVIRONMENT", false, func(_ *printer, m environment) string { return short(m.GetName()) }},
	{"TYPE", false, func(_ *printer, m environment) string { return short(m.GetType()) }},
	{"NAMESPACE", true, func(_ *printer, m environment) string { return m.GetNamespace() }},
	{"NEWEST", false, func(_ *printer, m environment) string { return deploymentNumber(m.GetLatestDeployment()) }},
	{"RUNS", false, func(_ *printer, m environment) string { return deploymentNumber(m.GetActiveDeployment()) }},
	{"SYNC", false, func(_ *printer, m environment) string { return liveText(m, syncName(m.GetLive().GetSync())) }},
	{"HEALTH", false, func(_ *printer, m environment) string { return liveText(m, healthName(m.GetLive().GetHealth())) }},
	{"DRIFT", false, func(_ *printer, m environment) string { return liveText(m, itoa(m.GetLive().GetFindings())) }},
	{"SEEN", true, func(p *printer, m environment) string { return p.when(m.GetLive().GetTime()) }},
	{"MESSAGE", false, func(p *printer, m environment) string {
		if p.format == "wide" {
			return heldMark(m, m.GetLive().GetMessage())
		}
		return clip(heldMark(m, m.GetLive().GetMessage()), 60)
	}},
}

// liveText leaves what a cluster would say empty where nothing was ever deployed: there is nothing to be known yet.
func liveText(m environment, text string) string {
	if m.GetLatestDeployment() == "" {
		return "-"
	}
	return text
}

func (t *tow) statusCmd() *cobra.Command {
	var env, app, format string
	var watch bool
	cmd := &cobra.Command{
		Use: "status [-e APP/ENV | --app APP]", Short: "Show how an environment is, or all of them", Args: noArgs,
		Long: `Without -e it lists all environments, or those of --app. With -e it shows one: the deployment that runs, the newest one, how far
the cluster has followed Git, the health of each object, and how many findings of drift are open. UNKNOWN means that it cannot be
told now, never that all is well.

--watch keeps it up to date until Ctrl-C: in place at a terminal, elsewhere with a line for each change, and with -o json an
object a line. It survives restarts of the server.`,
		Example: `  tow status
  tow status --app shop --watch
  tow status -e shop/dev --watch
  tow status -e shop/dev -o json`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev; all when left out")
	cmd.Flags().StringVar(&app, "app", "", "the environments of this application")
	cmd.MarkFlagsMutuallyExclusive("env", "app")
	cmd.Flags().BoolVar(&watch, watchFlagName, false, "keep it up to date until Ctrl-C")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		of := statusOf{app: applications + "/-"}
		if app != "" {
			of.app, err = appName(app)
		}
		if env != "" {
			of.env, err = envName(env)
		}
		if err != nil {
			return err
		}
		if watch {
			return t.watchStatus(ctx, p, of)
		}
		return t.showStatus(ctx, p, of)
	})
	return cmd
}

// statusOf says whose status: one environment's, or that of an application's, applications/- for all.
type statusOf struct{ env, app string }

func (t *tow) showStatus(ctx context.Context, p *printer, of statusOf) error {
	if of.env == "" {
		envs, err := t.listEnvironments(ctx, of.app)
		if err != nil {
			return err
		}
		if len(envs) == 0 {
			t.notef("no environments yet; make one: tow app create shop && tow env create shop/dev --type development")
		}
		return printList(p, &catalogv1.ListEnvironmentsResponse{Environments: envs}, envs, statusColumns)
	}
	s, err := t.readStatus(ctx, of.env)
	if err != nil {
		return err
	}
	return p.status(s)
}

// envStatus is all that is known of one environment. Its parts may be nil: nothing deployed yet, or drift not reachable.
type envStatus struct {
	env            environment
	newest, active *catalogv1.Deployment
	live           *driftv1.EnvironmentStatus
	// unknown says why live is not there.
	unknown string
}

func (t *tow) readStatus(ctx context.Context, env string) (*envStatus, error) {
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	s := &envStatus{}
	if s.env, err = c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: env}); err != nil {
		return nil, err
	}
	get := func(name string) *catalogv1.Deployment {
		if name == "" || err != nil {
			return nil
		}
		var d *catalogv1.Deployment
		d, err = c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
		return d
	}
	s.newest = get(s.env.GetLatestDeployment())
	if s.active = s.newest; s.env.GetActiveDeployment() != s.env.GetLatestDeployment() {
		s.active = get(s.env.GetActiveDeployment())
	}
	if err != nil {
		return nil, err
	}
	s.live, err = c.drift.GetEnvironmentStatus(ctx, &driftv1.GetEnvironmentStatusRequest{Name: env + "/status"})
	switch {
	case errs.Is(err, errs.NotFound) && s.env.GetActiveDeployment() == "":
		s.live, s.unknown = nil, "nothing is in the cluster yet"
	case errs.Is(err, errs.NotFound), errs.Is(err, errs.Unavailable):
		// The catalog's word is older, and what is not seen now must not look as if it were.
		s.live, s.unknown = nil, "cannot be told now: "+errs.Message(err)
	case err != nil:
		return nil, err
	}
	return s, nil
}

// status writes one environment's status in any format.
func (p *printer) status(s *envStatus) error {
	switch p.format {
	case "json", "yaml":
		text, err := s.json()
		if err == nil && p.format == "yaml" {
			text, err = yamlOf(text)
		}
		if err == nil {
			_, err = p.out.Write(text)
		}
		return err
	case "name":
		_, err := fmt.Fprintln(p.out, s.env.GetName())
		return err
	}
	sync, health := "UNKNOWN "+s.unknown, "UNKNOWN"
	if s.live != nil {
		sync, health = syncName(s.live.GetSync()), healthName(s.live.GetHealth())
		if s.live.GetSyncTime() != nil {
			sync += " #" + itoa(s.live.GetGeneration()) + " " + p.when(s.live.GetSyncTime())
		}
		if next := s.live.GetNextWindowTime(); next != nil {
			sync += ", by itself again from " + stamp(next)
		}
		if s.live.GetMessage() != "" {
			health += " " + s.live.GetMessage()
		}
	}
	newest := ""
	if s.newest.GetName() != s.active.GetName() {
		newest = p.deploymentLine(s.newest)
	}
	err := p.fields(
		"Environment", short(s.env.GetName()), "Type", short(s.env.GetType()), "Namespace", s.env.GetNamespace(),
		"State", envState(s.env.GetState()), "Held", heldText(s.env), "Runs", p.deploymentLine(s.active), "Newest", newest,
		"Commit", s.active.GetCommit(), "Tree", s.active.GetTree(), "Sync", sync, "Engine", engineLine(s.live), "Health", health, "Drift", s.drift(),
		"Held back", heldBackText(s.live), "Git", foreignLines(s.env))
	if err != nil || len(s.live.GetObjects()) == 0 {
		return err
	}
	if _, err := io.WriteString(p.out, "\n"); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return printTable(p, s.live.GetObjects(), objectColumns)
}

var objectColumns = []column[*driftv1.ObjectStatus]{
	{"KIND", false, func(_ *printer, o *driftv1.ObjectStatus) string { return o.GetKind() }},
	{"API", true, func(_ *printer, o *driftv1.ObjectStatus) string { return o.GetApiVersion() }},
	{"NAME", false, func(_ *printer, o *driftv1.ObjectStatus) string { return o.GetName() }},
	{"NAMESPACE", true, func(_ *printer, o *driftv1.ObjectStatus) string { return orDash(o.GetNamespace()) }},
	{"WAVE", true, func(_ *printer, o *driftv1.ObjectStatus) string { return itoa(o.GetWave()) }},
	{"HOOK", true, func(_ *printer, o *driftv1.ObjectStatus) string { return orDash(o.GetHook()) }},
	{"SYNC", false, func(_ *printer, o *driftv1.ObjectStatus) string { return syncName(o.GetSync()) }},
	{"HEALTH", false, func(_ *printer, o *driftv1.ObjectStatus) string { return healthName(o.GetHealth()) }},
	{"DRIFT", true, func(_ *printer, o *driftv1.ObjectStatus) string { return itoa(o.GetFindings()) }},
	{"MESSAGE", false, func(_ *printer, o *driftv1.ObjectStatus) string {
		return strings.Join(nonEmpty(o.GetSyncMessage(), o.GetMessage()), "; ")
	}},
}

func (p *printer) deploymentLine(d *catalogv1.Deployment) string {
	if d == nil {
		return "nothing yet"
	}
	line := fmt.Sprintf("%s #%s by %s %s", stateName(d.GetState()), last(d.GetName()), d.GetActor(), p.when(d.GetCreateTime()))
	if m := saying(d); m != "" {
		line += ": " + clip(m, 80)
	}
	if d.GetWaitingReason() != "" {
		line += "\nwaits: " + d.GetWaitingReason()
	}
	if url := openPullRequest(d); url != "" && !strings.Contains(d.GetWaitingReason(), url) {
		line += "\npull request: " + url
	}
	if d.GetError() != nil {
		line += "\n" + d.GetError().GetMessage()
	}
	return line
}

func (s *envStatus) drift() string {
	switch {
	case s.live == nil:
		return "UNKNOWN"
	case s.live.GetFindings() == 0:
		return "none"
	default:
		return fmt.Sprintf("%s, see: tow drift list -e %s", plural(int(s.live.GetFindings()), "finding"), short(s.env.GetName()))
	}
}

// json gives one object with the API's messages in it; null where there is none.
func (s *envStatus) json() ([]byte, error) {
	parts := map[string]json.RawMessage{}
	var failed error
	put := func(key string, m proto.Message) {
		text := []byte("null")
		if m.ProtoReflect().IsValid() {
			var err error
			if text, err = jsonOf(m); err != nil {
				failed = errors.Join(failed, err)
			}
		}
		parts[key] = text
	}
	put("environment", s.env)
	put("activeDeployment", s.active)
	put("latestDeployment", s.newest)
	put("status", s.live)
	if failed != nil {
		return nil, failed
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(parts); err != nil {
		return nil, fmt.Errorf("print as JSON: %w", err)
	}
	return indented(bytes.TrimSpace(b.Bytes()))
}

// splitEnv gives the ids of application and environment.
func splitEnv(name string) (app, env string) {
	app, env, _ = strings.Cut(short(name), "/")
	return app, env
}
