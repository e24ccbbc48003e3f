package committer_test

import (
	"fmt"
	"strings"
	"testing"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

const oldFolder = "environments/dev/shop"

// to puts the main place somewhere else.
func (p *places) to(repo, folder string) func(*eventsv1.DeploymentRequested) {
	return func(cmd *eventsv1.DeploymentRequested) { cmd.Repository, cmd.Path = p.ref(repo), folder }
}

// old is a place that is left.
func (p *places) old(id, repo, folder string) *committerv1.Part {
	ref := p.ref(repo)
	if repo == "shop" {
		ref = cloneRef(p.repo)
	}
	return &committerv1.Part{Id: id, Repository: ref, Path: folder}
}

// moved is a move of dev from the shop repository to the third one.
func (p *places) moved(n int, mods ...func(*eventsv1.DeploymentRequested)) *eventsv1.DeploymentRequested {
	return p.change("dev", n, shop, append([]func(*eventsv1.DeploymentRequested){
		p.to("third", "apps/shop"), leaving(p.old("", "shop", oldFolder)),
	}, mods...)...)
}

func TestAMoveWritesTheNewPlaceFirstAndLeavesTheOldOneFenced(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	p.send(p.moved(2))
	got := p.committed(name("dev", 2))
	if got.GetRepository() != "repositories/third" || got.GetPath() != "apps/shop" || got.GetTree() != bundleOf(t, shop) || len(got.GetWarnings()) != 0 {
		t.Errorf("told was %v", got)
	}
	if len(filesIn(p.bare, "environments")) != 0 || len(filesIn(p.third, "apps/shop")) != len(shop) || log(p.third) != 1 || p.commits() != 2 {
		t.Errorf("the old place holds %v, the new one %v", filesIn(p.bare, "environments"), filesIn(p.third, "apps"))
	}
	if d := p.desired("applications/shop/environments/dev"); d.GetRepository().GetName() != "repositories/third" || d.GetTree() != bundleOf(t, shop) {
		t.Errorf("desired is %v", d)
	}
	if s := stateOf(t, p.bare, ""); s["removed"] != true || s["moved_to"] != "repositories/third#main:apps/shop" {
		t.Errorf("the old state file says %v", s)
	}
	if words := p.bare.Log("main")[0]; !strings.Contains(words, "Leave the old place of shop/dev") {
		t.Errorf("the commit says %s", words)
	}
	// An older command that comes late finds the mark, and another environment may take the folder.
	p.send(p.change("dev", 1, map[string]string{"late.yaml": "late"}, func(cmd *eventsv1.DeploymentRequested) { cmd.RequestId = "late" }))
	if got := p.failed(name("dev", 1)); !got.GetSuperseded() {
		t.Errorf("the late one ended as %v", got)
	}
	p.send(p.change("qa", 1, shop, func(cmd *eventsv1.DeploymentRequested) { cmd.Path = oldFolder }))
	p.committed(name("qa", 1))
	// The way back is refused while the folder is another's, and open to any other one.
	back := []func(*eventsv1.DeploymentRequested){leaving(p.old("", "third", "apps/shop"))}
	p.send(p.change("dev", 3, shop, back...))
	if got := p.failed(name("dev", 3)); got.GetReason() != "INVALID_PATH" {
		t.Errorf("a taken folder was given to %v", got)
	}
	p.send(p.change("dev", 4, shop, append(back, func(cmd *eventsv1.DeploymentRequested) { cmd.Path = "environments/dev/again" })...))
	p.committed(name("dev", 4))
	if len(filesIn(p.third, "apps")) != 0 || len(filesIn(p.bare, oldFolder)) != len(shop) || len(filesIn(p.bare, "environments/dev/again")) != len(shop) {
		t.Error("the files are not where they belong")
	}
}

func TestAKillDuringAMoveLeavesTheEnvironmentInOnePlace(t *testing.T) {
	for _, c := range []struct {
		point string
		nth   int32
	}{
		{"pack_sent", 1}, {"ref_moved", 1}, {"desired_sent", 1}, {"pack_sent", 2}, {"ref_moved", 2}, {"place_left", 1}, {"event_sent", 1},
	} {
		t.Run(fmt.Sprintf("%s %d", c.point, c.nth), func(t *testing.T) {
			t.Parallel()
			p := newPlaces(t)
			p.send(p.change("dev", 1, shop))
			p.committed(name("dev", 1))
			p.settled()
			p.stop()
			die, died := dieAt(c.point, c.nth)
			die(p.world)
			p.start()
			p.send(p.moved(2))
			p.restartAfter(died)
			p.committed(name("dev", 2))
			p.settled()
			if log(p.third) != 1 || p.commits() != 2 || len(p.all("deployment.committed")) != 2 {
				t.Errorf("%d and %d commits; %s", log(p.third), p.commits(), p.summary())
			}
			if len(filesIn(p.bare, "environments")) != 0 || len(filesIn(p.third, "apps/shop")) != len(shop) {
				t.Error("the files are not where they belong")
			}
		})
	}
}

func TestAMoveWithinABranchIsOneCommit(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	parts := func(config string) func(*eventsv1.DeploymentRequested) {
		return withParts(p.part("config", "shop", config, "/ConfigMap"))
	}
	p.send(p.change("dev", 1, shop, parts("config/dev")))
	p.committed(name("dev", 1))
	p.bare.Commit("main", "by hand", map[string][]byte{"environments/dev/notes.md": []byte("keep")})
	// The two places change their folders with each other.
	p.send(p.change("dev", 2, shop, parts(oldFolder), p.to("shop", "config/dev"), leaving(p.old("", "shop", oldFolder), p.old("config", "shop", "config/dev"))))
	p.committed(name("dev", 2))
	if len(filesIn(p.bare, oldFolder)) != 1 || len(filesIn(p.bare, "config/dev")) != 2 || p.commits() != 3 {
		t.Errorf("the folders hold %v and %v", filesIn(p.bare, oldFolder), filesIn(p.bare, "config/dev"))
	}
	// Whole again, in a folder inside its own old one.
	p.send(p.change("dev", 3, shop, p.to("shop", "config/dev/all"), leaving(p.old("", "shop", "config/dev"), p.old("config", "shop", oldFolder))))
	p.committed(name("dev", 3))
	if len(filesIn(p.bare, "config/dev/all")) != 3 || len(filesIn(p.bare, "config")) != 3 || len(filesIn(p.bare, oldFolder)) != 0 || p.commits() != 4 {
		t.Errorf("there is %v", p.bare.Files("main"))
	}
	if s := stateOf(t, p.bare, "@config"); s["removed"] != true {
		t.Errorf("the part that is no more has %v", s)
	}
	if filesIn(p.bare, "environments/dev")["notes.md"] != "keep" {
		t.Error("a file of somebody else is gone")
	}
	if n := len(p.all("repository.foreign_commit")); n != 0 {
		t.Errorf("%d foreign changes were told", n)
	}
}

func TestAnOldPlaceThatIsAwayIsWaitedForAtTheNewOne(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	p.srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Path: "/shop.git", Times: 1 << 30})
	p.send(p.moved(2))
	waits := find(p.world, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	for _, word := range []string{"stands at its new place", "repositories/deploy", oldFolder} {
		if !strings.Contains(waits.GetReason(), word) {
			t.Errorf("%q is not told: %s", word, waits.GetReason())
		}
	}
	if d := p.desired("applications/shop/environments/dev"); d.GetGeneration() != 2 || p.has("deployment.committed", name("dev", 2)) {
		t.Errorf("desired is %v", d)
	}
	p.srv.Heal()
	p.committed(name("dev", 2))
	if len(filesIn(p.bare, "environments")) != 0 || log(p.third) != 1 {
		t.Error("the old place is still there")
	}
}

func TestAnOldPlaceThatRefusesIsTold(t *testing.T) {
	for _, c := range []string{"a hook", "no such repository"} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			p := newPlaces(t)
			p.send(p.change("dev", 1, shop))
			p.committed(name("dev", 1))
			if c == "a hook" {
				hook(t, p.bare, "echo 'archived for good' >&2; exit 1\n")
			} else {
				p.srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 404, Path: "/shop.git", Times: 1 << 30})
			}
			p.send(p.moved(2))
			got := p.committed(name("dev", 2))
			if w := strings.Join(got.GetWarnings(), "\n"); !strings.Contains(w, oldFolder) || !strings.Contains(w, "by hand") ||
				c == "a hook" && !strings.Contains(w, "archived for good") {
				t.Errorf("the warnings are %q", w)
			}
			p.settled()
			p.srv.Heal()
			p.send(p.change("dev", 3, shop, p.to("third", "apps/shop")))
			if got := p.committed(name("dev", 3)); len(got.GetWarnings()) != 0 {
				t.Errorf("told was %v", got)
			}
		})
	}
}

func TestWhatOthersChangedInAnOldPlaceIsToldBeforeItGoes(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	p.bare.Commit("main", "by hand", map[string][]byte{oldFolder + "/extra.yaml": []byte("x")})
	p.send(p.moved(2))
	p.committed(name("dev", 2))
	ev := find(p.world, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
	if ev.GetRepository() != "repositories/deploy" || ev.GetPath() != oldFolder || len(filesIn(p.bare, "environments")) != 0 {
		t.Errorf("told was %v", ev)
	}
}

func TestALeftPlaceThatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.bare.Commit("main", "by hand", map[string][]byte{oldFolder + "/theirs.yaml": []byte("x")})
	p.send(p.moved(2))
	p.committed(name("dev", 2))
	if filesIn(p.bare, oldFolder)["theirs.yaml"] != "x" || p.commits() != 1 {
		t.Error("files that Towpath never wrote were removed")
	}
	// A newer deployment has come back to the old place meanwhile.
	p.send(p.change("qa", 5, shop))
	p.committed(name("qa", 5))
	p.send(p.change("qa", 4, shop, p.to("third", "apps/qa"), leaving(p.old("", "shop", "environments/qa/shop"))))
	p.committed(name("qa", 4))
	if len(filesIn(p.bare, "environments/qa/shop")) != len(shop) {
		t.Error("a newer deployment's files were removed")
	}
}

func TestAnEnvironmentIsSplitMovedAndMadeWholeWithoutAGap(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	p.committed(name("dev", 1))
	// The part moves within its repository, the other one becomes part of the main place, which moves away.
	p.send(p.change("dev", 2, shop, p.to("third", "apps/shop"), withParts(p.part("config", "config", "elsewhere", "/ConfigMap")), leaving(
		p.old("", "shop", oldFolder), p.old("config", "config", configFolder), p.old("routes", "third", "routes/dev"))))
	got := p.committed(name("dev", 2))
	if got.GetTree() != bundleOf(t, shop) || len(got.GetWarnings()) != 0 {
		t.Errorf("told was %v", got)
	}
	if len(filesIn(p.bare, "environments"))+len(filesIn(p.config, "environments"))+len(filesIn(p.third, "routes")) != 0 {
		t.Error("an old place is left")
	}
	if len(filesIn(p.config, "elsewhere")) != 1 || len(filesIn(p.third, "apps/shop")) != 2 {
		t.Errorf("the new places hold %v and %v", filesIn(p.config, "elsewhere"), filesIn(p.third, "apps/shop"))
	}
	if s := stateOf(t, p.config, "@config"); s["removed"] == true || s["path"] != "elsewhere" {
		t.Errorf("the part's state file says %v", s)
	}
	// With claims first, the old places stay until the deployment itself comes.
	p.send(p.change("dev", 3, map[string]string{"configmap-claim.yaml": "c"}, leaving(p.old("", "third", "apps/shop"), p.old("config", "config", "elsewhere")),
		func(cmd *eventsv1.DeploymentRequested) {
			cmd.Mode, cmd.RequestId = eventsv1.DeploymentRequested_MODE_CLAIMS, "claims-3"
		}))
	find(p.world, "deployment.claims", name("dev", 3), &eventsv1.ClaimsCommitted{})
	if len(filesIn(p.config, "elsewhere")) != 1 || len(filesIn(p.third, "apps/shop")) != 2 {
		t.Error("an old place was left too early")
	}
	p.send(p.change("dev", 3, shop, leaving(p.old("", "third", "apps/shop"), p.old("config", "config", "elsewhere"))))
	p.committed(name("dev", 3))
	if len(filesIn(p.config, "elsewhere"))+len(filesIn(p.third, "apps")) != 0 || len(filesIn(p.bare, oldFolder)) != len(shop) {
		t.Error("it is not whole again")
	}
}

func TestAClaimsFirstMoveWithinABranchRemovesTheOldFolderWithTheDeployment(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	mods := []func(*eventsv1.DeploymentRequested){p.to("shop", "apps/shop"), leaving(p.old("", "shop", oldFolder))}
	p.send(p.change("dev", 2, map[string]string{"configmap-claim.yaml": "c"}, append(mods, func(cmd *eventsv1.DeploymentRequested) {
		cmd.Mode, cmd.RequestId = eventsv1.DeploymentRequested_MODE_CLAIMS, "claims-2"
	})...))
	find(p.world, "deployment.claims", name("dev", 2), &eventsv1.ClaimsCommitted{})
	if len(filesIn(p.bare, oldFolder)) != len(shop) {
		t.Error("the old place was left too early")
	}
	p.send(p.change("dev", 2, shop, mods...))
	p.committed(name("dev", 2))
	if len(filesIn(p.bare, oldFolder)) != 0 || len(filesIn(p.bare, "apps/shop")) != len(shop) || p.commits() != 3 {
		t.Errorf("there is %v", p.bare.Files("main"))
	}
}

func TestARemovalWithAMoveThatNeverEndedRemovesBoth(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	p.send(p.moved(2, remove))
	p.committed(name("dev", 2))
	if len(filesIn(p.bare, "environments")) != 0 || !p.desired("applications/shop/environments/dev").GetRemoved() {
		t.Error("the old place is still there")
	}
	if s := stateOf(t, p.bare, ""); s["removed"] != true || s["moved_to"] != nil {
		t.Errorf("the old state file says %v", s)
	}
}

func TestAPartMayTakeTheFolderThatItsEnvironmentHad(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.change("dev", 1, shop))
	p.committed(name("dev", 1))
	// The main place goes to another repository, and a part comes to its folder: nobody says that the folder is left.
	config := p.part("config", "shop", oldFolder, "/ConfigMap")
	config.Repository = cloneRef(p.repo)
	p.send(p.change("dev", 2, shop, p.to("third", "apps/shop"), withParts(config)))
	p.committed(name("dev", 2))
	if len(filesIn(p.bare, oldFolder)) != 1 || len(filesIn(p.third, "apps/shop")) != 2 || p.commits() != 2 || log(p.third) != 1 {
		t.Errorf("the places hold %v and %v", filesIn(p.bare, oldFolder), filesIn(p.third, "apps/shop"))
	}
	if s := stateOf(t, p.bare, ""); s["removed"] != true || s["moved_to"] != "repositories/third#main:apps/shop" {
		t.Errorf("the old state file says %v", s)
	}
	// The part changes its name, and then the environment is whole there again.
	renamed := p.part("settings", "shop", oldFolder, "/ConfigMap")
	renamed.Repository = cloneRef(p.repo)
	p.send(p.change("dev", 3, shop, p.to("third", "apps/shop"), withParts(renamed)))
	p.committed(name("dev", 3))
	p.send(p.change("dev", 4, shop, leaving(p.old("", "third", "apps/shop"))))
	p.committed(name("dev", 4))
	if len(filesIn(p.bare, oldFolder)) != len(shop) || len(filesIn(p.third, "apps")) != 0 {
		t.Errorf("the places hold %v and %v", filesIn(p.bare, oldFolder), filesIn(p.third, "apps"))
	}
	for _, part := range []string{"@config", "@settings"} {
		if s := stateOf(t, p.bare, part); s["removed"] != true {
			t.Errorf("%s has %v", part, s)
		}
	}
}
