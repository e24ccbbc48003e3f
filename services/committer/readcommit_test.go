package committer_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

func (w *world) getCommit(req *committerv1.GetCommitRequest) *committerv1.Commit {
	w.t.Helper()
	req.Repository = w.repo
	c, err := w.svc.GetCommit(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) compare(req *committerv1.CompareCommitsRequest) *committerv1.Comparison {
	w.t.Helper()
	req.Repository = w.repo
	c, err := w.svc.CompareCommits(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// changed gives what a comparison says as one line for each file.
func changed(c *committerv1.Comparison) []string {
	var out []string
	for _, f := range c.GetFiles() {
		line := strings.ToLower(strings.TrimPrefix(f.GetAction().String(), "ACTION_")) + " " + f.GetPath()
		if f.GetDiffOmitted() {
			line += " without diff"
		}
		out = append(out, line)
	}
	return out
}

const secretFile = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: %s\n"

func TestACommitIsReadWithWhatItChanges(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "one\n", "b.yaml": "b\n", "sub/c.yaml": "c\n"}))
		first := w.committed(name("dev", 1))
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "two\n", "sub/c.yaml": "c\n", "sub/d.yaml": "d\n"}, func(cmd *eventsv1.DeploymentRequested) {
			cmd.Message = "Ship it\n\nBecause it is time."
		}))
		second := w.committed(name("dev", 2))

		c := w.getCommit(&committerv1.GetCommitRequest{Commit: second.GetCommit(), Path: "environments/dev/shop"})
		want := []string{"modify a.yaml", "delete b.yaml", "add sub/d.yaml"}
		if diff := cmp.Diff(want, changed(c.GetChanges())); diff != "" {
			t.Errorf("the changed files differ (-want +got):\n%s", diff)
		}
		if got, want := c.GetChanges().GetFiles()[0].GetDiff(), "--- a/a.yaml\n+++ b/a.yaml\n@@ -1 +1 @@\n-one\n+two\n"; got != want {
			t.Errorf("the diff is\n%s\nwant\n%s", got, want)
		}
		if got := c.GetChanges().GetFiles()[2].GetDiff(); !strings.HasPrefix(got, "--- /dev/null\n+++ b/sub/d.yaml\n") {
			t.Errorf("the diff of a new file is\n%s", got)
		}
		if !strings.HasPrefix(c.GetMessage(), "Ship it\n\nBecause it is time.\n\nTowpath-Deployment: ") || c.GetSubject() != "Ship it" {
			t.Errorf("the message is %q", c.GetMessage())
		}
		if c.GetCommitter() != "Towpath <towpath@localhost>" || c.GetSignature() != "" || c.GetChanges().GetBase() != first.GetCommit() {
			t.Errorf("the commit is %v", c)
		}

		root := w.getCommit(&committerv1.GetCommitRequest{Commit: first.GetCommit(), NamesOnly: true})
		names := strings.Join(changed(root.GetChanges()), ",")
		if root.GetChanges().GetBase() != "" || root.GetChanges().GetTotal() != 4 || !strings.Contains(names, "add environments/dev/shop/a.yaml") {
			t.Errorf("the first commit changes %v", root.GetChanges())
		}
		if elsewhere := w.getCommit(&committerv1.GetCommitRequest{Commit: second.GetCommit(), Path: "environments/qa/shop"}); elsewhere.GetChanges().GetTotal() != 0 {
			t.Errorf("elsewhere it changes %v", elsewhere.GetChanges())
		}
	})
}

func TestTwoCommitsAreComparedWithoutSecretsAndWithoutWhatIsNoText(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "1\n"}))
		first := w.committed(name("dev", 1))
		foreign := w.bare.Commit("main", "by hand", map[string][]byte{
			"environments/dev/shop/secret.yaml": fmt.Appendf(nil, secretFile, "hunter2"),
			"environments/dev/shop/logo.png":    []byte("\x89PNG\x00\x01"),
			"environments/dev/shop/latin1.txt":  []byte("caf\xe9\n"),
			"environments/dev/shop/empty.txt":   {},
			"environments/dev/shop/long.txt":    bytes.Repeat([]byte("x\n"), 600<<10),
			"README.md":                         []byte("hello\n"),
		})
		w.svc.Notice(w.repo.GetUrl(), "main")
		c := w.compare(&committerv1.CompareCommitsRequest{Base: first.GetCommit(), Head: foreign, Path: "environments/dev/shop"})
		want := []string{"add empty.txt", "add latin1.txt without diff", "add logo.png without diff", "add long.txt without diff", "add secret.yaml"}
		if diff := cmp.Diff(want, changed(c)); diff != "" {
			t.Errorf("the changed files differ (-want +got):\n%s", diff)
		}
		secret := c.GetFiles()[len(c.GetFiles())-1].GetDiff()
		if strings.Contains(secret, "hunter2") || !strings.Contains(secret, "password: (secret)") {
			t.Errorf("a Secret is shown as\n%s", secret)
		}
		back := w.compare(&committerv1.CompareCommitsRequest{Base: foreign, Head: first.GetCommit(), Path: "environments/dev/shop/empty.txt"})
		if diff := cmp.Diff([]string{"delete empty.txt"}, changed(back)); diff != "" {
			t.Errorf("one file, the other way round, differs (-want +got):\n%s", diff)
		}
		if all := w.compare(&committerv1.CompareCommitsRequest{NamesOnly: true}); all.GetHead() != foreign || all.GetTotal() < 7 || all.GetFiles()[0].GetDiff() != "" {
			t.Errorf("all of the tip against nothing is %v", all)
		}
	})
}

func TestAComparisonStaysWithinAnAnswer(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.bootstrap()
	files := map[string][]byte{}
	for i := range 2100 {
		files[fmt.Sprintf("%d/%04d.txt", i%50, i)] = fmt.Appendf(nil, "%d %s\n", i, strings.Repeat("y", 3000))
	}
	remote, err := git.Open(t.Context(), git.Config{URL: w.repo.GetUrl(), Repos: w.cfg.Repos})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	objs := git.NewObjectSet()
	tree, err := git.Splice(t.Context(), remote, objs, git.ZeroHash, []git.Change{{Path: "much", Files: files}})
	if err != nil {
		t.Fatal(err)
	}
	ada := git.Person{Name: "Ada", Email: "ada@example.com"}
	id, err := git.NewCommit(objs, git.CommitSpec{Tree: tree, Author: ada, Committer: ada, When: birth, Message: "very much"})
	if err == nil {
		err = remote.Push(t.Context(), "main", git.ZeroHash, id, objs)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := w.compare(&committerv1.CompareCommitsRequest{Path: "much"})
	size, without := 0, 0
	for _, f := range c.GetFiles() {
		size += len(f.GetDiff())
		if f.GetDiffOmitted() {
			without++
		}
	}
	if c.GetTotal() != 2100 || len(c.GetFiles()) != 2000 || size > 4<<20 || size < 4<<20-8<<10 || without == 0 {
		t.Errorf("%d of %d files, %d bytes of diffs, %d without", len(c.GetFiles()), c.GetTotal(), size, without)
	}
}

func TestAFileIsReadAtACommit(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"sub/a.yaml": "1\n"}))
		first := w.committed(name("dev", 1))
		w.send(w.change("dev", 2, map[string]string{"sub/a.yaml": "2\n"}))
		second := w.committed(name("dev", 2))
		for commit, want := range map[string]string{first.GetCommit(): "1\n", second.GetCommit(): "2\n", "": "2\n"} {
			f, err := w.svc.GetFile(t.Context(), &committerv1.GetFileRequest{Repository: w.repo, Commit: commit, Path: "environments/dev/shop/sub/a.yaml"})
			if err != nil || string(f.GetFile().GetContent()) != want || commit != "" && f.GetCommit() != commit {
				t.Errorf("at %q the file is %v, %v", commit, f, err)
			}
		}
	})
}

func TestWrongReadingsOfCommitsSayWhatIsWrong(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "1\n"}))
		first := w.committed(name("dev", 1)).GetCommit()
		other := w.bare.CommitOn("", "another branch", map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs\n")})
		w.bare.Git("update-ref", "refs/heads/other", other)
		unknown := strings.Repeat("1", 40)
		file := func(commit, path string) error {
			_, err := w.svc.GetFile(t.Context(), &committerv1.GetFileRequest{Repository: w.repo, Commit: commit, Path: path})
			return err
		}
		get := func(commit, path string) error {
			_, err := w.svc.GetCommit(t.Context(), &committerv1.GetCommitRequest{Repository: w.repo, Commit: commit, Path: path})
			return err
		}
		compare := func(base, head, path string) error {
			_, err := w.svc.CompareCommits(t.Context(), &committerv1.CompareCommitsRequest{Repository: w.repo, Base: base, Head: head, Path: path})
			return err
		}
		for what, tc := range map[string]struct {
			err    error
			kind   errs.Kind
			reason errs.Reason
		}{
			"an unknown commit":                  {get(unknown, ""), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"an unknown commit with a path":      {get(unknown, "environments"), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"a commit of another branch":         {get(other, "environments/dev/shop"), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"a file of another branch":           {file(other, "environments/dev/shop/a.yaml"), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"no commit id":                       {get("main", ""), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
			"a path upwards":                     {get(first, "../x"), errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH},
			"a file upwards":                     {file(first, "../x"), errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH},
			"no file":                            {file(first, ""), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
			"a folder as a file":                 {file(first, "environments/dev"), errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
			"a file that is not there":           {file(first, "environments/dev/shop/none"), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"a comparison upwards":               {compare("", "", "a/../b"), errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH},
			"a comparison with nothing known":    {compare(unknown, "", ""), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
			"a comparison with a foreign branch": {compare(first, other, "environments"), errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		} {
			if !errs.Is(tc.err, tc.kind) || errs.ReasonOf(tc.err) != tc.reason {
				t.Errorf("%s: %v (%s, %s), want %s, %s", what, tc.err, errs.KindOf(tc.err), errs.ReasonOf(tc.err), tc.kind, tc.reason)
			}
		}
	})
}

func TestHistoryIsListedBehindWhereTheMirrorIsCut(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	parent := ""
	for i := range 300 {
		parent = w.bare.CommitOn(parent, fmt.Sprintf("change %d", i), map[string][]byte{fmt.Sprintf("f/%d.txt", i%7): fmt.Appendf(nil, "%d", i)})
	}
	w.bare.Git("update-ref", "refs/heads/main", parent)
	var subjects []string
	req := &committerv1.ListCommitsRequest{Repository: w.repo, PageSize: 40}
	for {
		page, err := w.svc.ListCommits(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetCommits() {
			subjects = append(subjects, c.GetSubject())
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if len(subjects) != 300 || subjects[299] != "change 0" {
		t.Fatalf("%d commits are listed, the last is %q", len(subjects), subjects[len(subjects)-1])
	}
	if n := len(srv.Requests()); n > 12 {
		t.Errorf("it took %d requests", n)
	}
	first := w.bare.Git("rev-list", "--max-parents=0", "main")
	c := w.getCommit(&committerv1.GetCommitRequest{Commit: first, Path: "f"})
	if diff := cmp.Diff([]string{"add 0.txt"}, changed(c.GetChanges())); diff != "" {
		t.Errorf("the first commit's changes differ (-want +got):\n%s", diff)
	}
}

func TestTheFormOfASignatureIsTold(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	remote, err := git.Open(t.Context(), git.Config{URL: w.repo.GetUrl(), Repos: w.cfg.Repos})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	for armour, want := range map[string]string{
		"-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----":   "ssh",
		"-----BEGIN PGP SIGNATURE-----\n\niQ\n-----END PGP SIGNATURE-----":   "gpg",
		"-----BEGIN SIGNED MESSAGE-----\nMIIE\n-----END SIGNED MESSAGE-----": "",
	} {
		id := pushSigned(t, remote, armour)
		if c := w.getCommit(&committerv1.GetCommitRequest{Commit: id.String()}); c.GetSignature() != want {
			t.Errorf("%q is told as %q, want %q", armour[:20], c.GetSignature(), want)
		}
	}
}

func pushSigned(t *testing.T, r git.Remote, armour string) git.Hash {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	tip, err := r.Fetch(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	objs := git.NewObjectSet()
	tree := objs.AddTree([]git.Entry{{Name: "a", Mode: git.ModeFile, Hash: objs.AddBlob([]byte(armour))}})
	spec := git.CommitSpec{
		Tree: tree, Author: git.Person{Name: "A", Email: "a@example.com"}, Committer: git.Person{Name: "A", Email: "a@example.com"},
		When: birth, Message: "signed", Sign: func([]byte) (string, error) { return armour, nil },
	}
	if !tip.IsZero() {
		spec.Parents = []git.Hash{tip}
	}
	id, err := git.NewCommit(objs, spec)
	if err == nil {
		err = r.Push(ctx, "main", tip, id, objs)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}
