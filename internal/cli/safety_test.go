package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// readers are the commands that change nothing on a server; a group stands for all its commands.
var readers = []string{
	"plan", "status", "history", "outputs", "graph", "get", "logs", "diff", "explain", "events", "metrics", "wait", "whoami", "version", "audit", "auth", "open",
	"drift list", "drift show", "drift watch", "drift history", "foreign list", "foreign show", "git", "guardrail", "render", "schema", "init", "secret seal",
	"app get", "app list", "app describe", "env get", "env list", "env describe", "type get", "type list", "type describe", "target get", "target list",
	"target status", "repo get", "repo list", "repo describe", "repo doctor", "repo health", "repo clone-url", "definition get", "definition list",
	"definition plan", "definition versions", "definition explain", "draft get", "draft list", "var list", "var get", "var versions", "var uses", "token list",
	"role-binding get", "role-binding list", "policy get", "policy list",
	// What they change is on this machine.
	"login", "context", "completion", "docs", "backup",
}

// planless are the commands that change something and have no --plan, and why.
var planless = map[string]string{
	"approve": "a vote: the deployment's own plan is what it is about, and is shown before it asks", "reject": "a vote", "cancel": "withdraws what is not in Git yet",
	"comment": "adds a word to the history", "retry": "deploys what `tow history` with its number shows",
	"lock": "sets one lock, told by its flags", "unlock": "takes one lock away", "env extend": "sets one time, told by its flag", "env keep": "takes one time away",
	"env pin": "its effect is that of the next deployment: tow plan shows it", "env unpin": "its effect is that of the next deployment: tow plan shows it",
	"token create": "nothing existed before", "token delete": "there is nothing but its name to show",
	"draft create": "a draft is a plan: tow draft deploy --plan", "draft edit": "a draft is a plan", "draft rebase": "a draft is a plan: a conflict is refused",
	"foreign adopt": "tow foreign show is its plan; it makes a draft", "foreign restore": "tow foreign show is its plan; --found holds to it",
	"foreign overwrite": "tow foreign show is its plan; --found holds to it",
	"drift ignore":      "tow drift list is its plan: nothing is changed but what is told", "drift rules": "takes a rule away that it has listed",
	"definition propose": "does nothing before it is activated; tow definition plan", "definition import": "has --dry-run, as such files come from elsewhere",
	"restore": "goes into an empty server only",
}

// destructive are the commands that take something away which no other command brings back as it was, with a command line.
var destructive = map[string]string{
	"app delete": "app delete shop", "env delete": "env delete shop/dev", "type delete": "type delete development", "target delete": "target delete eu",
	"repo delete": "repo delete main", "definition delete": "definition delete pg", "draft delete": "draft delete shop/next", "token delete": "token delete ci",
	"role-binding delete": "role-binding delete x", "policy delete": "policy delete x", "var delete": "var delete A -a shop", "rollback": "rollback -e shop/dev --to 1",
	"drift revert": "drift revert -e shop/dev", "env move": "env move shop/dev", "adopt": "adopt -e shop/dev --confirm", "restore": "restore -i BACKUP",
	"approve": "approve -e shop/dev 4",
}

func isReader(words []string) bool {
	return slices.Contains(readers, words[0]) || slices.Contains(readers, strings.Join(words, " "))
}

// Every command that changes something shows with --plan what that would be, or it is known why not.
func TestEveryChangeCanBePlanned(t *testing.T) {
	seen := map[string]bool{}
	leaves(t, func(cmd *cobra.Command, words []string) {
		path := strings.Join(words, " ")
		seen[path], seen[words[0]] = true, true
		has := cmd.Flags().Lookup("plan") != nil
		switch why := planless[path]; {
		case isReader(words) && has:
			t.Errorf("tow %s reads, but has --plan", path)
		case isReader(words):
		case has && why != "":
			t.Errorf("tow %s has --plan: take it out of planless", path)
		case !has && why == "":
			t.Errorf("tow %s changes something and has no --plan", path)
		}
	})
	for _, path := range readers {
		if !seen[path] {
			t.Errorf("there is no tow %s", path)
		}
	}
}

// A plan asks the server for no change.
func TestPlansChangeNothing(t *testing.T) {
	a := startAnything(t)
	words := sampleFiles(t)
	for name, line := range map[string]string{
		"app create": "app create shop --owner a --plan", "app update": "app update shop --owner a --plan", "app delete": "app delete shop --plan",
		"type update": "type update development --display-name a --plan", "policy create": "policy create x --file CEDAR --plan",
		"deploy": "deploy -f FILE -e shop/dev --plan", "rollback": "rollback -e shop/dev --to 1 --plan", "env delete": "env delete shop/dev --plan",
		"env move": "env move shop/dev --plan", "sync": "sync -e shop/dev --plan", "drift revert": "drift revert -e shop/dev --plan",
		"drift accept": "drift accept abc -e shop/dev --plan", "definition activate": "definition activate pg 1 --plan", "adopt": "adopt -e shop/dev --from-namespace a --plan",
	} {
		a.reset()
		r := runAnything(t, a, fillWords(line, words))
		if r.code != 0 || r.stdout == "" {
			t.Errorf("%s: exit code %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
		for _, method := range a.called() {
			verb := method[strings.LastIndexByte(method, '.')+1:]
			asks := strings.HasPrefix(verb, "Plan") || strings.HasPrefix(verb, "Get") || strings.HasPrefix(verb, "List")
			// These are asked with validate_only.
			if !asks && verb != "RevertFindings" && verb != "SyncEnvironment" && verb != "AcceptFindings" && verb != "ExplainMatch" && verb != "DiffSets" {
				t.Errorf("%s calls %s", name, method)
			}
		}
	}
}

// The plan of a resource is the difference of its documents.
func TestPlanOfAResource(t *testing.T) {
	f := startFake(t)
	r := run(t, f, strings.Fields("app update shop --owner teams/checkout --label tier- --plan")).want(t, 0)
	for _, want := range []string{"plan: change the application shop\n", "-owner: teams/shop\n", "+owner: teams/checkout\n", "-  tier: web\n", "nothing was changed\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("there is no %q in\n%s", want, r.stdout)
		}
	}
	if r := run(t, f, strings.Fields("app create new --owner a --plan -o json")).want(t, 0); !strings.Contains(r.stdout, `"name": "applications/new"`) {
		t.Error(r.stdout)
	}
	if r := run(t, f, strings.Fields("app delete shop --plan")).want(t, 0); !strings.Contains(r.stdout, "-name: applications/shop\n") {
		t.Error(r.stdout)
	}
	run(t, f, strings.Fields("app delete nope --plan")).want(t, 5)
	if len(f.called("UpdateApplication"))+len(f.called("CreateApplication"))+len(f.called("DeleteApplication")) > 0 {
		t.Error("something was changed")
	}
}

// What cannot be brought back is asked about at a terminal; without one it is refused, and says --yes. Nothing is changed before.
func TestDestructionNeedsAYes(t *testing.T) {
	a := startAnything(t)
	files := sampleFiles(t)
	leaves(t, func(cmd *cobra.Command, words []string) {
		path := strings.Join(words, " ")
		line := destructive[path]
		if has := cmd.Flags().Lookup("yes") != nil; has != (line != "") {
			t.Errorf("tow %s: --yes is there: %v; is it destructive?", path, has)
		}
		if line == "" {
			if words[len(words)-1] == "delete" && words[0] != "context" {
				t.Errorf("tow %s is not among the destructive ones", path)
			}
			return
		}
		t.Run(strings.ReplaceAll(path, " ", "_"), func(t *testing.T) {
			a.reset()
			args := fillWords(line, files)
			if r := runAnything(t, a, args).want(t, 2); !strings.Contains(r.stderr, "say --yes") {
				t.Error(r.stderr)
			}
			r := runAnything(t, a, args, terminal("n\n")).want(t, 1)
			if !strings.Contains(r.stderr, "? [y/N]") || !strings.Contains(r.stderr, "nothing was done") {
				t.Error(r.stderr)
			}
			for _, method := range a.called() {
				verb := method[strings.LastIndexByte(method, '.')+1:]
				if !strings.HasPrefix(verb, "Plan") && !strings.HasPrefix(verb, "Get") && !strings.HasPrefix(verb, "List") && verb != "RevertFindings" {
					t.Errorf("it calls %s before it is told to", method)
				}
			}
		})
	})
}
