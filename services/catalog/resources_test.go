package catalog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

func TestNewServerHasWhatAFirstDeploymentNeeds(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	types, err := w.api.ListEnvironmentTypes(t.Context(), &catalogv1.ListEnvironmentTypesRequest{})
	must(t, err)
	var names []string
	for _, typ := range types.GetEnvironmentTypes() {
		names = append(names, typ.GetName())
	}
	if diff := cmp.Diff([]string{"environmentTypes/development", "environmentTypes/production", "environmentTypes/staging"}, names); diff != "" {
		t.Error(diff)
	}
	for _, err := range []error{
		second(w.api.GetTarget(t.Context(), &catalogv1.GetTargetRequest{Name: "targets/default"})),
		second(w.api.GetRepository(t.Context(), &catalogv1.GetRepositoryRequest{Name: "repositories/default"})),
	} {
		must(t, err)
	}
}

func TestBootstrapDoesNotComeBack(t *testing.T) {
	kv := memkv.New()
	w, _ := lightWorld(t, kv)
	_, err := w.api.DeleteEnvironmentType(t.Context(), &catalogv1.DeleteEnvironmentTypeRequest{Name: "environmentTypes/staging"})
	must(t, err)
	w.stop()
	w, _ = lightWorld(t, kv)
	_, err = w.api.GetEnvironmentType(t.Context(), &catalogv1.GetEnvironmentTypeRequest{Name: "environmentTypes/staging"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func second[T any](_ T, err error) error { return err }

func TestApplicationsAreCreatedUpdatedListedAndDeleted(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	ctx := t.Context()
	a := w.app("shop")
	if a.GetName() != "applications/shop" || a.GetRepository() != "repositories/default" || a.GetCreateActor() != "tokens/bootstrap-admin" || a.GetEtag() == "" {
		t.Fatalf("created %v", a)
	}
	_, err := w.api.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: "shop"})
	wantError(t, err, codes.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS)

	changed, err := w.api.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{
		Application: &catalogv1.Application{Name: a.GetName(), Owner: "teams/checkout", DisplayName: "ignored", Etag: a.GetEtag()},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"owner"}},
	})
	must(t, err)
	if changed.GetOwner() != "teams/checkout" || changed.GetDisplayName() != "" || changed.GetEtag() == a.GetEtag() {
		t.Errorf("updated %v", changed)
	}
	_, err = w.api.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{
		Application: &catalogv1.Application{Name: a.GetName(), Owner: "x", Etag: a.GetEtag()},
	})
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH)
	_, err = w.api.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{
		Application: &catalogv1.Application{Name: a.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}},
	})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "update_mask.paths[0]" {
		t.Errorf("fields = %v", e.Fields)
	}
	got, err := w.api.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: a.GetName()})
	must(t, err)
	if diff := cmp.Diff(changed, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-update's answer +get):\n%s", diff)
	}

	for i := range 5 {
		w.app(fmt.Sprintf("app-%d", i))
	}
	var names []string
	token := ""
	for {
		page, err := w.api.ListApplications(ctx, &catalogv1.ListApplicationsRequest{PageSize: 4, PageToken: token})
		must(t, err)
		for _, a := range page.GetApplications() {
			names = append(names, a.GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(names) != 6 || names[0] != "applications/app-0" || names[5] != "applications/shop" {
		t.Errorf("listed %v", names)
	}
	_, err = w.api.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: a.GetName()})
	must(t, err)
	_, err = w.api.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: a.GetName()})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestWhatIsUsedCannotBeDeletedOrMoved(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	_, err := w.api.CreateTarget(ctx, &catalogv1.CreateTargetRequest{TargetId: "other"})
	must(t, err)
	_, err = w.api.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{RepositoryId: "other", Repository: &catalogv1.Repository{Url: "embedded:///other"}})
	must(t, err)
	for name, tc := range map[string]struct {
		err    error
		usedBy string
	}{
		"application":      {second(w.api.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: "applications/shop"})), devEnv},
		"environment type": {second(w.api.DeleteEnvironmentType(ctx, &catalogv1.DeleteEnvironmentTypeRequest{Name: "environmentTypes/development"})), devEnv},
		"target":           {second(w.api.DeleteTarget(ctx, &catalogv1.DeleteTargetRequest{Name: "targets/default"})), "environmentTypes/development"},
		"repository":       {second(w.api.DeleteRepository(ctx, &catalogv1.DeleteRepositoryRequest{Name: "repositories/default"})), "applications/shop"},
		"type's target": {second(w.api.UpdateEnvironmentType(ctx, &catalogv1.UpdateEnvironmentTypeRequest{
			EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", Target: "targets/other"},
			UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"target"}},
		})), devEnv},
	} {
		t.Run(name, func(t *testing.T) {
			e := wantError(t, tc.err, codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
			if e.Meta["used_by"] != tc.usedBy {
				t.Errorf("used_by = %q, want %q", e.Meta["used_by"], tc.usedBy)
			}
		})
	}
	_, err = w.api.UpdateEnvironmentType(ctx, &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", Defaults: &rendererv1.EnvironmentDefaults{Replicas: 3, Restricted: true}},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"defaults.replicas"}},
	})
	must(t, err)
}

func TestRepositoriesAreChecked(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	for name, tc := range map[string]struct {
		repo  *catalogv1.Repository
		field string
	}{
		"a password in the URL":                    {&catalogv1.Repository{Url: "https://u:p@git.example.com/x.git"}, "repository.url"},
		"a password in an SSH URL":                 {&catalogv1.Repository{Url: "ssh://git:p@git.example.com/x.git", Credentials: "key"}, "repository.url"},
		"a password in the short form":             {&catalogv1.Repository{Url: "git:p@git.example.com:x.git", Credentials: "key"}, "repository.url"},
		"an SSH URL without a path":                {&catalogv1.Repository{Url: "ssh://git@git.example.com", Credentials: "key"}, "repository.url"},
		"SSH without credentials":                  {&catalogv1.Repository{Url: "git@git.example.com:x.git"}, "repository.credentials"},
		"credentials that are a path":              {&catalogv1.Repository{Url: "embedded:///x", Credentials: "../key"}, "repository.credentials"},
		"credentials that are a user and password": {&catalogv1.Repository{Url: "embedded:///x", Credentials: "bot:hunter2"}, "repository.credentials"},
		"a path as the forge's credentials":        {&catalogv1.Repository{Url: "embedded:///x", Forge: &committerv1.Forge{Credentials: "a/b"}}, "repository.forge.credentials"},
		"a path as the webhook's credentials":      {&catalogv1.Repository{Url: "embedded:///x", Forge: &committerv1.Forge{WebhookCredentials: "a/b"}}, "repository.forge.webhook_credentials"},
		"a signature without a key":                {&catalogv1.Repository{Url: "embedded:///x", Signing: &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH}}, "repository.signing.credentials"},
		"a key without a format":                   {&catalogv1.Repository{Url: "embedded:///x", Signing: &committerv1.Signing{Credentials: "key"}}, "repository.signing.format"},
		"a key that is a path":                     {&catalogv1.Repository{Url: "embedded:///x", Signing: &committerv1.Signing{Format: committerv1.Signing_FORMAT_GPG, Credentials: "/etc/key"}}, "repository.signing.credentials"},
		"a committer with angle brackets":          {&catalogv1.Repository{Url: "embedded:///x", Signing: &committerv1.Signing{CommitterName: "a <b>"}}, "repository.signing.committer_name"},
		"a committer without an address":           {&catalogv1.Repository{Url: "embedded:///x", Signing: &committerv1.Signing{CommitterEmail: "nobody"}}, "repository.signing.committer_email"},
		"a scheme nobody serves":                   {&catalogv1.Repository{Url: "ftp://git.example.com/x"}, "repository.url"},
		"a path out of the data":                   {&catalogv1.Repository{Url: "embedded:///../x"}, "repository.url"},
		"a broken branch":                          {&catalogv1.Repository{Url: "embedded:///x", Branch: "a b"}, "repository.branch"},
		"an unknown placeholder":                   {&catalogv1.Repository{Url: "embedded:///x", PathTemplate: "{owner}"}, "repository.path_template"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{RepositoryId: "repo", Repository: tc.repo})
			e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
			if e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v", e.Fields)
			}
		})
	}
}

func TestTwoEnvironmentsCannotOwnOnePlace(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	ctx := t.Context()
	for id, template := range map[string]string{"one": "{application}", "deep": "{application}/{environment}", "again": "a/{application}/{environment}"} {
		_, err := w.api.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{
			RepositoryId: id, Repository: &catalogv1.Repository{Url: "https://Git.example.com/team/x.git", PathTemplate: template},
		})
		must(t, err)
	}
	create := func(app, repo, env, ns string) error {
		_, err := w.api.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: app, Application: &catalogv1.Application{Repository: "repositories/" + repo}})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return err
		}
		_, err = w.api.CreateEnvironment(ctx, &catalogv1.CreateEnvironmentRequest{
			Parent: "applications/" + app, EnvironmentId: env, Environment: &catalogv1.Environment{Type: "environmentTypes/development", Namespace: ns},
		})
		return err
	}
	must(t, create("shop", "one", "dev", "")) // owns folder shop
	for name, tc := range map[string]struct {
		err    error
		reason errorsv1.Reason
		code   codes.Code
		meta   string
	}{
		"the same folder":    {create("shop", "one", "test", ""), errorsv1.Reason_REASON_INVALID_PATH, codes.InvalidArgument, "owner"},
		"the same namespace": {create("blog", "deep", "dev", "shop-dev"), errorsv1.Reason_REASON_IN_USE, codes.FailedPrecondition, "used_by"},
		"the same id":        {create("shop", "one", "dev", "else"), errorsv1.Reason_REASON_ALREADY_EXISTS, codes.AlreadyExists, "resource"},
	} {
		t.Run(name, func(t *testing.T) {
			if e := wantError(t, tc.err, tc.code, tc.reason); e.Meta[tc.meta] != devEnv {
				t.Errorf("meta = %v, want the owner named", e.Meta)
			}
		})
	}
	must(t, create("again", "again", "dev", "")) // folder a/again/dev
	// A folder below one that is owned, by another spelling of the same repository.
	_, err := w.api.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{
		RepositoryId: "spelled", Repository: &catalogv1.Repository{Url: "https://git.example.com/team/x/", PathTemplate: "shop/{application}"},
	})
	must(t, err)
	err = create("below", "spelled", "dev", "")
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PATH); e.Meta["owner"] != devEnv {
		t.Errorf("meta = %v", e.Meta)
	}
	// And one above.
	_, err = w.api.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{
		RepositoryId: "above", Repository: &catalogv1.Repository{Url: "https://git.example.com/team/x", PathTemplate: "a"},
	})
	must(t, err)
	wantError(t, create("above", "above", "dev", ""), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PATH)
	// A place that was given back is free again.
	_, err = w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	must(t, create("shop", "one", "test", "shop-dev"))
}

func TestEnvironmentsAreChecked(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	long := "an-application-with-quite-a-long-name"
	w.app(long)
	for name, tc := range map[string]struct {
		parent, id string
		env        *catalogv1.Environment
		code       codes.Code
		reason     errorsv1.Reason
	}{
		"no application": {"applications/nope", "dev", &catalogv1.Environment{Type: "environmentTypes/development"}, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"no type":        {"applications/" + long, "dev", nil, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"unknown type":   {"applications/" + long, "dev", &catalogv1.Environment{Type: "environmentTypes/nope"}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"too long for a namespace": {"applications/" + long, "an-environment-with-a-long-name", &catalogv1.Environment{Type: "environmentTypes/development"},
			codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"bad id": {"applications/" + long, "Dev", &catalogv1.Environment{Type: "environmentTypes/development"}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{Parent: tc.parent, EnvironmentId: tc.id, Environment: tc.env})
			wantError(t, err, tc.code, tc.reason)
		})
	}
}

func TestEnvironmentsAreListedAndUpdated(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	ctx := t.Context()
	for _, app := range []string{"blog", "shop"} {
		w.app(app)
		w.env(app, "dev")
		w.env(app, "test")
	}
	list := func(parent string) (out []string) {
		r, err := w.api.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: parent})
		must(t, err)
		for _, e := range r.GetEnvironments() {
			out = append(out, e.GetName())
		}
		return out
	}
	if got := list("applications/-"); len(got) != 4 {
		t.Errorf("all = %v", got)
	}
	if diff := cmp.Diff([]string{devEnv, "applications/shop/environments/test"}, list("applications/shop")); diff != "" {
		t.Error(diff)
	}
	e := w.getEnv(devEnv)
	e, err := w.api.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: devEnv, Etag: e.GetEtag(), DisplayName: "Dev", Type: "environmentTypes/staging", Labels: map[string]string{"a": "b"}},
	})
	must(t, err)
	if e.GetDisplayName() != "Dev" || e.GetType() != "environmentTypes/staging" || e.GetLabels()["a"] != "b" {
		t.Errorf("updated = %v", e)
	}
	_, err = w.api.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: devEnv, Namespace: "other"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"namespace"}},
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.api.CreateTarget(ctx, &catalogv1.CreateTargetRequest{TargetId: "other"})
	must(t, err)
	_, err = w.api.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "elsewhere", EnvironmentType: &catalogv1.EnvironmentType{Target: "targets/other"},
	})
	must(t, err)
	_, err = w.api.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: devEnv, Type: "environmentTypes/elsewhere"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"type"}},
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
}

func TestRequestIDMakesACreateHappenOnce(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	ctx := t.Context()
	req := &catalogv1.CreateApplicationRequest{ApplicationId: "shop", Application: &catalogv1.Application{Owner: "a"}, RequestId: "r1"}
	first, err := w.api.CreateApplication(ctx, req)
	must(t, err)
	_, err = w.api.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{Application: &catalogv1.Application{Name: "applications/shop", Owner: "b"}})
	must(t, err)
	again, err := w.api.CreateApplication(ctx, req)
	must(t, err)
	if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" {
		t.Errorf("the second answer differs:\n%s", diff)
	}
	_, err = w.api.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: "blog", RequestId: "r1"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)

	env := &catalogv1.CreateEnvironmentRequest{Parent: "applications/shop", EnvironmentId: "dev", RequestId: "r1",
		Environment: &catalogv1.Environment{Type: "environmentTypes/development"}}
	e1, err := w.api.CreateEnvironment(ctx, env)
	must(t, err)
	e2, err := w.api.CreateEnvironment(ctx, env)
	must(t, err)
	if diff := cmp.Diff(e1, e2, protocmp.Transform()); diff != "" {
		t.Errorf("the second answer differs:\n%s", diff)
	}
}

func TestDataOfAnotherVersionIsRefused(t *testing.T) {
	kv := memkv.New()
	w, _ := lightWorld(t, kv)
	w.stop()
	other := copyOf(t, kv)
	putRow(t, other, "meta/schema", "999")
	svc := catalog.New(catalog.Config{KV: other, Bus: newLightBus(), Logger: quiet()})
	err := svc.Run(t.Context())
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Precondition {
		t.Errorf("error = %v", err)
	}
}
