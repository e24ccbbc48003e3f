package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/awalterschulze/gographviz"

	"github.com/towpath-dev/towpath/internal/cli"
)

const graphDir = "testdata/graph/"

var graphArgs = []string{"graph", "-f", graphDir + "api.score.yaml", "-f", graphDir + "web.score.yaml", "--definition", graphDir + "queue.yaml"}

func graphRun(t *testing.T, more ...string) result {
	t.Helper()
	return run(t, nil, append(append([]string{}, graphArgs...), more...))
}

func TestGraphIsDrawnAsText(t *testing.T) {
	golden(t, graphDir+"graph.txt", graphRun(t).want(t, 0).stdout)
	box := run(t, nil, graphArgs, func(e *cli.Env) { e.OutTerminal = true }).want(t, 0).stdout
	if !strings.Contains(box, "└─ Deployment/web") || !strings.Contains(box, "├─ ") {
		t.Errorf("a terminal gets no boxes:\n%s", box)
	}
	if ascii := run(t, nil, append(graphArgs, "--ascii"), func(e *cli.Env) { e.OutTerminal = true }).want(t, 0).stdout; ascii != graphRun(t).stdout {
		t.Errorf("--ascii draws something else:\n%s", ascii)
	}
}

func TestGraphIsDrawnForGraphviz(t *testing.T) {
	text := graphRun(t, "-o", "dot").want(t, 0).stdout
	golden(t, graphDir+"graph.dot", text)
	g := parseDot(t, text)
	if len(g.Nodes.Nodes) != 8 || len(g.Edges.Edges) != 12 {
		t.Errorf("%d nodes and %d edges", len(g.Nodes.Nodes), len(g.Edges.Edges))
	}
}

// parseDot reads a graph of Graphviz with a parser of its grammar.
func parseDot(t *testing.T, text string) *gographviz.Graph {
	t.Helper()
	tree, err := gographviz.ParseString(text)
	if err != nil {
		t.Fatalf("Graphviz would not read it: %v\n%s", err, text)
	}
	g := gographviz.NewGraph()
	if err := gographviz.Analyse(tree, g); err != nil {
		t.Fatalf("Graphviz would not take it: %v\n%s", err, text)
	}
	return g
}

// Names may have everything in them that means something to Graphviz or a terminal.
func TestOddNamesStayWhatTheyAre(t *testing.T) {
	odd := "we\"ird\\n<b>{a|b}\x1b[31m.yaml"
	dir := t.TempDir()
	text, err := os.ReadFile(graphDir + "queue.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, odd), text, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"graph", "-f", graphDir + "api.score.yaml", "--definition", filepath.Join(dir, odd)}
	g := parseDot(t, run(t, nil, append(args, "-o", "dot")).want(t, 0).stdout)
	label, err := strconv.Unquote(g.Nodes.Lookup[`"queue.default#api.jobs"`].Attrs["label"])
	if err != nil {
		t.Fatal(err)
	}
	if want := "queue.default#api.jobs\nby we\"ird\\n<b>{a|b}\\x1b[31m version 1"; label != want {
		t.Errorf("label = %q, want %q", label, want)
	}
	if out := run(t, nil, args).want(t, 0).stdout; strings.ContainsRune(out, '\x1b') {
		t.Errorf("a name writes to the terminal: %q", out)
	}
}

func TestGraphForPrograms(t *testing.T) {
	var g struct{ Nodes, Edges []map[string]any }
	if err := json.Unmarshal([]byte(graphRun(t, "-o", "json").want(t, 0).stdout), &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Nodes) != 8 || g.Nodes[0]["id"] != "workload/api" {
		t.Errorf("graph: %v", g)
	}
	if names := graphRun(t, "-o", "name").want(t, 0).stdout; !strings.HasPrefix(names, "workload/api\nworkload/web\n") {
		t.Errorf("names: %s", names)
	}
}

func TestGraphTellsWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"graph":         "which environment? give -e, such as -e shop/dev, or Score files with -f",
		"graph -e shop": "shop",
		"graph -o svg -f " + graphDir + "api.score.yaml": `--output "svg" is none of text, dot, json, yaml, name`,
		"graph -e shop/dev --variable A=1":               "--variable, --definition, --provisioners and --type are about Score files",
		"graph --deployment 7 -f score.yaml":             "--deployment is of an environment on the server",
		"graph -e shop/dev --deployment x":               "x",
	} {
		if r := run(t, nil, strings.Fields(args)).want(t, 2); !strings.Contains(r.stderr, want) {
			t.Errorf("%s: want %q in %s", args, want, r.stderr)
		}
	}
	r := run(t, nil, strings.Fields("graph -f "+graphDir+"api.score.yaml --definition "+graphDir+"circle.yaml")).want(t, 1)
	if !strings.Contains(r.stderr, "dns.default#api.jobs -> queue.default#api.jobs -> dns.default#api.jobs") {
		t.Errorf("the cycle is not named: %s", r.stderr)
	}
}

func TestProvisionersOffline(t *testing.T) {
	r := run(t, nil, strings.Fields("render -f "+graphDir+"api.score.yaml --provisioners "+graphDir)).want(t, 0)
	if !strings.Contains(r.stdout, "value: queue-") {
		t.Errorf("the provisioner did not answer: %s", r.stdout)
	}
	if want := "template://company/large can never answer"; !strings.Contains(r.stderr, want) {
		t.Errorf("want %q in %s", want, r.stderr)
	}
	r = run(t, nil, strings.Fields("definition import "+graphDir+"10-queue.provisioners.yaml --dry-run")).want(t, 0)
	if !strings.Contains(r.stdout, "company-queue   -         -       queue   *       any") {
		t.Errorf("dry run:\n%s", r.stdout)
	}
	for args, want := range map[string]string{
		"definition import":                                                     "definition import needs provisioner files",
		"definition import nothing.yaml":                                        "no such file",
		"definition import --dry-run --activate " + graphDir:                    "--dry-run sends nothing",
		"definition import testdata/help":                                       "holds no file that ends in .provisioners.yaml",
		"render -f " + graphDir + "api.score.yaml --provisioners testdata/help": "holds no file that ends in .provisioners.yaml",
	} {
		if r := run(t, nil, strings.Fields(args)).want(t, 2); !strings.Contains(r.stderr, want) {
			t.Errorf("%s: want %q in %s", args, want, r.stderr)
		}
	}
}
