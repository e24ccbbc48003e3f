package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog"
)

// gitCommitter answers readings of Git from a script and keeps what it was asked.
type gitCommitter struct {
	*fakeCommitter
	mu      sync.Mutex
	asked   []string
	commit  *committerv1.Commit
	pages   []*committerv1.ListCommitsResponse
	content string
	missing bool
}

func (g *gitCommitter) note(call string, r *committerv1.RepositoryRef, parts ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, strings.Join(append([]string{call, r.GetUrl(), r.GetBranch()}, parts...), " "))
}

func (g *gitCommitter) ListCommits(_ context.Context, r *committerv1.ListCommitsRequest, _ ...grpc.CallOption) (*committerv1.ListCommitsResponse, error) {
	g.note("list", r.GetRepository(), r.GetPath(), r.GetPageToken())
	page := g.pages[0]
	g.pages = g.pages[1:]
	return page, nil
}

func (g *gitCommitter) GetCommit(_ context.Context, r *committerv1.GetCommitRequest, _ ...grpc.CallOption) (*committerv1.Commit, error) {
	g.note("commit", r.GetRepository(), r.GetCommit()[:4], r.GetPath())
	if g.missing {
		return nil, rpc.ToStatus(errs.NotFoundf("commit "+r.GetCommit(), "it is not in the branch"), "").Err()
	}
	return proto.CloneOf(g.commit), nil
}

func (g *gitCommitter) GetTree(_ context.Context, r *committerv1.GetTreeRequest, _ ...grpc.CallOption) (*committerv1.Tree, error) {
	g.note("tree", r.GetRepository(), r.GetPath())
	return &committerv1.Tree{Commit: strings.Repeat("c", 40), Tree: strings.Repeat("d", 40), Files: []*committerv1.File{{Path: "a.yaml", Content: []byte(g.content)}}}, nil
}

func (g *gitCommitter) GetFile(_ context.Context, r *committerv1.GetFileRequest, _ ...grpc.CallOption) (*committerv1.FileAt, error) {
	g.note("file", r.GetRepository(), r.GetPath())
	return &committerv1.FileAt{Commit: strings.Repeat("c", 40), File: &committerv1.File{Path: r.GetPath(), Content: []byte(g.content)}}, nil
}

func (g *gitCommitter) CompareCommits(_ context.Context, r *committerv1.CompareCommitsRequest, _ ...grpc.CallOption) (*committerv1.Comparison, error) {
	g.note("compare", r.GetRepository(), r.GetPath())
	return &committerv1.Comparison{Total: 3}, nil
}

func (g *gitCommitter) take() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.asked
	g.asked = nil
	return out
}

func gitWorld(t *testing.T) (*world, *gitCommitter, catalogv1.GitServiceClient) {
	t.Helper()
	w := quietWorld(t)
	g := &gitCommitter{fakeCommitter: w.committer}
	w.start(func(c *catalog.Config) { c.Committer = g })
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	return w, g, catalogv1.NewGitServiceClient(w.conn)
}

const (
	here      = "embedded:///deployments main"
	theCommit = "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"
)

func TestGitIsReadByEnvironmentAndByRepository(t *testing.T) {
	_, g, api := gitWorld(t)
	ctx := t.Context()
	g.commit = &committerv1.Commit{Id: theCommit, Message: "m", Changes: &committerv1.Comparison{Total: 1}}
	for parent, want := range map[string]struct{ folder, below string }{
		devEnv:                 {"environments/dev/shop", "environments/dev/shop/sub"},
		"repositories/default": {"", "sub"},
	} {
		g.pages = []*committerv1.ListCommitsResponse{{Commits: []*committerv1.Commit{g.commit}}}
		_, err := api.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: parent, Path: "sub"})
		must(t, err)
		c, err := api.GetCommit(ctx, &catalogv1.GetCommitRequest{Parent: parent, Commit: theCommit})
		must(t, err)
		if c.GetMessage() != "m" {
			t.Errorf("%s: the commit is %v", parent, c)
		}
		_, err = api.GetTree(ctx, &catalogv1.GetTreeRequest{Parent: parent, Path: "sub"})
		must(t, err)
		f, err := api.GetFile(ctx, &catalogv1.GetFileRequest{Parent: parent, Path: "sub"})
		must(t, err)
		if f.GetFile().GetPath() != "sub" {
			t.Errorf("%s: the file is %v", parent, f)
		}
		_, err = api.CompareCommits(ctx, &catalogv1.CompareCommitsRequest{Parent: parent, Path: "sub"})
		must(t, err)
		asked := []string{
			"list " + here + " " + want.below + " ", "commit " + here + " abcd " + want.folder, "tree " + here + " " + want.below,
			"file " + here + " " + want.below, "compare " + here + " " + want.below,
		}
		if diff := cmp.Diff(asked, g.take()); diff != "" {
			t.Errorf("%s: what is asked differs (-want +got):\n%s", parent, diff)
		}
	}
}

func TestOfACommitOfOthersNothingIsTold(t *testing.T) {
	_, g, api := gitWorld(t)
	about := func(deployment string, total int32) *committerv1.Commit {
		g.commit = &committerv1.Commit{
			Id: theCommit, Message: "merger", Subject: "merger", Author: "Ada", Tree: strings.Repeat("e", 40),
			Trailers: map[string]string{"Towpath-Deployment": deployment}, Changes: &committerv1.Comparison{Total: total},
		}
		c, err := api.GetCommit(t.Context(), &catalogv1.GetCommitRequest{Parent: devEnv, Commit: theCommit})
		must(t, err)
		return c
	}
	if c := about("applications/blog/environments/dev/deployments/3", 0); c.GetMessage()+c.GetSubject()+c.GetAuthor()+c.GetTree() != "" || len(c.GetTrailers()) != 0 || c.GetId() != theCommit {
		t.Errorf("another environment's commit is told as %v", c)
	}
	if c := about(qaEnv+"/deployments/3", 1); c.GetMessage() != "" || c.GetChanges().GetTotal() != 0 {
		t.Errorf("what another environment did when the folder was its own is told as %v", c)
	}
	if c := about(devEnv+"/deployments/3", 0); c.GetMessage() != "merger" {
		t.Errorf("a deployment of its own that changed nothing is told as %v", c)
	}
	if c := about("", 1); c.GetMessage() != "merger" {
		t.Errorf("a foreign commit that touches it is told as %v", c)
	}
}

func TestSecretsInGitAreMasked(t *testing.T) {
	_, g, api := gitWorld(t)
	g.content = "apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2\n"
	tree, err := api.GetTree(t.Context(), &catalogv1.GetTreeRequest{Parent: devEnv})
	must(t, err)
	file, err := api.GetFile(t.Context(), &catalogv1.GetFileRequest{Parent: devEnv, Path: "a.yaml"})
	must(t, err)
	for what, content := range map[string][]byte{"tree": tree.GetFiles()[0].GetContent(), "file": file.GetFile().GetContent()} {
		if strings.Contains(string(content), "hunter2") || !strings.Contains(string(content), "password: (secret)") {
			t.Errorf("%s: %s", what, content)
		}
	}
}

func TestAListingGoesOnOverPagesWithoutCommits(t *testing.T) {
	_, g, api := gitWorld(t)
	g.pages = []*committerv1.ListCommitsResponse{{NextPageToken: "1"}, {NextPageToken: "2"}, {Commits: []*committerv1.Commit{{Id: theCommit}}, NextPageToken: "3"}}
	l, err := api.ListCommits(t.Context(), &catalogv1.ListCommitsRequest{Parent: devEnv})
	must(t, err)
	if len(l.GetCommits()) != 1 || l.GetNextPageToken() != "3" {
		t.Errorf("the page is %v", l)
	}
	for range 20 {
		g.pages = append(g.pages, &committerv1.ListCommitsResponse{NextPageToken: "4"})
	}
	if l, err = api.ListCommits(t.Context(), &catalogv1.ListCommitsRequest{Parent: devEnv}); err != nil || l.GetNextPageToken() != "4" {
		t.Errorf("a long stretch of others' commits gives %v, %v", l, err)
	}
}

func TestWrongReadingsOfGitSayWhatIsWrong(t *testing.T) {
	w, g, api := gitWorld(t)
	ctx := t.Context()
	_, err := api.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: "applications/shop/environments/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	_, err = api.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: "repositories/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	_, err = api.GetTree(ctx, &catalogv1.GetTreeRequest{Parent: devEnv, Part: "database"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = api.GetTree(ctx, &catalogv1.GetTreeRequest{Parent: "repositories/default", Part: "database"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = api.GetCommit(ctx, &catalogv1.GetCommitRequest{Parent: devEnv, Commit: "HEAD"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	g.missing = true
	g.take()
	_, err = api.GetTree(ctx, &catalogv1.GetTreeRequest{Parent: devEnv, Commit: theCommit})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	if asked := g.take(); len(asked) != 1 {
		t.Errorf("of a commit that is not in the branch, this was asked: %q", asked)
	}

	token := w.token("blogger", catalogv1.Token_ROLE_VIEWER, "applications/blog")
	stranger := catalogv1.NewGitServiceClient(w.dial(token))
	_, err = stranger.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: devEnv})
	denied(t, err)
	own := catalogv1.NewGitServiceClient(w.dial(w.token("shopper", catalogv1.Token_ROLE_VIEWER, "applications/shop")))
	_, err = own.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: "repositories/default"})
	denied(t, err)
	g.pages = []*committerv1.ListCommitsResponse{{}}
	_, err = own.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: devEnv})
	must(t, err)
}

func TestTheHistoryOfAnEnvironmentOutlivesIt(t *testing.T) {
	w, g, api := gitWorld(t)
	w.inState(w.deploy(devEnv, reading("api", "X")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	eventually(t, func() error {
		if _, err := w.api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: devEnv}); err == nil {
			return errs.InvalidField("environment", "is still there")
		}
		return nil
	})
	theirs := &committerv1.Commit{Id: theCommit, Trailers: map[string]string{"Towpath-Deployment": qaEnv + "/deployments/1"}}
	g.pages = []*committerv1.ListCommitsResponse{{Commits: []*committerv1.Commit{theirs}}}
	l, err := api.ListCommits(t.Context(), &catalogv1.ListCommitsRequest{Parent: devEnv})
	must(t, err)
	if len(l.GetCommits()) != 0 {
		t.Errorf("commits of another environment are listed: %v", l.GetCommits())
	}
	if diff := cmp.Diff([]string{"list " + here + " environments/dev/shop "}, g.take()); diff != "" {
		t.Errorf("what is asked differs (-want +got):\n%s", diff)
	}
}

func TestTheFolderOfAnEnvironmentThatIsGoneIsItsNextOwners(t *testing.T) {
	w, g, api := gitWorld(t)
	ctx := t.Context()
	w.inState(w.deploy(devEnv, reading("api", "X")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	eventually(t, func() error {
		_, err := w.api.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: devEnv})
		if status.Code(err) != codes.NotFound {
			return fmt.Errorf("the environment is still there: %v", err)
		}
		return nil
	})
	_, err = w.api.UpdateRepository(ctx, &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", PathTemplate: "environments/{environment}/shop"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"path_template"}},
	})
	must(t, err)
	g.pages = []*committerv1.ListCommitsResponse{{}}
	_, err = api.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: devEnv})
	must(t, err)
	w.app("blog")
	w.env("blog", "dev")
	_, err = api.ListCommits(ctx, &catalogv1.ListCommitsRequest{Parent: devEnv})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}
