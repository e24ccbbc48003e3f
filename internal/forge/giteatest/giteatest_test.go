package giteatest_test

import (
	"os"
	"testing"

	"github.com/towpath-dev/towpath/internal/forge/giteatest"
)

func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }

func TestAPersonCommitsToAProject(t *testing.T) {
	s := giteatest.Get(t)
	alice := s.NewUser(t)
	p := s.NewProject(t, alice, true)
	commit := p.Commit(t, alice, "feature", "docs/a.txt", "one")
	if tip := p.Tip(t, "feature"); tip != commit || tip == p.Tip(t, "main") {
		t.Errorf("the tip is %s, the commit %s", tip, commit)
	}
	if again := p.Commit(t, alice, "feature", "docs/a.txt", "two"); again == commit {
		t.Error("the second commit is the first")
	}
	if tip := p.Tip(t, "nowhere"); tip != "" {
		t.Errorf("a branch that is not there has the tip %s", tip)
	}
}
