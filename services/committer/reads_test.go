package committer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func (w *world) head() *committerv1.Head {
	w.t.Helper()
	h, err := w.svc.GetHead(w.t.Context(), &committerv1.GetHeadRequest{Repository: w.repo})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) tree(req *committerv1.GetTreeRequest) *committerv1.Tree {
	w.t.Helper()
	req.Repository = w.repo
	tree, err := w.svc.GetTree(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return tree
}

func TestReadsSeeWhatWasJustCommitted(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		if h := w.head(); h.GetCommit() != "" || h.GetTree() != "" {
			t.Errorf("an empty repository has the head %v", h)
		}
		if tree := w.tree(&committerv1.GetTreeRequest{Path: "environments"}); tree.GetTree() != "" || len(tree.GetFiles()) != 0 {
			t.Errorf("an empty repository has the tree %v", tree)
		}
		for n := 1; n <= 3; n++ {
			w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n), "sub/b.yaml": "b"}))
			c := w.committed(name("dev", n))
			if h := w.head(); h.GetCommit() != c.GetCommit() {
				t.Errorf("the head is %s, want %s", h.GetCommit(), c.GetCommit())
			}
			want := &committerv1.Tree{Commit: c.GetCommit(), Tree: c.GetTree(), Files: []*committerv1.File{
				{Path: "a.yaml", Id: w.bare.Git("rev-parse", "main:environments/dev/shop/a.yaml"), Content: []byte(fmt.Sprint(n))},
				{Path: "sub/b.yaml", Id: w.bare.Git("rev-parse", "main:environments/dev/shop/sub/b.yaml"), Content: []byte("b")},
			}}
			for what, req := range map[string]*committerv1.GetTreeRequest{
				"the tip": {Path: "environments/dev/shop"}, "the commit": {Path: "environments/dev/shop", Commit: c.GetCommit()},
			} {
				if diff := cmp.Diff(want, w.tree(req), protocmp.Transform()); diff != "" {
					t.Errorf("the tree at %s differs (-want +got):\n%s", what, diff)
				}
			}
		}
	})
}

func TestTreesAreReadByIdAndByName(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	w.send(w.change("dev", 1, map[string]string{"sub/deep/b.yaml": "b", "a.yaml": "a"}))
	first := w.committed(name("dev", 1))
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	w.committed(name("dev", 2))

	byID := w.tree(&committerv1.GetTreeRequest{Tree: first.GetTree(), Path: "sub"})
	if byID.GetCommit() != "" || len(byID.GetFiles()) != 1 || byID.GetFiles()[0].GetPath() != "deep/b.yaml" || string(byID.GetFiles()[0].GetContent()) != "b" {
		t.Errorf("the old tree by its id is %v", byID)
	}
	names := w.tree(&committerv1.GetTreeRequest{Tree: first.GetTree(), NamesOnly: true})
	if len(names.GetFiles()) != 2 || names.GetFiles()[0].GetContent() != nil || names.GetFiles()[0].GetId() == "" {
		t.Errorf("the names are %v", names)
	}
	srv.Requests()
	w.tree(&committerv1.GetTreeRequest{Tree: first.GetTree(), Path: "sub"})
	if r := srv.Requests(); len(r) != 0 {
		t.Errorf("a known tree was asked for again: %q", r)
	}
	if gone := w.tree(&committerv1.GetTreeRequest{Path: "environments/none"}); gone.GetTree() != "" {
		t.Errorf("a folder that does not exist is %v", gone)
	}
}

func TestReadsDoNotWaitForAPush(t *testing.T) {
	onBothGated(t, func(t *testing.T, w *world, g *gate) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
		<-g.held
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := w.svc.GetHead(ctx, &committerv1.GetHeadRequest{Repository: w.repo}); err != nil {
			t.Errorf("while a push is under way: %v", err)
		}
		close(g.open)
		c := w.committed(name("dev", 1))
		if h := w.head(); h.GetCommit() != c.GetCommit() {
			t.Errorf("after the push the head is %s, want %s", h.GetCommit(), c.GetCommit())
		}
	})
}

func TestCommitsAreListedInPages(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for n := 1; n <= 5; n++ {
			w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n)}, func(cmd *eventsv1.DeploymentRequested) {
				cmd.Message = fmt.Sprintf("change %d", n)
			}))
			w.committed(name("dev", n))
			w.send(w.change("qa", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
			w.committed(name("qa", n))
		}
		var subjects []string
		req := &committerv1.ListCommitsRequest{Repository: w.repo, Path: "environments/dev/shop", PageSize: 2}
		for pages := 0; ; pages++ {
			page, err := w.svc.ListCommits(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page.GetCommits() {
				subjects = append(subjects, c.GetSubject())
				if c.GetTrailers()["Towpath-Environment"] != "dev" || c.GetAuthor() != "Ada Lovelace <ada@example.com>" || len(c.GetId()) != 40 {
					t.Errorf("a commit is %v", c)
				}
			}
			if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" || pages > 10 {
				break
			}
		}
		want := []string{"change 5", "change 4", "change 3", "change 2", "change 1"}
		if diff := cmp.Diff(want, subjects); diff != "" {
			t.Errorf("the commits differ (-want +got):\n%s", diff)
		}
	})
}

func TestWrongReadsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	page, err := w.svc.ListCommits(t.Context(), &committerv1.ListCommitsRequest{Repository: w.repo, PageSize: 1, Path: "environments"})
	if err != nil {
		t.Fatal(err)
	}
	foreignToken := page.GetNextPageToken()
	if foreignToken == "" {
		foreignToken = "bm90IGEgdG9rZW4"
	}
	noRepo := cloneRef(w.repo)
	noRepo.Url = srv.URL("nothing")
	tree := func(req *committerv1.GetTreeRequest) error {
		req.Repository = w.repo
		_, err := w.svc.GetTree(t.Context(), req)
		return err
	}
	head := func(ref *committerv1.RepositoryRef) error {
		_, err := w.svc.GetHead(t.Context(), &committerv1.GetHeadRequest{Repository: ref})
		return err
	}
	list := func(req *committerv1.ListCommitsRequest) error {
		_, err := w.svc.ListCommits(t.Context(), req)
		return err
	}
	for what, tc := range map[string]struct {
		err    error
		kind   errs.Kind
		reason errs.Reason
	}{
		"a path upwards":      {tree(&committerv1.GetTreeRequest{Path: "../x"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH},
		"a file as a folder":  {tree(&committerv1.GetTreeRequest{Path: "environments/dev/shop/a.yaml"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
		"half an id":          {tree(&committerv1.GetTreeRequest{Tree: "abc"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
		"an unknown tree":     {tree(&committerv1.GetTreeRequest{Tree: strings.Repeat("1", 40)}), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"an unknown commit":   {tree(&committerv1.GetTreeRequest{Commit: strings.Repeat("1", 40)}), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"no address":          {head(&committerv1.RepositoryRef{Branch: "main"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
		"no such repository":  {head(noRepo), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"a strange branch":    {head(&committerv1.RepositoryRef{Url: w.repo.GetUrl(), Branch: "-x"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
		"a strange token":     {list(&committerv1.ListCommitsRequest{Repository: w.repo, PageToken: foreignToken}), errs.Invalid, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN},
		"no known URL scheme": {head(&committerv1.RepositoryRef{Url: "file:///etc", Branch: "main"}), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
	} {
		if !errs.Is(tc.err, tc.kind) || errs.ReasonOf(tc.err) != tc.reason {
			t.Errorf("%s: %v (%s, %s), want %s, %s", what, tc.err, errs.KindOf(tc.err), errs.ReasonOf(tc.err), tc.kind, tc.reason)
		}
	}
}
