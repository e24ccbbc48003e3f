package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// A webhook needs no token of Towpath's, but the secret that the repository names; a program that guesses is told nothing else.
func TestWebhooksAreServed(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-of-webhooks"
	credentials := t.TempDir()
	if err := os.WriteFile(filepath.Join(credentials, "hooks"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := gittest.NewServer(t)
	host.Create("shop")
	sys := apptest.Start(t, func(c *app.Config) { c.CredentialsDir = credentials })
	apptest.Call(t, sys.Catalog.UpdateRepository, &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", Url: host.URL("shop"), Forge: &committerv1.Forge{
			Kind: committerv1.Forge_KIND_GITEA, Url: "http://127.0.0.1", Project: "team/shop", WebhookCredentials: "hooks",
		}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url", "forge"}},
	})
	env := sys.NewEnvironment(t, "hooked/dev")
	const push = `{"ref":"refs/heads/main","repository":{"full_name":"team/shop"}}`
	deliver := func(secret string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://"+sys.Endpoints.HTTP+"/hooks/git/default", strings.NewReader(push))
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(push))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Gitea-Event", "push")
		req.Header.Set("X-Gitea-Signature", hex.EncodeToString(mac.Sum(nil)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := deliver("guess"); got != http.StatusAccepted {
		t.Errorf("before anything is known of the repository: %d", got)
	}
	sys.DeployScore(t, env, apptest.Score("web", nil))
	apptest.Await(t, "the repository to be known", func() bool { return deliver("guess") == http.StatusUnauthorized })
	if got := deliver(secret); got != http.StatusAccepted {
		t.Errorf("signed: %d", got)
	}
}
