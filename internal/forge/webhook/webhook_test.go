package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/forge/webhook"
)

const secret = "correct horse"

// The bodies have the fields of the hosts' documentation that Towpath reads, and some more.
const (
	hubPush = `{"ref":"refs/heads/main","before":"1111111111111111111111111111111111111111","after":"2222222222222222222222222222222222222222",
		"repository":{"full_name":"team/deployments","clone_url":"https://git.example.com/team/deployments.git","ssh_url":"git@git.example.com:team/deployments.git"},
		"pusher":{"name":"alice"},"sender":{"login":"alice"},"commits":[]}`
	hubPull = `{"action":"closed","number":7,"pull_request":{"number":7,"state":"closed","merged":true,"head":{"ref":"towpath/shop","sha":"3333333333333333333333333333333333333333"},
		"base":{"ref":"main"}},"repository":{"full_name":"team/deployments","clone_url":"https://git.example.com/team/deployments.git"},"sender":{"login":"bob"}}`
	labPush = `{"object_kind":"push","ref":"refs/heads/feature/x","before":"0000000000000000000000000000000000000000","after":"2222222222222222222222222222222222222222",
		"user_username":"alice","project":{"path_with_namespace":"group/sub/deployments","git_http_url":"https://gitlab.example.com/group/sub/deployments.git",
		"git_ssh_url":"git@gitlab.example.com:group/sub/deployments.git"}}`
	labPull = `{"object_kind":"merge_request","user":{"username":"bob"},"project":{"path_with_namespace":"group/sub/deployments","git_http_url":"https://gitlab.example.com/group/sub/deployments.git"},
		"object_attributes":{"iid":7,"state":"merged","source_branch":"towpath/shop","target_branch":"main","last_commit":{"id":"3333333333333333333333333333333333333333"},"action":"merge"}}`
)

func sign(body, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestEventsOfEachHostAreRead(t *testing.T) {
	hubURLs := []string{"https://git.example.com/team/deployments.git", "git@git.example.com:team/deployments.git"}
	push := &webhook.Event{
		Kind: webhook.Push, Project: "team/deployments", URLs: hubURLs, Branch: "main", Actor: "alice",
		Before: "1111111111111111111111111111111111111111", After: "2222222222222222222222222222222222222222",
	}
	pull := &webhook.Event{
		Kind: webhook.PullRequest, Project: "team/deployments", URLs: hubURLs[:1], Number: 7, State: forge.Merged, Head: "towpath/shop",
		Base: "main", HeadCommit: "3333333333333333333333333333333333333333", Actor: "bob",
	}
	tag := `{"ref":"refs/tags/v1","before":"","after":"2222222222222222222222222222222222222222"}`
	for name, c := range map[string]struct {
		kind   forge.Kind
		header http.Header
		body   string
		want   *webhook.Event
	}{
		"a push to GitHub": {forge.GitHub, header("X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+sign(hubPush, secret)), hubPush, push},
		"a push to Gitea":  {forge.Gitea, header("X-Gitea-Event", "push", "X-Gitea-Signature", sign(hubPush, secret)), hubPush, push},
		"a push to Gitea, signed as GitHub does": {
			forge.Gitea, header("X-Gitea-Event", "push", "X-Hub-Signature-256", "sha256="+sign(hubPush, secret)), hubPush, push,
		},
		"a push to Forgejo":     {forge.Gitea, header("X-Forgejo-Event", "push", "X-Forgejo-Signature", sign(hubPush, secret)), hubPush, push},
		"a merge at GitHub":     {forge.GitHub, header("X-GitHub-Event", "pull_request", "X-Hub-Signature-256", "sha256="+sign(hubPull, secret)), hubPull, pull},
		"a new commit at Gitea": {forge.Gitea, header("X-Gitea-Event", "pull_request_sync", "X-Gitea-Signature", sign(hubPull, secret)), hubPull, pull},
		"a ping of GitHub":      {forge.GitHub, header("X-GitHub-Event", "ping", "X-Hub-Signature-256", "sha256="+sign("{}", secret)), "{}", &webhook.Event{Kind: webhook.Ping}},
		"a star at GitHub":      {forge.GitHub, header("X-GitHub-Event", "star", "X-Hub-Signature-256", "sha256="+sign("{}", secret)), "{}", &webhook.Event{}},
		"a tag at GitHub": {
			forge.GitHub, header("X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+sign(tag, secret)), tag,
			&webhook.Event{Kind: webhook.Push, After: "2222222222222222222222222222222222222222"},
		},
		"a new branch at GitLab": {forge.GitLab, header("X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", secret), labPush, &webhook.Event{
			Kind: webhook.Push, Project: "group/sub/deployments", Branch: "feature/x", Actor: "alice", After: "2222222222222222222222222222222222222222",
			URLs: []string{"https://gitlab.example.com/group/sub/deployments.git", "git@gitlab.example.com:group/sub/deployments.git"},
		}},
		"a merge at GitLab": {forge.GitLab, header("X-Gitlab-Event", "Merge Request Hook", "X-Gitlab-Token", secret), labPull, &webhook.Event{
			Kind: webhook.PullRequest, Project: "group/sub/deployments", Number: 7, State: forge.Merged, Head: "towpath/shop", Base: "main",
			HeadCommit: "3333333333333333333333333333333333333333", Actor: "bob", URLs: []string{"https://gitlab.example.com/group/sub/deployments.git"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := webhook.Parse(c.kind, c.header, []byte(c.body), []byte(secret))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatIsNotTheHostsIsRefused(t *testing.T) {
	signed := func(body string) http.Header {
		return header("X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+sign(body, secret))
	}
	form := signed(hubPush)
	form.Set("Content-Type", "application/x-www-form-urlencoded")
	big := string(bytes.Repeat([]byte(" "), webhook.MaxBody+1))
	for name, c := range map[string]struct {
		kind         forge.Kind
		header       http.Header
		body, secret string
		want         errs.Kind
	}{
		"not signed":                    {forge.GitHub, header("X-GitHub-Event", "push"), hubPush, secret, errs.Unauthenticated},
		"another secret":                {forge.GitHub, signed(hubPush), hubPush, "other", errs.Unauthenticated},
		"another body":                  {forge.GitHub, signed(hubPush), hubPull, secret, errs.Unauthenticated},
		"SHA-1 only":                    {forge.GitHub, header("X-Hub-Signature", "sha1="+sign(hubPush, secret)), hubPush, secret, errs.Unauthenticated},
		"a signature that is no hex":    {forge.GitHub, header("X-Hub-Signature-256", "sha256=zz"), hubPush, secret, errs.Unauthenticated},
		"a signature cut short":         {forge.GitHub, header("X-Hub-Signature-256", "sha256="+sign(hubPush, secret)[:8]), hubPush, secret, errs.Unauthenticated},
		"Gitea's header at GitHub":      {forge.GitHub, header("X-Gitea-Signature", sign(hubPush, secret)), hubPush, secret, errs.Unauthenticated},
		"a wrong header before a right": {forge.Gitea, header("X-Gitea-Signature", "00", "X-Hub-Signature-256", "sha256="+sign(hubPush, secret)), hubPush, secret, errs.Unauthenticated},
		"GitLab without token":          {forge.GitLab, header(), labPush, secret, errs.Unauthenticated},
		"GitLab with another token":     {forge.GitLab, header("X-Gitlab-Token", "other"), labPush, secret, errs.Unauthenticated},
		"no secret":                     {forge.GitLab, header("X-Gitlab-Token", ""), labPush, "", errs.Precondition},
		"a kind without webhooks":       {"cvs", signed(hubPush), hubPush, secret, errs.Invalid},
		"a form":                        {forge.GitHub, form, hubPush, secret, errs.Invalid},
		"no JSON":                       {forge.GitHub, signed("ref=main"), "ref=main", secret, errs.Invalid},
		"a reference that is none":      {forge.GitHub, signed(`{"ref":"main"}`), `{"ref":"main"}`, secret, errs.Invalid},
		"a state that is none": {
			forge.GitLab, header("X-Gitlab-Token", secret), `{"object_kind":"merge_request","object_attributes":{"iid":1,"state":"odd","source_branch":"a"}}`, secret, errs.Invalid,
		},
		"a pull request without a number": {
			forge.GitLab, header("X-Gitlab-Token", secret), `{"object_kind":"merge_request","object_attributes":{"state":"opened","source_branch":"a"}}`, secret, errs.Invalid,
		},
		"too large": {forge.GitHub, signed(big), big, secret, errs.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := webhook.Parse(c.kind, c.header, []byte(c.body), []byte(c.secret))
			if !errs.Is(err, c.want) || e != nil {
				t.Errorf("got %+v, %v, want %v", e, err, c.want)
			}
		})
	}
}

func TestAWebhookThatCameBeforeIsKnownForAWhile(t *testing.T) {
	var seen webhook.Seen
	now := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		scope, body string
		after       time.Duration
		known       bool
	}{
		{"a", "one", 0, false}, {"a", "one", time.Second, true}, {"b", "one", time.Second, false}, {"a", "two", time.Second, false},
		{"a", "one", 11 * time.Minute, false}, {"a", "one", 12 * time.Minute, true},
	} {
		err := seen.Check(step.scope, []byte(step.body), now.Add(step.after))
		if errs.Is(err, errs.AlreadyExists) != step.known || !step.known && err != nil {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// What is not signed with the secret is never read, and what is signed never breaks anything.
func FuzzParse(f *testing.F) {
	for _, body := range []string{hubPush, hubPull, labPush, labPull, "{}", "null", `{"pull_request":null}`, `{"ref":"refs/heads/"}`} {
		f.Add(body, "push", sign(body, secret), "application/json")
		f.Add(body, "pull_request", sign(body, "other"), "application/json")
	}
	f.Fuzz(func(t *testing.T, body, what, mac, media string) {
		for _, kind := range []forge.Kind{forge.GitHub, forge.Gitea, forge.GitLab} {
			h := http.Header{
				"Content-Type": {media}, "X-Github-Event": {what}, "X-Hub-Signature-256": {"sha256=" + mac}, "X-Gitea-Signature": {mac}, "X-Gitlab-Token": {mac},
			}
			e, err := webhook.Parse(kind, h, []byte(body), []byte(secret))
			if err == nil && (kind == forge.GitLab) != (mac == secret) {
				t.Fatalf("%s: accepted %q with %q", kind, body, mac)
			}
			if (e == nil) != (err != nil) {
				t.Fatalf("%+v with %v", e, err)
			}
			h = http.Header{
				"Content-Type": {"application/json"}, "X-Github-Event": {what}, "X-Hub-Signature-256": {"sha256=" + sign(body, secret)}, "X-Gitlab-Token": {secret},
			}
			if e, err = webhook.Parse(kind, h, []byte(body), []byte(secret)); errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("%s: the right secret was refused", kind)
			}
			if e != nil && e.Kind == webhook.PullRequest && (e.Number <= 0 || e.Head == "" || e.State == 0) {
				t.Fatalf("%+v", e)
			}
		}
	})
}
