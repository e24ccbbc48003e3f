package app_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// Credentials that are a Kubernetes Secret, made and changed with kubectl, bring deployments into Git over SSH.
func TestCredentialsAreSecretsOfTheCluster(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	host := gittest.NewSSHServer(t)
	bare := host.Create("deployments")
	const namespace = "towpath-credentials"
	cluster.Kubectl(t, "create", "namespace", namespace)
	put := func(key gittest.SSHKey) {
		t.Helper()
		cluster.Kubectl(t, "delete", "secret", "deploy-key", "--namespace", namespace, "--ignore-not-found")
		cluster.Kubectl(t, "create", "secret", "generic", "deploy-key", "--namespace", namespace,
			"--from-literal=identity="+key.Private, "--from-literal=known_hosts="+host.KnownHosts())
	}
	first, second := gittest.NewSSHKey(t), gittest.NewSSHKey(t)
	host.Authorize(first)
	put(first)
	s := apptest.Start(t, apptest.WithCluster(cluster), func(cfg *app.Config) { cfg.Credentials.Namespace = namespace })
	apptest.Call(t, s.Catalog.UpdateRepository, &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", Url: host.URL("deployments"), Credentials: "deploy-key"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url", "credentials"}},
	})
	env := s.NewEnvironment(t, "secretly/dev")
	deploy := func(n int) {
		t.Helper()
		d := s.DeployScore(t, env, apptest.Score("web", map[string]string{"NUMBER": fmt.Sprint(n)}))
		s.WaitState(t, d.GetName(), apptest.Healthy)
	}
	deploy(1)
	// The old key ends at once: what the committer remembers of the Secret is wrong from here on, and it finds that out itself.
	put(second)
	host.Authorize(second)
	host.Drop()
	deploy(2)
	if got := bare.Git("rev-list", "--count", "main"); got != "2" {
		t.Errorf("the repository has %s commits", got)
	}
	bare.Fsck()
}
