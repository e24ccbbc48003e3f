package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func outputsKey(env rules.Env, resource string) string { return envKey(env) + "/" + resource }

func outputsVersionKey(env rules.Env, resource string, version int64) string {
	return fmt.Sprintf("%s/%020d", outputsKey(env, resource), version)
}

// ListResourceOutputs lists what the cluster has said of an environment's claims, by resource.
func (s definitionServer) ListResourceOutputs(ctx context.Context, r *catalogv1.ListResourceOutputsRequest) (*catalogv1.ListResourceOutputsResponse, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.environment(ctx, env); err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := resourceOutputs.List(ctx, s.cfg.KV, store.List{Under: envKey(env) + "/", PageSize: size, PageToken: r.GetPageToken()}, nil)
	out := &catalogv1.ListResourceOutputsResponse{NextPageToken: next}
	for _, row := range rows {
		out.Outputs = append(out.Outputs, row.Msg)
	}
	return out, err
}

// pinOutputs notes in an intent the newest version of each resource's outputs. Rendering it leaves those that it used.
func (s *Service) pinOutputs(ctx context.Context, env rules.Env, intent *catalogv1.Intent) error {
	intent.OutputVersions = nil
	if len(intent.GetDefinitions()) == 0 {
		return nil // claims are made by an organisation's own definitions only
	}
	for e, err := range store.All(ctx, s.cfg.KV, resourceOutputs.Key(envKey(env)+"/")) {
		if err != nil {
			return err
		}
		row, err := resourceOutputs.Decode(e)
		if err != nil {
			return err
		}
		if intent.OutputVersions == nil {
			intent.OutputVersions = map[string]int64{}
		}
		intent.OutputVersions[row.Msg.GetResource()] = row.Msg.GetVersion()
	}
	return nil
}

// pinnedOutputs reads the versions that an intent has pinned.
func (s *Service) pinnedOutputs(ctx context.Context, env rules.Env, intent *catalogv1.Intent) (map[string]*rendererv1.ResourceOutputs, error) {
	out := map[string]*rendererv1.ResourceOutputs{}
	for resource, version := range intent.GetOutputVersions() {
		row, err := outputVersions.Get(ctx, s.cfg.KV, outputsVersionKey(env, resource, version))
		if err != nil {
			return nil, fmt.Errorf("outputs of %s, version %d: %w", resource, version, err)
		}
		out[resource] = row.Msg
	}
	return out, nil
}

// onOutputs keeps what a cluster says of a claim, as a new version when it is something new, and lets the deployment that waits
// for it go on.
func (s *Service) onOutputs(ctx context.Context, e *eventsv1.ResourceOutputsReported, _ time.Time) error {
	env, err := rules.ParseEnv("environment", e.GetEnvironment())
	if err != nil {
		return err
	}
	if !rules.ReportedOutputs(e.GetOutputs()) {
		return errs.InvalidField("outputs", "the outputs of %q cannot be kept", e.GetOutputs().GetResource())
	}
	err = retry(ctx, func() error { return s.keepReported(ctx, env, e.GetOutputs()) })
	if err != nil {
		return err
	}
	return s.goOn(ctx, env)
}

func (s *Service) keepReported(ctx context.Context, env rules.Env, reported *rendererv1.ResourceOutputs) error {
	row, err := resourceOutputs.Get(ctx, s.cfg.KV, outputsKey(env, reported.GetResource()))
	if errors.Is(err, store.ErrNotFound) {
		row, err = store.Row[*rendererv1.ResourceOutputs]{ID: outputsKey(env, reported.GetResource())}, nil
	}
	if err != nil || row.Rev != 0 && rules.SameOutputs(row.Msg, reported) {
		return err
	}
	last, _, err := outputVersions.List(ctx, s.cfg.KV, store.List{Under: row.ID + "/", PageSize: 1, Reverse: true}, nil)
	if err != nil {
		return err
	}
	next := proto.CloneOf(reported)
	next.Version = 1
	if len(last) > 0 {
		next.Version = last[0].Msg.GetVersion() + 1
	}
	var tx store.Tx
	environment := environments.Key(envKey(env))
	tx.If(store.IfExists(environment)) // else it is the last word of an environment that is gone
	err = errors.Join(resourceOutputs.Update(&tx, row.ID, row.Rev, next),
		outputVersions.Create(&tx, outputsVersionKey(env, next.GetResource(), next.GetVersion()), next))
	if err != nil {
		return err
	}
	_, err = s.cfg.KV.Commit(ctx, tx)
	if key, ok := store.ConflictKey(err); ok && key == environment {
		return nil
	}
	return err
}

// forgetOutputs adds to tx that nothing is known of the claims of an environment that is gone. The versions stay, deployments have
// them pinned.
func (s *Service) forgetOutputs(ctx context.Context, tx *store.Tx, env rules.Env) error {
	for e, err := range store.All(ctx, s.cfg.KV, resourceOutputs.Key(envKey(env)+"/")) {
		if err != nil {
			return err
		}
		tx.Delete(e.Key)
	}
	return nil
}

// outputsMissing reports whether a rendering failed only because outputs are not known yet.
func outputsMissing(err error) bool {
	return errs.ReasonOf(err) == errorsv1.Reason_REASON_OUTPUTS_MISSING
}

// orAwait lets a deployment through whose rendering lacks nothing but outputs: it will await them.
func (s *Service) orAwait(ctx context.Context, c current, state rules.State, d *catalogv1.Deployment, err error) error {
	if !outputsMissing(err) {
		return err
	}
	resp, err := s.renderClaims(ctx, c, state)
	if err == nil {
		d.AwaitedOutputs = resp.GetMissingOutputs()
	}
	return err
}
