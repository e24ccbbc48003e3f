package portal_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

func init() {
	stubServices = append(stubServices, func(r grpc.ServiceRegistrar, s *stub) {
		l := &live{s: s}
		lives.Store(s, l)
		driftv1.RegisterLiveServiceServer(r, l)
		catalogv1.RegisterFindingServiceServer(r, l)
		rendererv1.RegisterRendererServiceServer(r, l)
	})
}

// live plays what the environment page asks of services beside the stub's: the live view, decisions about drift, Score files.
type live struct {
	driftv1.UnimplementedLiveServiceServer
	catalogv1.UnimplementedFindingServiceServer
	rendererv1.UnimplementedRendererServiceServer
	s *stub

	mu      sync.Mutex
	rules   []*driftv1.IgnoreRule
	records []*catalogv1.FindingRecord
	log     []string // lines of the pod's log
	noLog   bool
}

var lives sync.Map

// liveOf is what a served stub plays it with.
func liveOf(t *testing.T, s *stub) *live {
	t.Helper()
	l, ok := lives.Load(s)
	if !ok {
		t.Fatal("the stub is not served")
	}
	return l.(*live)
}

// shopMore gives the shop its worker and its database.
func shopMore(t *testing.T, set *catalogv1.Set) {
	t.Helper()
	set.Workloads["worker"] = score(t, "ghcr.io/example/worker:1.4.2", map[string]any{"DATABASE_HOST": "${resources.db.host}", "QUEUE": "${resources.queue.name}", "INTERVAL": "30s"})
	for name, kind := range map[string]string{"db": "postgres", "queue": "amqp"} {
		r, err := structpb.NewStruct(map[string]any{"type": kind})
		if err != nil {
			t.Fatal(err)
		}
		if set.Resources == nil {
			set.Resources = map[string]*structpb.Struct{}
		}
		set.Resources[name] = r
	}
}

// enrich adds to a plan what the server tells of fields, objects and rules.
func (s *stub) enrich(p *catalogv1.Plan, r *catalogv1.PlanDeploymentRequest) error {
	api := &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api"}
	change := r.GetChange()
	for _, op := range change.GetOverlayOperations() {
		key := op.GetPath()[strings.LastIndex(op.GetPath(), "/")+1:]
		p.Fields = append(p.Fields, &catalogv1.FieldChange{Object: api, Field: "spec.template.spec.containers[name=main].env[name=" + key + "].value", Before: structpb.NewStringValue("info"), After: op.GetValue()})
		if strings.HasSuffix(op.GetValue().GetStringValue(), ":latest") {
			p.Verdicts = append(p.Verdicts, &rendererv1.Verdict{Guardrail: "no-latest", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Message: "the image has the tag latest; name a version", Object: api, Path: "spec.template.spec.containers[0].image"})
		}
	}
	if len(p.Fields) > 0 {
		p.Objects = append(p.Objects, &catalogv1.ObjectChange{Object: api, Action: catalogv1.FileChange_ACTION_MODIFY})
	}
	for key, value := range change.GetVariables() {
		if key == "TOKEN" {
			return errs.InvalidField(fmt.Sprintf("change.variables[%q]", key), "looks like a token; refer to a secret instead")
		}
		p.Summary = append(p.Summary, key+" set to "+value)
	}
	for key, ref := range change.GetSecretVariables() {
		p.Summary = append(p.Summary, key+" refers to the secret "+ref.GetName())
	}
	for _, w := range change.GetRemoveWorkloads() {
		p.Summary = append(p.Summary, "removes the workload "+w)
	}
	for range change.GetScores() {
		p.Summary = append(p.Summary, "adds the workload hello")
	}
	for _, path := range change.GetOverlayDrops() {
		p.Summary = append(p.Summary, path[strings.LastIndex(path, "/")+1:]+" is what the set says again")
	}
	if change.GetDraft() != "" {
		p.Summary = append(p.Summary, "deploys the draft "+change.GetDraft())
	}
	if e, err := s.env(r.GetParent()); err == nil && e.GetType() == "environmentTypes/production" {
		p.ApprovalsRequired = 1
	}
	return nil
}

// apply makes the rest of a change, as far as the page shows it.
func (s *stub) apply(e *catalogv1.Environment, c *catalogv1.Change) {
	e.Intent.Overlay = slices.DeleteFunc(e.Intent.Overlay, func(o *rendererv1.Operation) bool { return slices.Contains(c.GetOverlayDrops(), o.GetPath()) })
	for k, v := range c.GetVariables() {
		if e.Intent.Variables == nil {
			e.Intent.Variables = map[string]string{}
		}
		e.Intent.Variables[k] = v
	}
	for k, v := range c.GetSecretVariables() {
		if e.Intent.SecretVariables == nil {
			e.Intent.SecretVariables = map[string]*rendererv1.SecretReference{}
		}
		e.Intent.SecretVariables[k] = v
	}
	for _, k := range c.GetVariableDrops() {
		delete(e.Intent.Variables, k)
		delete(e.Intent.SecretVariables, k)
	}
}

// WatchFindings sends the open findings, then what comes and goes.
func (s *stub) WatchFindings(r *driftv1.WatchFindingsRequest, stream grpc.ServerStreamingServer[driftv1.WatchFindingsResponse]) error {
	sent := map[string]*driftv1.Finding{}
	for round := 0; ; round++ {
		list, err := s.ListFindings(stream.Context(), &driftv1.ListFindingsRequest{Parent: r.GetParent()})
		if err != nil {
			return err
		}
		now := map[string]bool{}
		for _, f := range list.GetFindings() {
			now[f.GetName()] = true
			if sent[f.GetName()] == f {
				continue
			}
			sent[f.GetName()] = f
			if err := stream.Send(&driftv1.WatchFindingsResponse{Finding: f, ResumeToken: fmt.Sprint(round)}); err != nil {
				return err
			}
		}
		for name, f := range sent {
			if now[name] {
				continue
			}
			delete(sent, name)
			gone := proto.CloneOf(f)
			gone.ResolveTime = ago(0)
			if err := stream.Send(&driftv1.WatchFindingsResponse{Finding: gone, ResumeToken: fmt.Sprint(round)}); err != nil {
				return err
			}
		}
		if round == 0 {
			if err := stream.Send(&driftv1.WatchFindingsResponse{CaughtUp: true, ResumeToken: "0"}); err != nil {
				return err
			}
		}
		if !pause(stream.Context()) {
			return stream.Context().Err()
		}
	}
}

// change changes an environment under the lock.
func (s *stub) change(name string, f func(*catalogv1.Environment) error) (*catalogv1.Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env(name)
	if err != nil {
		return nil, err
	}
	if err := f(e); err != nil {
		return nil, err
	}
	return proto.CloneOf(e), nil
}

func (s *stub) LockEnvironment(ctx context.Context, r *catalogv1.LockEnvironmentRequest) (*catalogv1.Environment, error) {
	c, _ := auth.CallerFrom(ctx)
	return s.change(r.GetName(), func(e *catalogv1.Environment) error {
		if e.Lock != nil {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_LOCKED, "%s has locked it; unlock it first", e.Lock.Actor).With("lock", e.Lock.Actor)
		}
		e.Lock = proto.CloneOf(r.GetLock())
		e.Lock.Actor, e.Lock.CreateTime = c.Subject, ago(0)
		return nil
	})
}

func (s *stub) UnlockEnvironment(_ context.Context, r *catalogv1.UnlockEnvironmentRequest) (*catalogv1.Environment, error) {
	return s.change(r.GetName(), func(e *catalogv1.Environment) error { e.Lock = nil; return nil })
}

func (s *stub) ExtendEnvironment(_ context.Context, r *catalogv1.ExtendEnvironmentRequest) (*catalogv1.Environment, error) {
	return s.change(r.GetName(), func(e *catalogv1.Environment) error {
		e.ExpireTime = nil
		if !r.GetKeep() {
			e.ExpireTime = ago(-r.GetTtl().AsDuration())
		}
		return nil
	})
}

// decided changes a deployment under the lock.
func (s *stub) decided(name string, f func(*catalogv1.Environment, *catalogv1.Deployment) error) (*catalogv1.Deployment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env(name[:strings.Index(name, "/deployments/")])
	if err != nil {
		return nil, err
	}
	for _, d := range s.deployments[e.Name] {
		if d.Name == name {
			err := f(e, d)
			return proto.CloneOf(d), err
		}
	}
	return nil, notFound(name)
}

func (s *stub) ApproveDeployment(ctx context.Context, r *catalogv1.ApproveDeploymentRequest) (*catalogv1.Deployment, error) {
	c, _ := auth.CallerFrom(ctx)
	return s.decided(r.GetName(), func(e *catalogv1.Environment, d *catalogv1.Deployment) error {
		if d.Actor == c.Subject && !d.AuthorMayApprove {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_APPROVE, "you are its author; somebody else has to approve it")
		}
		d.Approvals = append(d.Approvals, &catalogv1.Approval{Actor: c.Subject, Approved: true, Comment: r.GetComment(), Time: ago(0)})
		d.State = catalogv1.Deployment_STATE_PENDING
		d.Phases = append(d.Phases, &catalogv1.Phase{State: d.State, StartTime: ago(0)})
		go s.run(e, d)
		return nil
	})
}

func (s *stub) RejectDeployment(ctx context.Context, r *catalogv1.RejectDeploymentRequest) (*catalogv1.Deployment, error) {
	c, _ := auth.CallerFrom(ctx)
	return s.decided(r.GetName(), func(_ *catalogv1.Environment, d *catalogv1.Deployment) error {
		d.Approvals = append(d.Approvals, &catalogv1.Approval{Actor: c.Subject, Comment: r.GetComment(), Time: ago(0)})
		d.State, d.EndTime = catalogv1.Deployment_STATE_REJECTED, ago(0)
		return nil
	})
}

func (s *stub) CancelDeployment(_ context.Context, r *catalogv1.CancelDeploymentRequest) (*catalogv1.Deployment, error) {
	return s.decided(r.GetName(), func(_ *catalogv1.Environment, d *catalogv1.Deployment) error {
		d.State, d.EndTime = catalogv1.Deployment_STATE_CANCELLED, ago(0)
		return nil
	})
}

func (s *stub) CommentDeployment(ctx context.Context, r *catalogv1.CommentDeploymentRequest) (*catalogv1.Deployment, error) {
	c, _ := auth.CallerFrom(ctx)
	return s.decided(r.GetName(), func(_ *catalogv1.Environment, d *catalogv1.Deployment) error {
		d.Comments = append(d.Comments, &catalogv1.Comment{Actor: c.Subject, Text: r.GetText(), Time: ago(0)})
		return nil
	})
}

func (s *stub) RetryDeployment(ctx context.Context, r *catalogv1.RetryDeploymentRequest) (*catalogv1.Deployment, error) {
	env := r.GetName()[:strings.Index(r.GetName(), "/deployments/")]
	return s.deploy(ctx, env, &catalogv1.Deployment{RetryOf: r.GetName(), Message: r.GetMessage()}, func(*catalogv1.Environment) error { return nil })
}
