package committer_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/encoding/protojson"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// deployAround sends deployments one after the other and rotates in the middle of them, as operators do: the new credentials
// work, then they are put where the committer finds them, then the old ones end.
func deployAround(w *world, allow, put, end func()) {
	w.t.Helper()
	const each = 6
	n := 0
	deploy := func(count int) {
		w.t.Helper()
		for range count {
			n++
			w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
		}
	}
	deploy(each)
	w.committed(dep("dev", 1))
	allow()
	deploy(each)
	put()
	deploy(each)
	w.committed(dep("dev", n)) // one made with the new ones, so that the old ones may end
	n++
	w.send(w.change("dev", n, map[string]string{"a.yaml": "before the end"}))
	w.committed(dep("dev", n))
	end()
	deploy(each)
	for i := 1; i <= n; i++ {
		w.committed(dep("dev", i))
	}
	if w.commits() != n {
		w.t.Errorf("there are %d commits of %d", w.commits(), n)
	}
}

func TestATokenIsRotatedWhileDeploymentsGoOn(t *testing.T) {
	t.Parallel()
	w, srv := remote(t, withCredentials(t, "first-token\n"), func(w *world) {})
	srv.RequireAuth("x-access-token", "first-token")
	deployAround(w,
		func() { srv.AllowAuth("bot", "second-token") },
		func() { w.replaceCredentials("bot:second-token\n") },
		func() { srv.RequireAuth("bot", "second-token"); srv.AllowAuth("bot", "") })
}

// replaceCredentials changes a file as an editor does that writes beside it and renames.
func (w *world) replaceCredentials(content string) {
	w.t.Helper()
	tmp := filepath.Join(w.t.TempDir(), "new")
	err := os.WriteFile(tmp, []byte(content), 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(w.cfg.CredentialsDir, "host"))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAnSSHKeyIsRotatedWhileDeploymentsGoOn(t *testing.T) {
	t.Parallel()
	w, srv := overSSH(t)
	before, after := gittest.NewSSHKey(t), gittest.NewSSHKey(t)
	use := func(k gittest.SSHKey) {
		w.folder("host", map[string]string{"identity": k.Private, "known_hosts": srv.KnownHosts()})
	}
	srv.Authorize(before)
	use(before)
	deployAround(w, func() { srv.Authorize(before, after) }, func() { use(after) }, func() { srv.Authorize(after); srv.Drop() })
}

// apps is GitHub's API: it gives tokens to whoever signs with one of the keys.
type apps struct {
	*httptest.Server
	mu    sync.Mutex
	keys  []*rsa.PublicKey
	given func(token string)
	asked int
}

func newApps(t testing.TB, given func(token string)) *apps {
	a := &apps{given: given}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *apps) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	assertion, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for i, key := range a.keys {
		if _, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return key, nil }); err != nil || r.URL.Path != "/app/installations/34/access_tokens" {
			continue
		}
		a.asked++
		token := fmt.Sprintf("ghs_key%d_token%d", i, a.asked)
		a.given(token)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour)})
		return
	}
	w.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "A JSON web token could not be decoded"})
}

func (a *apps) accept(keys ...*rsa.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = keys
}

func (a *apps) parts(key *rsa.PrivateKey) map[string]string {
	return map[string]string{
		"githubAppID": "12", "githubAppInstallationID": "34", "githubAppBaseURL": a.URL,
		"githubAppPrivateKey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}
}

func TestAGitHubAppsKeyIsRotatedWhileDeploymentsGoOn(t *testing.T) {
	t.Parallel()
	before, after := rsaKey(t), rsaKey(t)
	var srv *gittest.Server
	var latest string
	api := newApps(t, func(token string) { latest = token; srv.AllowAuth("x-access-token", token) })
	api.accept(&before.PublicKey)
	var w *world
	w, srv = remote(t, func(w *world) {
		w.repo.Credentials = "app"
		w.folder("app", api.parts(before))
	})
	srv.RequireAuth("nobody", "never")
	deployAround(w,
		func() { api.accept(&before.PublicKey, &after.PublicKey) },
		func() { w.folder("app", api.parts(after)) },
		func() { api.accept(nil, &after.PublicKey) })
	api.mu.Lock()
	defer api.mu.Unlock()
	if !strings.HasPrefix(latest, "ghs_key1_") || api.asked != 2 {
		t.Errorf("the last token is %s, after %d calls", latest, api.asked)
	}
}

// safeLog keeps all that is logged.
type safeLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// echo is a Git host that repeats everything that it is sent, in every form it can think of.
func echo(t testing.TB, status int) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		text := fmt.Sprintf("no: %s | %s:%s | https://%s:%s@host/x?token=%s | %s", r.Header.Get("Authorization"), user, password, user, password, password,
			base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		http.Error(w, text, status)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestNoSecretGetsOutInLogsErrorsAndEvents(t *testing.T) {
	const secret = "s3cret-Pl4nted/val+ue"
	key := rsaKey(t)
	api := newApps(t, func(string) {})
	api.accept(&key.PublicKey)
	signing, _ := sshParts(t, ed25519Key(t), secret)
	pgp, _ := gpgParts(t, 22, secret)
	login := gittest.NewSSHKey(t)
	for what, parts := range map[string]map[string]string{
		"user and password": {"username": "bot", "password": secret},
		"token":             {"token": secret},
		"bearer token":      {"bearerToken": secret},
		"GitHub App":        api.parts(key),
		"broken GitHub App": {"githubAppID": "12", "githubAppInstallationID": "34", "githubAppPrivateKey": secret},
		"broken key":        {"identity": secret},
		"wrong passphrase":  {"identity": signing["identity"], "passphrase": secret + "x"},
		"SSH key":           {"identity": login.Private, "host_key_policy": "accept-new"},
		"signing key":       signing,
		"OpenPGP key":       pgp,
	} {
		for _, status := range []int{401, 403, 500} {
			t.Run(fmt.Sprint(what, " ", status), func(t *testing.T) {
				t.Parallel()
				log := &safeLog{}
				w := newWorld(t, []option{func(w *world) {
					w.cfg.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
					w.cfg.TipInterval = 20 * time.Millisecond
					w.repo.Url, w.repo.Credentials = echo(t, status).URL+"/shop", "host"
					w.folder("host", parts)
					if what == "SSH key" {
						srv := gittest.NewSSHServer(t)
						srv.Create("shop")
						srv.Authorize(login)
						srv.Deny("no: " + strings.Join(strings.Fields(login.Private), " "))
						w.repo.Url = srv.URL("shop")
					}
					if what == "signing key" || what == "OpenPGP key" {
						w.folder("host", map[string]string{"token": secret})
						w.folder("signer", parts)
						w.repo.Signing = &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
					}
				}})
				w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
				w.await("an answer", func() bool {
					return w.has("deployment.failed", dep("dev", 1)) || w.has("deployment.waiting", dep("dev", 1))
				})
				_, err := w.svc.GetHead(t.Context(), &committerv1.GetHeadRequest{Repository: w.repo})
				if err == nil {
					t.Fatal("the head can be read")
				}
				w.stop()
				all := log.String() + err.Error()
				w.mu.Lock()
				for _, d := range w.seen {
					all += fmt.Sprint(d) + string(d.Data)
				}
				w.mu.Unlock()
				if text, err := protojson.Marshal(w.repo); err == nil {
					all += string(text)
				}
				needles := []string{secret, "s3cret-Pl4nted", "s3cret-Pl4nted%2Fval%2Bue", "ghs_", base64.StdEncoding.EncodeToString([]byte("bot:" + secret)),
					base64.StdEncoding.EncodeToString([]byte("x-access-token:" + secret)), strings.Fields(login.Private)[5]}
				for _, line := range strings.Split(parts["identity"]+"\n"+parts["githubAppPrivateKey"]+"\n"+parts["git.asc"], "\n") {
					if len(line) > 30 && !strings.HasPrefix(line, "-----") {
						needles = append(needles, line)
					}
				}
				for _, n := range needles {
					if strings.Contains(all, n) {
						t.Errorf("%q gets out: %s", n, around(all, n))
					}
				}
			})
		}
	}
}

func around(text, needle string) string {
	i := strings.Index(text, needle)
	return text[max(0, i-300):min(len(text), i+100)]
}
