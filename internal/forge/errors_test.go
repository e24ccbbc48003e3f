package forge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

const aToken = "glpat-0123456789abcdef"

var kinds = []forge.Kind{forge.GitHub, forge.GitLab, forge.Gitea}

func clientOf(t *testing.T, kind forge.Kind, address string) *forge.Client {
	t.Helper()
	c, err := forge.New(forge.Config{Kind: kind, URL: address, Project: "team/deployments", Token: fixed(aToken)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a service refuses is told by what can be done about it, with its words and without the token, for each service alike.
func TestRefusalsByStatus(t *testing.T) {
	soon := fmt.Sprint(time.Now().Add(90 * time.Second).Unix())
	for name, c := range map[string]struct {
		status       int
		header       map[string]string
		body         string
		want         errs.Kind
		words, after string
	}{
		"a token that is wrong": {status: 401, body: `{"message":"Bad credentials"}`, want: errs.Unauthenticated, words: "Bad credentials"},
		"a token that may not":  {status: 403, body: `{"message":"no scope"}`, want: errs.Denied, words: "give it"},
		"no such project":       {status: 404, body: `{"message":"404 Project Not Found"}`, want: errs.NotFound, words: "team/deployments"},
		"too many requests":     {status: 429, header: map[string]string{"Retry-After": "17"}, want: errs.Unavailable, after: "17"},
		"the hour's requests are spent": {
			status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon}, body: `{"message":"API rate limit exceeded"}`,
			want: errs.Unavailable, words: "rate limit",
		},
		"a secondary limit":             {status: 403, body: `{"message":"You have exceeded a secondary rate limit."}`, want: errs.Unavailable, after: "60"},
		"a limit without a time":        {status: 429, want: errs.Unavailable, after: "60"},
		"the service is down":           {status: 502, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Bad gateway</html>", want: errs.Unavailable, words: "502 Bad Gateway"},
		"it is being mended":            {status: 503, header: map[string]string{"Retry-After": "120"}, want: errs.Unavailable, after: "120"},
		"what was asked does not go":    {status: 422, body: `{"message":"Validation Failed","errors":[{"field":"head","message":"no commits"}]}`, want: errs.Precondition, words: "no commits"},
		"fields with lists of problems": {status: 400, body: `{"message":{"source_branch":["does not exist"]}}`, want: errs.Precondition, words: "does not exist"},
		"the token in the words":        {status: 403, body: `{"message":"bad token ` + aToken + `"}`, want: errs.Denied, words: "bad token ***"},
		"an address with a password":    {status: 422, body: `{"message":"cannot fetch https://bot:hunter22@git.example.com/a"}`, want: errs.Precondition, words: "https://git.example.com/a"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer "+aToken {
					t.Errorf("authorised by %q", got)
				}
				w.Header().Set("Content-Type", "application/json")
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			defer srv.Close()
			for _, kind := range kinds {
				_, err := clientOf(t, kind, srv.URL).Find(t.Context(), "towpath/shop", "main")
				wantError(t, err, c.want, c.words)
				if c.after != "" && metaOf(err)["retry_after"] != c.after {
					t.Errorf("%s: retry_after is %q, want %q", kind, metaOf(err)["retry_after"], c.after)
				}
				if strings.Contains(fmt.Sprintf("%v %v", err, metaOf(err)), aToken) || strings.Contains(err.Error(), "hunter22") {
					t.Errorf("%s: a secret is in %v", kind, err)
				}
			}
		})
	}
}

func TestOutages(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the token went to somebody else: %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	release := make(chan struct{})
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		words string
	}{
		"nobody is there":       {nil, "cannot be reached"},
		"the connection breaks": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "cannot be reached"},
		"a page for people":     {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>Sign in</html>")) }, "check that forge.url"},
		"a redirect to somebody else": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "redirects"},
		"a redirect in a circle": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, ""},
		"an answer without an end": {func(w http.ResponseWriter, _ *http.Request) { endless(w) }, ""},
		"no answer":                {func(_ http.ResponseWriter, r *http.Request) { <-release }, "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			address := closed.URL
			if c.serve != nil {
				srv := httptest.NewServer(c.serve)
				defer srv.Close()
				address = srv.URL
			}
			if name == "no answer" {
				defer close(release)
			}
			for _, kind := range kinds {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if name == "no answer" {
					ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				}
				_, err := clientOf(t, kind, address).Get(ctx, 1)
				cancel()
				wantError(t, err, errs.Unavailable, c.words)
			}
		})
	}
}

// endless writes more than anybody reads.
func endless(w http.ResponseWriter) {
	w.Write([]byte(`{"title":"`))
	line := []byte(strings.Repeat("a", 1<<20))
	for range 40 {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

func TestACallerWhoGoesAwayIsNoOutage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	if _, err := clientOf(t, forge.Gitea, srv.URL).Get(ctx, 1); !errs.Is(err, errs.Cancelled) {
		t.Errorf("%v", err)
	}
}

func TestATokenThatCannotBeReadAsksNobody(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody was asked") }))
	defer srv.Close()
	broken := errors.New("no such file")
	c, err := forge.New(forge.Config{Kind: forge.Gitea, URL: srv.URL, Project: "a/b", Token: func(context.Context) (string, error) { return "", broken }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), 1); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestWhatNewAndProposalsRefuse(t *testing.T) {
	good := forge.Config{Kind: forge.GitHub, URL: "https://git.example.com", Project: "team/deployments"}
	for name, c := range map[string]struct {
		change func(*forge.Config)
		field  string
	}{
		"a kind that nobody knows":     {func(c *forge.Config) { c.Kind = "cvs" }, "forge.kind"},
		"no address":                   {func(c *forge.Config) { c.URL = "" }, "forge.url"},
		"an address of SSH":            {func(c *forge.Config) { c.URL = "ssh://git.example.com" }, "forge.url"},
		"credentials in the address":   {func(c *forge.Config) { c.URL = "https://bot:secret-of-mine@git.example.com" }, "forge.url"},
		"a query in the address":       {func(c *forge.Config) { c.URL = "https://git.example.com?token=secret-of-mine" }, "forge.url"},
		"a project without an owner":   {func(c *forge.Config) { c.Project = "deployments" }, "forge.project"},
		"a subgroup outside of GitLab": {func(c *forge.Config) { c.Project = "a/b/c" }, "forge.project"},
		"a project that climbs":        {func(c *forge.Config) { c.Project = "a/.." }, "forge.project"},
		"a project that ends the path": {func(c *forge.Config) { c.Project = "a/b?x" }, "forge.project"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			_, err := forge.New(cfg)
			wantError(t, err, errs.Invalid, c.field)
			if err != nil && strings.Contains(err.Error(), "secret-of-mine") {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
	client, err := forge.New(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]forge.Proposal{
		"no head": {Base: "main", Title: "x"}, "no base": {Head: "a", Title: "x"}, "no title": {Head: "a", Base: "main", Title: " \n"},
		"the base as head": {Head: "main", Base: "main", Title: "x"}, "another owner's branch": {Head: "eve:a", Base: "main", Title: "x"},
		"an option as branch": {Head: "-a", Base: "main", Title: "x"},
	} {
		if _, _, err := client.Create(t.Context(), p); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := client.Merge(t.Context(), 1, forge.Merge{Method: "octopus"}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a method that nobody knows: %v", err)
	}
}

// recorder answers nothing and keeps where requests go.
type recorder struct{ urls []string }

// RoundTrip is http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.urls = append(r.urls, req.URL.String())
	return nil, errors.New("recorded")
}

func TestWhereTheAPIsAre(t *testing.T) {
	for address, c := range map[string]struct {
		kind forge.Kind
		want string
	}{
		"https://github.com":                  {forge.GitHub, "https://api.github.com/repos/team/deployments/pulls/1"},
		"https://www.github.com/":             {forge.GitHub, "https://api.github.com/repos/team/deployments/pulls/1"},
		"https://api.github.com":              {forge.GitHub, "https://api.github.com/repos/team/deployments/pulls/1"},
		"https://octo.ghe.com":                {forge.GitHub, "https://api.octo.ghe.com/repos/team/deployments/pulls/1"},
		"https://git.example.com":             {forge.GitHub, "https://git.example.com/api/v3/repos/team/deployments/pulls/1"},
		"https://gitlab.example.com/sub":      {forge.GitLab, "https://gitlab.example.com/sub/api/v4/projects/team%2Fdeployments/merge_requests/1"},
		"https://gitea.example.com:3000/git/": {forge.Gitea, "https://gitea.example.com:3000/git/api/v1/repos/team/deployments/pulls/1"},
	} {
		t.Run(address, func(t *testing.T) {
			r := &recorder{}
			client, err := forge.New(forge.Config{Kind: c.kind, URL: address, Project: "team/deployments.git", HTTPClient: &http.Client{Transport: r}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Get(t.Context(), 1); err == nil {
				t.Error("an answer out of nothing")
			}
			if len(r.urls) != 1 || r.urls[0] != c.want {
				t.Errorf("asked %v, want %s once", r.urls, c.want)
			}
		})
	}
}
