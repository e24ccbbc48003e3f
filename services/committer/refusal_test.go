package committer_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/services/committer"
)

// script puts a hook into the host's repository.
func script(t *testing.T, b *gittest.Bare, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(b.Dir, "hooks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "hooks", name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestAHostThatRefusesFailsTheDeploymentWithItsWordsAndWhatToDo(t *testing.T) {
	for what, tc := range map[string]struct {
		begin   func(t *testing.T, w *world, host *gittest.Server)
		reason  string
		message []string
	}{
		"a pre-receive hook": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				script(t, w.bare, "pre-receive", "echo 'frozen until Monday' >&2; exit 1")
			},
			"PUSH_REFUSED", []string{"branch main", "frozen until Monday", "pull request"},
		},
		"an update hook": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				script(t, w.bare, "update", "echo \"$1 is protected\" >&2; exit 1")
			},
			"PUSH_REFUSED", []string{"refs/heads/main is protected", "pull request"},
		},
		"a bad token": {
			func(_ *testing.T, _ *world, host *gittest.Server) { host.RequireAuth("bot", "right") },
			"PUSH_REFUSED", []string{"who are you?", "renew"},
		},
		"a token that may only read": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.bare.Git("config", "http.receivepack", "false") },
			"PUSH_REFUSED", []string{"write access"},
		},
		"a repository that is not there": {
			func(_ *testing.T, w *world, host *gittest.Server) { w.repo.Url = host.URL("nowhere") },
			"PUSH_REFUSED", []string{"no such repository", "address"},
		},
		"an object check at the host": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				w.bare.Git("config", "receive.unpackLimit", "1")
				w.bare.Git("config", "receive.maxInputSize", "10")
			},
			"PUSH_REFUSED", []string{"disk", "quota"},
		},
		"a push that the host finds too large": {
			func(_ *testing.T, _ *world, host *gittest.Server) {
				host.Fail(gittest.Fault{Kind: gittest.Status, Status: 413, Method: "POST", Path: "git-receive-pack", Times: 100})
			},
			"TOO_LARGE", []string{"larger than the host takes"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, host := remote(t)
			tc.begin(t, w, host)
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
			got := w.failed(name("dev", 1))
			if got.GetReason() != tc.reason || got.GetStage() != "commit" {
				t.Errorf("it ended as %v", got)
			}
			for _, words := range tc.message {
				if !strings.Contains(got.GetMessage(), words) {
					t.Errorf("the message does not say %q: %s", words, got.GetMessage())
				}
			}
			if n := len(w.all("deployment.waiting")); n != 0 {
				t.Errorf("a definite no was waited for %d times", n)
			}
		})
	}
}

func TestAFullDiskAtTheHostFailsTheDeploymentAndTheNextOneGetsThroughWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	w, host := remote(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	host.FillDisk(true)
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
	if got := w.failed(name("dev", 2)); got.GetReason() != "PUSH_REFUSED" || !strings.Contains(got.GetMessage(), "full disk") {
		t.Errorf("it ended as %v", got)
	}
	host.FillDisk(false)
	w.send(w.change("dev", 3, map[string]string{"a.yaml": "c"}))
	w.committed(name("dev", 3))
}

func TestOnlyABranchThatRefusesIsOneForAPullRequest(t *testing.T) {
	for what, tc := range map[string]struct {
		refused git.Refused
		want    bool
	}{
		"the branch after the objects were taken": {git.Refused{Words: "x", Unpacked: true}, true},
		"the objects":       {git.Refused{Words: "protected branch"}, false},
		"the credentials":   {git.Refused{Words: "protected branch", Status: 401}, false},
		"the right to push": {git.Refused{Words: "protected branch", Status: 403, Unpacked: true}, false},
		"the size":          {git.Refused{Words: "protected branch", Status: 413}, false},
	} {
		if got := committer.BranchRefuses(errors.Join(errors.New("push"), &tc.refused)); got != tc.want {
			t.Errorf("%s: %t", what, got)
		}
	}
	if committer.BranchRefuses(errors.New("protected branch hook declined")) {
		t.Error("words were believed")
	}
}
