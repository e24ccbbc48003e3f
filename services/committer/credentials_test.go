package committer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// planted is what these tests hide in credentials and look for in everything that gets out.
const planted = "pl4nted-s3cret"

func resolver(t testing.TB) *credentials {
	t.Helper()
	return newCredentials(Config{CredentialsDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
}

// put writes credentials: one part with an empty name is a file, others are a folder.
func (c *credentials) put(t testing.TB, name string, parts map[string]string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	for part, content := range parts {
		file := path
		if part != "" {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			file = filepath.Join(path, part)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func openssh(t testing.TB, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEveryFormOfCredentialsLogsIn(t *testing.T) {
	type parts = map[string]string
	for name, c := range map[string]struct {
		parts          parts
		user, password string
	}{
		"a file with user and password": {parts{"": "bot:a:b\n"}, "bot", "a:b"},
		"a file with a token":           {parts{"": "tok\n"}, "x-access-token", "tok"},
		"a file without a user":         {parts{"": ":tok"}, "x-access-token", "tok"},
		"user and password":             {parts{"username": "bot", "password": "pw\n"}, "bot", "pw"},
		"a password alone":              {parts{"password": "pw"}, "x-access-token", "pw"},
		"a token":                       {parts{"token": "tok"}, "x-access-token", "tok"},
		"a token and its user":          {parts{"username": "oauth2", "token": "tok"}, "oauth2", "tok"},
		"a bearer token":                {parts{"bearerToken": "tok"}, "", "tok"},
		"an authority alone":            {parts{"caFile": "x"}, "", ""},
		"what is not ours is passed by": {parts{"token": "tok", "README": "x"}, "x-access-token", "tok"},
	} {
		r := resolver(t)
		r.put(t, "host", c.parts)
		user, password, err := r.source("host")(t.Context())
		if err != nil || user != c.user || password != c.password {
			t.Errorf("%s gives %q, %q, %v", name, user, password, err)
		}
	}
	if newCredentials(Config{}).source("") != nil || newCredentials(Config{}).ssh("") != nil {
		t.Error("no name gives credentials")
	}
}

func TestTokensAndWebhookSecretsForOthers(t *testing.T) {
	r := resolver(t)
	r.put(t, "plain", map[string]string{"": "a:b"})
	r.put(t, "folder", map[string]string{"token": "tok"})
	r.put(t, "open", map[string]string{"caFile": "x"})
	for name, want := range map[string][2]string{"plain": {"b", "a:b"}, "folder": {"tok", "tok"}, "open": {"", ""}, "none": {"", ""}, "": {"", ""}} {
		token, err := r.token(t.Context(), name)
		if token != want[0] || (err == nil) != (want[0] != "") {
			t.Errorf("the token of %q is %q, %v", name, token, err)
		}
		secret, err := r.webhookSecret(t.Context(), name)
		if secret != want[1] || (err == nil) != (want[1] != "") {
			t.Errorf("the webhook secret of %q is %q, %v", name, secret, err)
		}
	}
}

func TestCredentialsThatDoNotWorkAreNamedAndNotShown(t *testing.T) {
	type parts = map[string]string
	app := func(more parts) parts {
		out := parts{"githubAppID": "1", "githubAppInstallationID": "2", "githubAppPrivateKey": planted}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := openssh(t, newEd25519(t))
	asPEM := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	basic := func(r *credentials) error { _, _, err := r.source("host")(t.Context()); return err }
	overSSH := func(r *credentials) error { _, err := r.ssh("host")(t.Context()); return err }
	webhook := func(r *credentials) error { _, err := r.webhookSecret(t.Context(), "host"); return err }
	overTLS := func(r *credentials) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:1/", nil)
		if err != nil {
			return err
		}
		res, err := r.client("host", nil).Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	for name, c := range map[string]struct {
		parts parts
		use   func(*credentials) error
		says  string
	}{
		"nothing of that name":               {nil, basic, "credentials folder"},
		"an empty file":                      {parts{"": " \n"}, basic, "are empty"},
		"an empty folder":                    {parts{"README": planted}, basic, "are empty"},
		"a file that is no secret":           {parts{"": planted + strings.Repeat("x", maxPart)}, basic, "1 MiB"},
		"a user alone":                       {parts{"username": planted}, basic, `"password"`},
		"an SSH key over HTTP":               {parts{"identity": key, "passphrase": planted}, basic, "SSH address"},
		"a token over SSH":                   {parts{"token": planted}, overSSH, `"identity"`},
		"an SSH key that is none":            {parts{"identity": planted}, overSSH, "ssh-keygen"},
		"known hosts that are none":          {parts{"identity": key, "known_hosts": planted}, overSSH, "ssh-keyscan"},
		"an unknown policy":                  {parts{"identity": key, "host_key_policy": planted}, overSSH, "accept-new"},
		"an SSH key for webhooks":            {parts{"identity": key}, webhook, `"token"`},
		"an app's id that is none":           {app(parts{"githubAppID": planted}), basic, `"githubAppID"`},
		"an app's installation that is none": {app(parts{"githubAppInstallationID": planted}), basic, `"githubAppInstallationID"`},
		"an app's key that is none":          {app(nil), basic, "RSA key"},
		"an app without a key":               {parts{"githubAppID": "1", "githubAppInstallationID": "2"}, basic, `"githubAppPrivateKey"`},
		"an app's address that is none":      {app(parts{"githubAppPrivateKey": asPEM, "githubAppBaseURL": "ftp://" + planted}), basic, `"githubAppBaseURL"`},
		"an authority that is none":          {parts{"token": planted, "caFile": planted}, overTLS, `"caFile"`},
	} {
		r := resolver(t)
		r.put(t, "host", c.parts)
		err := c.use(r)
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.Precondition || !strings.Contains(err.Error(), `"host"`) || !strings.Contains(err.Error(), c.says) ||
			strings.Contains(err.Error(), planted) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	r := resolver(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(r.dir), "outside"), []byte(planted), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../outside", "a/b", "..", "."} {
		if _, _, err := r.source(name)(t.Context()); !errs.Is(err, errs.Precondition) {
			t.Errorf("the name %q gives %v", name, err)
		}
	}
}

func TestASecretThatEverybodyCanReadIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	r := resolver(t)
	r.log = slog.New(slog.NewTextHandler(&log, nil))
	r.put(t, "host", map[string]string{"": planted})
	if err := os.Chmod(filepath.Join(r.dir, "host"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := r.source("host")(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := log.String(); strings.Count(got, "credentials=host") != 1 || strings.Contains(got, planted) {
		t.Errorf("the log says %s", got)
	}
}

// cluster is a source of Secrets that counts how it is asked.
type cluster struct {
	mu    sync.Mutex
	data  map[string]map[string][]byte
	fails error
	ages  []time.Duration
}

// Secret gives what was put there.
func (k *cluster) Secret(_ context.Context, name string, maxAge time.Duration) (map[string][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ages = append(k.ages, maxAge)
	if k.fails != nil {
		return nil, k.fails
	}
	data, ok := k.data[name]
	if !ok {
		return nil, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "no Secret")
	}
	return data, nil
}

func TestKubernetesSecretsAreReadWhereThereIsNoFile(t *testing.T) {
	k := &cluster{data: map[string]map[string][]byte{
		"flux":   {"username": []byte("bot"), "password": []byte("pw\n")},
		"deploy": {"ssh-privatekey": []byte(openssh(t, newEd25519(t))), "known_hosts": nil},
		"both":   {"token": []byte("of the cluster")},
	}}
	r := resolver(t)
	r.kube = k
	r.put(t, "both", map[string]string{"": "of the file"})
	for name, want := range map[string]string{"flux": "pw", "both": "of the file"} {
		if _, got, err := r.source(name)(t.Context()); got != want || err != nil {
			t.Errorf("%s gives %q, %v", name, got, err)
		}
	}
	if login, err := r.ssh("deploy")(t.Context()); err != nil || len(login.Signers) != 1 {
		t.Errorf("a Secret of the type ssh-auth gives %v", err)
	}
	if _, _, err := r.source("gone")(t.Context()); !errs.Is(err, errs.Precondition) {
		t.Errorf("a missing Secret gives %v", err)
	}
	k.fails = errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster is away")
	if _, _, err := r.source("flux")(t.Context()); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), `"flux"`) {
		t.Errorf("a cluster that does not answer gives %v", err)
	}
	k.fails = nil
	refused := errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "who are you")
	if err := r.retryRenewed(t.Context(), "flux", refused); !errors.Is(err, refused) {
		t.Errorf("the same credentials refused give %v", err)
	}
	k.data["flux"] = map[string][]byte{"token": []byte("new")}
	if err := r.retryRenewed(t.Context(), "flux", refused); !errs.Is(err, errs.Unavailable) {
		t.Errorf("credentials changed meanwhile give %v", err)
	}
	if k.ages[len(k.ages)-1] != 0 {
		t.Error("after a refusal, a remembered Secret is taken")
	}
}

// github is GitHub's API for apps, as documented.
type github struct {
	*httptest.Server
	key     *rsa.PrivateKey
	asked   atomic.Int64
	answer  atomic.Int64 // status instead of a token
	life    time.Duration
	header  http.Header
	release chan struct{}
}

func newGitHub(t testing.TB) *github {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &github{key: key, life: time.Hour, header: http.Header{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v3/app/installations/{id}/access_tokens", g.accessTokens)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *github) accessTokens(w http.ResponseWriter, r *http.Request) {
	n := g.asked.Add(1)
	if g.release != nil {
		<-g.release
	}
	for k, v := range g.header {
		w.Header()[k] = v
	}
	given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if status := g.answer.Load(); status != 0 {
		w.WriteHeader(int(status))
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "GitHub says no to " + given})
		return
	}
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(given, claims, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"}))
	if err != nil || claims.Issuer != "12" || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > 10*time.Minute {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "A JSON web token could not be decoded"})
		return
	}
	if r.PathValue("id") != "34" {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "Not Found"})
		return
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprintf("ghs_%d", n), "expires_at": time.Now().Add(g.life).UTC().Format(time.RFC3339)})
}

func (g *github) parts() map[string]string {
	return map[string]string{
		"githubAppID": "12", "githubAppInstallationID": "34", "githubAppBaseURL": g.URL + "/api/v3/",
		"githubAppPrivateKey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(g.key)})),
	}
}

func TestAGitHubAppsTokenIsHadOnceAndInTime(t *testing.T) {
	g := newGitHub(t)
	g.release = make(chan struct{})
	r := resolver(t)
	r.put(t, "app", g.parts())
	var waiting sync.WaitGroup
	ask := func(want string) {
		t.Helper()
		user, token, err := r.source("app")(t.Context())
		if err != nil || user != "x-access-token" || token != want {
			t.Errorf("it gives %q, %q, %v", user, token, err)
		}
	}
	for range 50 {
		waiting.Go(func() { ask("ghs_1") })
	}
	impatient, cancel := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	gone.Go(func() {
		if _, _, err := r.source("app")(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("one who goes away gets %v", err)
		}
	})
	cancel()
	gone.Wait() // before there is an answer
	close(g.release)
	waiting.Wait()
	if got := g.asked.Load(); got != 1 {
		t.Fatalf("50 callers asked %d times", got)
	}
	now := time.Now()
	r.now = func() time.Time { return now.Add(54 * time.Minute) }
	ask("ghs_1")
	r.now = func() time.Time { return now.Add(56 * time.Minute) }
	g.answer.Store(503)
	ask("ghs_1") // better than none
	if got := g.asked.Load(); got != 2 {
		t.Fatalf("shortly before the end it asked %d times", got)
	}
	g.answer.Store(0)
	g.life = 2 * time.Hour
	ask("ghs_3")
	if got := r.redact("ghs_3 and ghs_1"); strings.Contains(got, "ghs_") {
		t.Errorf("tokens get out: %s", got)
	}
	refused := errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "who are you")
	if err := r.retryRenewed(t.Context(), "app", refused); !errors.Is(err, refused) {
		t.Errorf("a young token refused gives %v", err)
	}
	r.now = func() time.Time { return now.Add(58 * time.Minute) }
	if err := r.retryRenewed(t.Context(), "app", refused); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an older token refused gives %v", err)
	}
	ask("ghs_4")
}

func TestWhatGitHubHasAgainstAnAppIsTold(t *testing.T) {
	other := newGitHub(t)
	for name, c := range map[string]struct {
		status int64
		header string
		change map[string]string
		kind   errs.Kind
		says   string
	}{
		"another key":               {change: map[string]string{"githubAppPrivateKey": other.parts()["githubAppPrivateKey"]}, kind: errs.Precondition, says: "check githubAppID and githubAppPrivateKey"},
		"another installation":      {change: map[string]string{"githubAppInstallationID": "99"}, kind: errs.Precondition, says: "check githubAppInstallationID"},
		"a suspended app":           {status: 403, kind: errs.Precondition, says: "GitHub says no"},
		"too many calls":            {status: 403, header: "Retry-After", kind: errs.Unavailable, says: "no token now"},
		"too many calls, by status": {status: 429, kind: errs.Unavailable, says: "no token now"},
		"a failure of GitHub":       {status: 502, kind: errs.Unavailable, says: "no token now"},
		"not GitHub":                {status: 201, kind: errs.Precondition, says: "does not answer like GitHub"},
	} {
		g := newGitHub(t)
		g.answer.Store(c.status)
		if c.header != "" {
			g.header.Set(c.header, "60")
		}
		r := resolver(t)
		parts := g.parts()
		for k, v := range c.change {
			parts[k] = v
		}
		r.put(t, "app", parts)
		_, err := r.token(t.Context(), "app")
		if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), `"app"`) || strings.Contains(err.Error(), "eyJ") {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

func TestAuthoritiesOfTheCredentialsAreTrusted(t *testing.T) {
	serve := func() (*httptest.Server, string) {
		s := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(s.Close)
		return s, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	}
	s, authority := serve()
	r := resolver(t)
	r.put(t, "host", map[string]string{"token": "tok"})
	client := r.client("host", nil)
	get := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	if get() == nil {
		t.Fatal("an authority that nobody knows is trusted")
	}
	r.put(t, "host", map[string]string{"token": "tok", "caFile": authority})
	if err := get(); err != nil {
		t.Fatalf("a known authority gives %v", err)
	}
	r.put(t, "host", map[string]string{"token": "tok"})
	if get() == nil {
		t.Fatal("an authority that was taken away is trusted")
	}
}

func TestTheSameKeySignsTheSameCommitTheSame(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	how := &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
	for name, key := range map[string]any{"ed25519": newEd25519(t), "ecdsa": ec, "rsa": rsaKey} {
		var first string
		for range 2 {
			r := resolver(t)
			r.put(t, "signer", map[string]string{"identity": openssh(t, key)})
			sign, err := r.signer(t.Context(), how)
			if err != nil {
				t.Fatal(err)
			}
			got, err := sign([]byte("tree and message"))
			if err != nil || first != "" && got != first {
				t.Errorf("%s signs in two ways, %v", name, err)
			}
			first = got
		}
		r := resolver(t)
		r.put(t, "signer", map[string]string{"identity": openssh(t, key)})
		if print, err := r.fingerprint(t.Context(), how); err != nil || !strings.HasPrefix(print, "SHA256:") {
			t.Errorf("the key of %s is called %q, %v", name, print, err)
		}
	}
}

// BenchmarkSign is what one commit's signature costs.
func BenchmarkSign(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 600)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		b.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]any{"ed25519": newEd25519(b), "ecdsa": ec, "rsa4096": rsaKey} {
		b.Run(name, func(b *testing.B) {
			r := resolver(b)
			r.put(b, "signer", map[string]string{"identity": openssh(b, key)})
			how := &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
			for b.Loop() {
				sign, err := r.signer(b.Context(), how)
				if err == nil {
					_, err = sign(payload)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
