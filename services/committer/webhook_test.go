package committer_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/forge/giteatest"
	"github.com/towpath-dev/towpath/services/committer"
)

const (
	hookSecret = "a-secret-of-webhooks"
	aPush      = `{"ref":"refs/heads/main","repository":{"full_name":"a/b"}}`
)

// hooked serves the world's webhooks and gives the address for its repository.
func hooked(w *world) string {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+committer.WebhookPath, func(rw http.ResponseWriter, r *http.Request) { w.svc.Webhooks().ServeHTTP(rw, r) })
	srv := httptest.NewServer(mux)
	w.t.Cleanup(srv.Close)
	return srv.URL + "/hooks/git/deploy"
}

func withHooks(t *testing.T, kind committerv1.Forge_Kind) option {
	return func(w *world) {
		w.cfg.CredentialsDir = t.TempDir()
		putCredentials(t, w.cfg.CredentialsDir, "hooks", hookSecret)
		w.repo.Forge = &committerv1.Forge{Kind: kind, WebhookCredentials: "hooks"}
	}
}

func putCredentials(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// In these tests the committer looks at branches once an hour: what it sees, it was told.
func TestGiteaTellsOfAPersonsPushAndMerge(t *testing.T) {
	gitea := giteatest.Get(t)
	owner := gitea.NewUser(t)
	p := gitea.NewProject(t, owner, true)
	w := newWorld(t, []option{withHooks(t, committerv1.Forge_KIND_GITEA), func(w *world) {
		putCredentials(t, w.cfg.CredentialsDir, "deploy", owner.Name+":"+owner.Token)
		w.repo.Url, w.repo.Credentials = p.CloneURL, "deploy"
	}})
	address := hooked(w)
	p.Hook(t, address, hookSecret)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a: 1\n"}))
	w.committed(name("dev", 1))

	foreign := func(tip string) {
		t.Helper()
		w.await("news of "+tip, func() bool {
			for _, d := range w.all("repository.foreign_commit") {
				ev := &eventsv1.ForeignCommit{}
				if err := d.Decode(ev); err != nil {
					t.Fatal(err)
				}
				if ev.GetCommit() == tip {
					return true
				}
			}
			return false
		})
	}
	foreign(p.Commit(t, owner, "main", "environments/dev/shop/a.yaml", "a: 2\n"))

	// After a restart nobody has deployed or read yet.
	w.stop()
	w.start()
	w.poll("the committer to know the repository", func() bool {
		return deliver(t, "POST", address, aPush, "guess") == http.StatusUnauthorized
	})
	p.Commit(t, owner, "by-hand", "environments/dev/shop/a.yaml", "a: 3\n")
	var pr struct{ Number int64 }
	p.Do(t, owner, "POST", "/pulls", map[string]any{"head": "by-hand", "base": "main", "title": "By hand"}, &pr)
	at := fmt.Sprintf("/repos/%s/pulls/%d/merge", p.Path, pr.Number)
	w.poll("a merge", func() bool { // refused while Gitea looks for conflicts
		status, _ := gitea.Try(t, owner, "POST", at, map[string]any{"Do": "merge"}, nil)
		return status == http.StatusOK
	})
	foreign(p.Tip(t, "main"))
}

func TestWebhooksAreChecked(t *testing.T) {
	w := embedded(t, withHooks(t, committerv1.Forge_KIND_GITHUB))
	if _, err := w.svc.GetHead(context.Background(), &committerv1.GetHeadRequest{Repository: w.repo}); err != nil {
		t.Fatal(err)
	}
	missing := cloneRef(w.repo)
	missing.Name, missing.Forge.WebhookCredentials = "repositories/other", "not-there"
	if _, err := w.svc.GetHead(context.Background(), &committerv1.GetHeadRequest{Repository: missing}); err != nil {
		t.Fatal(err)
	}
	address := hooked(w)
	for name, c := range map[string]struct {
		method, address, body, secret string
		want                          int
	}{
		"a push":                            {"POST", address, aPush, hookSecret, http.StatusAccepted},
		"not signed":                        {"POST", address, aPush, "", http.StatusUnauthorized},
		"another secret":                    {"POST", address, aPush, "guess", http.StatusUnauthorized},
		"no JSON":                           {"POST", address, "x", hookSecret, http.StatusBadRequest},
		"too large":                         {"POST", address, strings.Repeat("x", 26<<20), hookSecret, http.StatusRequestEntityTooLarge},
		"a repository that nobody has used": {"POST", address + "-2", aPush, "", http.StatusAccepted},
		"a secret that is not there":        {"POST", strings.Replace(address, "/deploy", "/other", 1), aPush, hookSecret, http.StatusServiceUnavailable},
		"a browser":                         {"GET", address, "", "", http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := deliver(t, c.method, c.address, c.body, c.secret); got != c.want {
				t.Errorf("the answer is %d, want %d", got, c.want)
			}
		})
	}
	for range 30 {
		deliver(t, "POST", address, aPush, "guess")
	}
	if got := deliver(t, "POST", address, aPush, hookSecret); got != http.StatusTooManyRequests {
		t.Errorf("after 30 guesses the answer is %d", got)
	}
}

func TestASecretOfWebhooksIsRenewedWithoutARestart(t *testing.T) {
	w := embedded(t, withHooks(t, committerv1.Forge_KIND_GITHUB))
	if _, err := w.svc.GetHead(context.Background(), &committerv1.GetHeadRequest{Repository: w.repo}); err != nil {
		t.Fatal(err)
	}
	address := hooked(w)
	putCredentials(t, w.cfg.CredentialsDir, "hooks", "another-secret")
	if got := deliver(t, "POST", address, aPush, hookSecret); got != http.StatusUnauthorized {
		t.Errorf("with the old secret: %d", got)
	}
	if got := deliver(t, "POST", address, aPush, "another-secret"); got != http.StatusAccepted {
		t.Errorf("with the new secret: %d", got)
	}
	// Without a secret in the catalog, nobody is listened to.
	w.repo.Forge = &committerv1.Forge{Kind: committerv1.Forge_KIND_GITHUB}
	if _, err := w.svc.GetHead(context.Background(), &committerv1.GetHeadRequest{Repository: w.repo}); err != nil {
		t.Fatal(err)
	}
	if got := deliver(t, "POST", address, aPush, "guess"); got != http.StatusAccepted {
		t.Errorf("for a repository without webhooks: %d", got)
	}
}

func deliver(t *testing.T, method, address, body, secret string) int {
	t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "push")
	if secret != "" {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
