package portal_test

import (
	"context"
	"strings"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// gits plays what Git has of every environment: a deployment's commit and one by hand.
type gits struct {
	catalogv1.UnimplementedGitServiceServer
}

func gitCommits(env string) []*committerv1.Commit {
	return []*committerv1.Commit{
		{Id: hash("second"), Subject: "fixed by hand <b>", Author: "Grace Hopper <grace@example.com>", Time: ago(0), Signature: "ssh", Message: "fixed by hand <b>\n"},
		{
			Id: hash("first"), Subject: "prices in euro", Author: "ada <ada@example.com>", Time: ago(0), Message: "prices in euro\n\nTowpath-Actor: users/ada\n",
			Trailers: map[string]string{"Towpath-Deployment": env + "/deployments/2", "Towpath-Actor": "users/ada"},
		},
	}
}

func (gits) ListCommits(_ context.Context, r *catalogv1.ListCommitsRequest) (*catalogv1.ListCommitsResponse, error) {
	all := gitCommits(r.GetParent())
	if r.GetPageToken() != "" {
		return &catalogv1.ListCommitsResponse{Commits: all[1:]}, nil
	}
	return &catalogv1.ListCommitsResponse{Commits: all[:1], NextPageToken: "more"}, nil
}

func (gits) GetCommit(_ context.Context, r *catalogv1.GetCommitRequest) (*committerv1.Commit, error) {
	for _, c := range gitCommits(r.GetParent()) {
		if c.GetId() == r.GetCommit() {
			c.Changes = &committerv1.Comparison{Head: c.GetId(), Total: 2, Files: []*committerv1.ChangedFile{
				{Path: "api.yaml", Action: committerv1.ChangedFile_ACTION_MODIFY, Diff: "--- a/api.yaml\n+++ b/api.yaml\n@@ -1 +1 @@\n-EUR: no\n+EUR: yes\n"},
				{Path: "logo.png", Action: committerv1.ChangedFile_ACTION_ADD, DiffOmitted: true},
			}}
			return c, nil
		}
	}
	return nil, notFound("commit " + r.GetCommit())
}

func (gits) GetTree(_ context.Context, r *catalogv1.GetTreeRequest) (*committerv1.Tree, error) {
	return &committerv1.Tree{Commit: hash("second"), Files: []*committerv1.File{{Path: "api.yaml"}, {Path: "web/page.yaml"}}}, nil
}

func (gits) GetFile(_ context.Context, r *catalogv1.GetFileRequest) (*committerv1.FileAt, error) {
	return &committerv1.FileAt{Commit: hash("second"), File: &committerv1.File{Path: r.GetPath(), Content: []byte("kind: Grüße <script>\n")}}, nil
}

func TestInABrowserGitIsRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.envs[0].HeldByRollback = shopDev + "/deployments/3"
	web := serve(t, s)
	p := open(t, web.URL+"/#/shop/dev")
	p.signIn(viewerToken)
	p.see("Held by rollback #3")
	p.press("Git")
	p.see("fixed by hand <b>")
	p.see("Grace Hopper")
	p.shot("git")
	p.press("Older")
	p.see("prices in euro")
	p.wait("a commit links to its deployment", `[...document.querySelectorAll("main td a")].find((a) => a.innerText === "#2")?.hash === "#/shop/dev/history"`)

	t.Log("one commit, by the keyboard")
	p.js(`document.querySelector("main th[scope=row] a").focus(); document.activeElement.click()`)
	p.see("Changes 2 files of this environment")
	p.see("+EUR: yes")
	p.see("No text, or too much to show.")
	p.see("ssh")
	p.wait("the focus is in the page", `document.activeElement === document.getElementById("main")`)
	p.wait("what scrolls can be reached", `[...document.querySelectorAll("main pre")].every((e) => e.tabIndex === 0)`)
	p.shot("commit")

	t.Log("files of then")
	p.press("Files at this commit")
	p.see("web/page.yaml")
	p.press("api.yaml")
	p.see("kind: Grüße <script>")
	p.press("Files")
	p.press("All commits")
	p.see("fixed by hand <b>")

	t.Log("on a small screen nothing is wider than it")
	p.look(390, 844, "light")
	for _, page := range []string{"#/shop/dev/git", "#/shop/dev/git?commit=" + hash("second"), "#/shop/dev/git?files=1"} {
		p.visit(page)
		p.wait(page, `document.querySelector("main h1") && !document.querySelector("main").innerText.includes("Reading")`)
		if wide := ask[bool](p, `document.documentElement.scrollWidth > innerWidth`); wide {
			t.Errorf("%s is wider than the screen", page)
		}
	}
	p.visit("#/shop/dev/git?commit=" + strings.Repeat("0", 40))
	p.see("It is not there")
	p.clean()
}
