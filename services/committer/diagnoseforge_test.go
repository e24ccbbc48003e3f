package committer_test

import (
	"testing"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/forge/giteatest"
)

func TestADoctorAsksTheServiceAroundTheHost(t *testing.T) {
	byPull := committerv1.WriteMode_WRITE_MODE_PULL_REQUEST
	either := committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST
	for what, tc := range map[string]struct {
		mode  committerv1.WriteMode
		begin func(t *testing.T, w *world, p *giteatest.Project, bot giteatest.User) string // gives the token
		want  []finding
	}{
		"nothing is wrong": {
			direct, func(*testing.T, *world, *giteatest.Project, giteatest.User) string { return "" },
			[]finding{{"push", "ok", "", ""}, {"protection", "ok", "not protected", ""}, {"forge", "ok", "user-", ""}, {"webhook", "-", "no secret", ""}},
		},
		"a branch that nobody may push to": {
			direct, func(t *testing.T, _ *world, p *giteatest.Project, _ giteatest.User) string {
				p.Protect(t, "main", map[string]any{"required_approvals": 2})
				return ""
			},
			[]finding{{"push", "ok", "", ""}, {"protection", "failed", "may not push", "pull request"}, {"forge", "ok", "", ""}},
		},
		"the same by pull request": {
			byPull, func(t *testing.T, _ *world, p *giteatest.Project, _ giteatest.User) string {
				p.Protect(t, "main", map[string]any{"required_approvals": 2})
				return ""
			},
			[]finding{{"protection", "ok", "2 approvals", ""}, {"forge", "ok", "may open pull requests", ""}},
		},
		"the same by whichever works": {
			either, func(t *testing.T, _ *world, p *giteatest.Project, _ giteatest.User) string {
				p.Protect(t, "main", map[string]any{})
				return ""
			},
			[]finding{{"protection", "ok", "goes by pull request", ""}, {"forge", "ok", "", ""}},
		},
		"a token that may only read": {
			byPull, func(t *testing.T, _ *world, p *giteatest.Project, bot giteatest.User) string {
				return p.Server.NewToken(t, bot, "read:repository", "read:user")
			},
			[]finding{{"read", "ok", "", ""}, {"push", "failed", "", "write access"}, {"forge", "failed", "may not open pull requests", "give the token"}},
		},
		"a token that is none": {
			byPull, func(*testing.T, *world, *giteatest.Project, giteatest.User) string {
				return "hunter2hunter2hunter2hunter2hunter2hunter"
			},
			[]finding{{"connect", "ok", "", ""}, {"credentials", "failed", "", "renew"}, {"forge", "failed", "", ""}},
		},
		"no service at all, by pull request": {
			byPull, func(_ *testing.T, w *world, _ *giteatest.Project, _ giteatest.User) string {
				w.repo.Forge = nil
				return ""
			},
			[]finding{{"forge", "failed", "does not say at which service", "--forge"}, {"protection", "-", "only a push does", ""}},
		},
		"a webhook that the host does not have": {
			direct, func(t *testing.T, w *world, _ *giteatest.Project, _ giteatest.User) string {
				w.folder("hooks", map[string]string{"token": hookSecret})
				w.repo.Forge.WebhookCredentials = "hooks"
				return ""
			},
			[]finding{{"webhook", "warning", "no webhook to /hooks/git/deploy", "add a webhook"}},
		},
		"a webhook that the host has": {
			direct, func(t *testing.T, w *world, p *giteatest.Project, _ giteatest.User) string {
				w.folder("hooks", map[string]string{"token": hookSecret})
				w.repo.Forge.WebhookCredentials = "hooks"
				p.Hook(t, "http://127.0.0.1:1/hooks/git/deploy", hookSecret)
				return ""
			},
			[]finding{{"webhook", "ok", "calls /hooks/git/deploy", ""}},
		},
		"a secret of webhooks that is not there": {
			direct, func(_ *testing.T, w *world, _ *giteatest.Project, _ giteatest.User) string {
				w.repo.Forge.WebhookCredentials = "nobody"
				return ""
			},
			[]finding{{"webhook", "warning", `"nobody" are not among`, "put a file"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			gitea := giteatest.Get(t)
			bot := gitea.NewUser(t)
			p := gitea.NewProject(t, bot, true)
			w := newWorld(t, []option{func(w *world) { w.cfg.CredentialsDir = t.TempDir() }})
			w.repo.Url, w.repo.Credentials = p.CloneURL, "deploy"
			w.repo.Forge = &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA, Url: gitea.URL, Project: p.Path}
			token := tc.begin(t, w, p, bot)
			if token == "" {
				token = bot.Token
			}
			w.folder("deploy", map[string]string{"username": bot.Name, "token": token})
			w.finds(tc.mode, tc.want...)
		})
	}
}
