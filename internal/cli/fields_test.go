package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v3"
)

// structuredCommands are the commands whose JSON scripts read, by the name of the file with its fields. Each gets and lists a noun.
var structuredCommands = map[string]string{
	"app-get": "app get shop", "app-list": "app list", "env-get": "env get shop/dev", "env-list": "env list", "type-get": "type get development",
	"type-list": "type list", "target-get": "target get eu", "target-list": "target list", "repo-get": "repo get main",
	"repo-list": "repo list", "repo-health": "repo health main", "repo-doctor": "repo doctor main", "definition-get": "definition get pg",
	"definition-list": "definition list", "definition-version": "definition versions pg 1", "definition-versions": "definition versions pg",
	"definition-explain": "definition explain -e shop/dev postgres", "draft-get": "draft get shop/next", "draft-list": "draft list",
	"var-get": "var get LOG_LEVEL -e shop/dev", "var-list": "var list -e shop/dev", "var-versions": "var versions LOG_LEVEL -e shop/dev",
	"var-uses": "var uses LOG_LEVEL -a shop", "token-list": "token list", "role-binding-get": "role-binding get x", "role-binding-list": "role-binding list",
	"policy-get": "policy get x", "policy-list": "policy list", "history": "history -e shop/dev", "history-one": "history -e shop/dev 4",
	"status": "status", "status-one": "status -e shop/dev", "plan": "plan -e shop/dev --rollback-to 1", "metrics": "metrics -e shop/dev", "outputs": "outputs -e shop/dev",
	"drift-list": "drift list -e shop/dev", "drift-show": "drift show abc -e shop/dev", "drift-history": "drift history -e shop/dev --limit 1", "drift-rules": "drift rules -e shop/dev",
	"audit-list": "audit list --limit 1", "audit-show": "audit show 1", "whoami": "whoami", "can-i": "auth can-i deploy shop/dev", "can-i-list": "auth can-i --list",
	"git-log": "git log shop/dev --limit 1", "git-show": "git show shop/dev 0123456789abcdef0123456789abcdef01234567", "git-ls": "git ls shop/dev",
	"git-diff": "git diff shop/dev 0123456789abcdef0123456789abcdef01234567", "foreign-show": "foreign show shop/dev", "foreign-list": "foreign list shop/dev",
	"get": "get -e shop/dev", "get-object": "get -e shop/dev deployment/api", "get-events": "get -e shop/dev --events",
	"diff-manifests": "diff -e shop/dev --manifests 1 2", "graph": "graph -e shop/dev", "deploy": "set A=1 -e shop/dev", "context-list": "context list", "version": "version",
}

// The JSON of each command is an interface: a field that is renamed or goes breaks somebody's script, and this test. UPDATE=1 notes
// new fields.
func TestJSONFieldsStay(t *testing.T) {
	a := startAnything(t)
	for name, line := range structuredCommands {
		t.Run(name, func(t *testing.T) {
			r := runAnything(t, a, append(strings.Fields(line), "-o", "json")).want(t, 0)
			var doc any
			if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
				t.Fatalf("%v\n%s", err, r.stdout)
			}
			fields := fieldPaths("", doc)
			file := filepath.Join("testdata", "fields", name+".txt")
			if os.Getenv("UPDATE") != "" {
				golden(t, file, strings.Join(fields, "\n")+"\n")
				return
			}
			pinned, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; UPDATE=1 writes it", err)
			}
			for _, field := range strings.Fields(string(pinned)) {
				if !slices.Contains(fields, field) {
					t.Errorf("%s is no field of `tow %s -o json` any more", field, line)
				}
			}
		})
	}
}

// YAML has the same fields in the same order as JSON.
func TestYAMLIsTheSameAsJSON(t *testing.T) {
	a := startAnything(t)
	for name, line := range structuredCommands {
		if name == "get-object" {
			continue // its YAML is the object itself, as kubectl gives it
		}
		var fromJSON, fromYAML any
		r := runAnything(t, a, append(strings.Fields(line), "-o", "json")).want(t, 0)
		if err := json.Unmarshal([]byte(r.stdout), &fromJSON); err != nil {
			t.Fatal(err)
		}
		r = runAnything(t, a, append(strings.Fields(line), "-o", "yaml"))
		if name == "graph" && r.code == 2 {
			continue // its words are those of graphs
		}
		if err := yaml.Unmarshal([]byte(r.want(t, 0).stdout), &fromYAML); err != nil {
			t.Fatal(err)
		}
		if j, y := fieldPaths("", fromJSON), fieldPaths("", fromYAML); !slices.Equal(j, y) {
			t.Errorf("%s: JSON has %d fields and YAML %d", name, len(j), len(y))
		}
	}
}

// fieldPaths gives the paths of all fields, sorted; [] stands for the items of a list. What stands below free-form fields does not count.
func fieldPaths(at string, doc any) []string {
	seen := map[string]bool{}
	var walk func(at string, doc any)
	walk = func(at string, doc any) {
		switch v := doc.(type) {
		case map[string]any:
			for key, value := range v {
				path := at + "." + key
				seen[path] = true
				walk(path, value)
			}
		case []any:
			for _, item := range v {
				walk(at+"[]", item)
			}
		}
	}
	walk(at, doc)
	var out []string
	for path := range seen {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

// Whatever lists or shows things can write them for programs, and every command that can completes the formats.
func TestListsAndGetsHaveAllFormats(t *testing.T) {
	n := 0
	leaves(t, func(cmd *cobra.Command, words []string) {
		verb := words[len(words)-1]
		if !slices.Contains([]string{"list", "get", "show", "versions", "history", "status", "rules", "log", "ls", "uses", "health", "doctor", "outputs", "metrics", "whoami"}, verb) {
			return
		}
		n++
		f := cmd.Flags().Lookup("output")
		if f == nil || f.Shorthand != "o" {
			t.Errorf("tow %s has no -o", strings.Join(words, " "))
			return
		}
		for _, format := range []string{"json", "yaml", "name"} {
			if !strings.Contains(f.Usage, format) {
				t.Errorf("tow %s has no -o %s", strings.Join(words, " "), format)
			}
		}
	})
	if n < 40 {
		t.Errorf("there are %d such commands only", n)
	}
}
