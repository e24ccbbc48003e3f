package render_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// determinismChild is set in the processes that the test below starts of itself.
const determinismChild = "TOWPATH_DETERMINISM_CHILD"

// 1,000 renderings of inputs whose files came in another order and whose maps were filled in another order, some at once, in two
// more processes with one and with four processors: one id.
func TestOneInputHasOneTreeIDAlwaysAndEverywhere(t *testing.T) {
	const mark = "the ids of all: "
	cases := determinismCases(t)
	if os.Getenv(determinismChild) != "" {
		fmt.Println(mark + digestOfShuffled(t, cases, 400))
		return
	}
	want := digestOfShuffled(t, cases, 200)
	for _, processors := range []string{"1", "4"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), determinismChild+"=1", "GOMAXPROCS="+processors)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the process with %s processors: %v\n%s", processors, err, out)
		}
		if !strings.Contains(string(out), mark+want+"\n") {
			t.Errorf("the process with %s processors has other ids than %s:\n%s", processors, want, out)
		}
	}
}

// shuffledCase is an input whose workloads are loaded from files.
type shuffledCase struct {
	name  string
	files []*rendererv1.ScoreFile
	input *rendererv1.RenderInput
	// loaded are the workloads of the files in the order in which they are.
	loaded func() (map[string]*structpb.Struct, error)
}

// digestOfShuffled renders the cases in turn, n times in all, each time shuffled anew, four at once. It fails when a case has two
// ids, and gives a digest of the ids of all cases.
func digestOfShuffled(t *testing.T, cases []shuffledCase, n int) string {
	t.Helper()
	trees := make([]map[string]bool, len(cases))
	for i := range trees {
		trees[i] = map[string]bool{}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan int)
	for worker := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), rand.Uint64()))
			for turn := range turns {
				i := turn % len(cases)
				if turn >= 2*len(cases) && i != 0 && turn%(8*len(cases)) != i {
					i = 0 // the first case has everything in it, and gets most of the turns
				}
				tree, err := cases[i].render(random, turn%5 == 0)
				mu.Lock()
				if err != nil {
					t.Errorf("%s: %v", cases[i].name, err)
				}
				trees[i][tree] = true
				mu.Unlock()
			}
		})
	}
	for turn := range n {
		turns <- turn
	}
	close(turns)
	all.Wait()
	sum := sha256.New()
	for i, ids := range trees {
		if len(ids) != 1 {
			t.Errorf("%s has %d ids: %v", cases[i].name, len(ids), slices.Sorted(maps.Keys(ids)))
		}
		fmt.Fprintln(sum, cases[i].name, slices.Sorted(maps.Keys(ids)))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// render shuffles, loads the files anew where that is asked for, and renders.
func (c *shuffledCase) render(random *rand.Rand, load bool) (string, error) {
	workloads, err := c.loaded()
	if load {
		files := slices.Clone(c.files)
		random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		workloads, err = score.LoadAll(files)
	}
	if err != nil {
		return "", err
	}
	in := proto.CloneOf(c.input)
	in.Workloads = shuffledStructs(random, workloads)
	in.Resources = shuffledStructs(random, in.GetResources())
	in.Variables = shuffledMap(random, in.GetVariables())
	in.SecretVariables = shuffledMap(random, in.GetSecretVariables())
	in.Outputs = shuffledMap(random, in.GetOutputs())
	random.Shuffle(len(in.Definitions), func(i, j int) { in.Definitions[i], in.Definitions[j] = in.Definitions[j], in.Definitions[i] })
	for _, d := range in.GetDefinitions() {
		d.Inputs = shuffledStruct(random, d.GetInputs())
	}
	if in.GetDefaults() != nil {
		in.Defaults.Labels = shuffledMap(random, in.Defaults.GetLabels())
	}
	out, err := render.Render(in)
	return out.GetBundle().GetTree() + " " + out.GetBundle().GetSha256() + " " + strings.Join(out.GetWarnings(), "|") + strings.Join(out.GetDefinitionsUsed(), " "), err
}

// shuffledMap fills a new map in another order, with room for more and after others were in it: all that its iteration depends on.
func shuffledMap[V any](random *rand.Rand, m map[string]V) map[string]V {
	if len(m) == 0 {
		return m
	}
	keys := slices.Sorted(maps.Keys(m))
	random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	out := make(map[string]V, random.IntN(3*len(keys)+1))
	for i := range random.IntN(20) {
		out[fmt.Sprint("gone", i)] = m[keys[0]]
	}
	for _, k := range keys {
		out[k] = m[k]
	}
	maps.DeleteFunc(out, func(k string, _ V) bool { _, known := m[k]; return !known })
	return out
}

func shuffledStructs(random *rand.Rand, m map[string]*structpb.Struct) map[string]*structpb.Struct {
	out := shuffledMap(random, m)
	for k, s := range out {
		out[k] = shuffledStruct(random, s)
	}
	return out
}

func shuffledStruct(random *rand.Rand, s *structpb.Struct) *structpb.Struct {
	if s == nil {
		return nil
	}
	out := &structpb.Struct{Fields: shuffledMap(random, s.GetFields())}
	for k, v := range out.GetFields() {
		out.Fields[k] = shuffledValue(random, v)
	}
	return out
}

func shuffledValue(random *rand.Rand, v *structpb.Value) *structpb.Value {
	switch {
	case v.GetStructValue() != nil:
		return structpb.NewStructValue(shuffledStruct(random, v.GetStructValue()))
	case v.GetListValue() != nil:
		list := &structpb.ListValue{}
		for _, x := range v.GetListValue().GetValues() {
			list.Values = append(list.Values, shuffledValue(random, x))
		}
		return structpb.NewListValue(list)
	}
	return v
}

// determinismCases are one input that has everything in it, and every golden case.
func determinismCases(t *testing.T) []shuffledCase {
	t.Helper()
	goldens, err := filepath.Glob("testdata/*/input.yaml")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	cases := []shuffledCase{everything(t)}
	for _, path := range goldens {
		dir := filepath.Dir(path)
		cases = append(cases, shuffledCase{name: dir, files: filesOf(t, dir), input: readInput(t, path)})
	}
	for i, c := range cases {
		cases[i].loaded = sync.OnceValues(func() (map[string]*structpb.Struct, error) { return score.LoadAll(c.files) })
	}
	return cases
}

func filesOf(t *testing.T, dir string) (files []*rendererv1.ScoreFile) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.score.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Score files in %s: %v", dir, err)
	}
	for _, path := range paths {
		files = append(files, &rendererv1.ScoreFile{Filename: filepath.Base(path), Content: read(t, path), Sources: sources(t, dir)})
	}
	return files
}

// everything has the example, six workloads that share a server, one resource of every built-in type, definitions of each kind,
// secrets, claims, an overlay and shared resources.
func everything(t *testing.T) shuffledCase {
	t.Helper()
	files := filesOf(t, "../../../examples/shop")
	for i := range 6 {
		files = append(files, &rendererv1.ScoreFile{Filename: fmt.Sprint(i), Content: benchScore(t, i)})
	}
	files = append(files, &rendererv1.ScoreFile{Filename: "types.score.yaml", Content: []byte(builtinWorkload(t))},
		&rendererv1.ScoreFile{Filename: "own.score.yaml", Content: []byte(head + `
containers:
  main:
    image: nginx:1
    variables: {A: "${resources.queue.host}", B: "${resources.bucket.name}", C: "${resources.bucket.key}", D: "x${resources.env.API_KEY}y", E: "${resources.mirror.of}"}
resources: {queue: {type: queue}, bucket: {type: bucket}, env: {type: environment}, mirror: {type: mirror}}
`)})
	values, err := structpb.NewStruct(map[string]any{"name": "b-17"})
	if err != nil {
		t.Fatal(err)
	}
	return shuffledCase{name: "everything", files: files, input: &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev",
		Variables:       map[string]string{"CURRENCY": "EUR", "A": "1", "B": "2", "C": "3", "D": "4", "E": "5", "F": "6", "G": "7", "H": "8", "I": "9"},
		SecretVariables: map[string]*rendererv1.SecretReference{"API_KEY": {Name: "payments", Key: "api.key"}},
		Defaults:        &rendererv1.EnvironmentDefaults{Restricted: true, Replicas: 2, Labels: map[string]string{"a.example.com/x": "1", "b.example.com/x": "2", "c": "3"}},
		Definitions: []*rendererv1.ResourceDefinition{
			define(t, "queue", "type: queue\ndriver: DRIVER_STATIC\ninputs: {outputs: {host: q.example.com, ports: {a: 1, b: 2}}}"),
			define(t, "bucket", "type: bucket\ndriver: DRIVER_CLAIM\ninputs:\n  manifest: |\n    apiVersion: claims.example.org/v1\n    kind: Bucket\n    metadata: {name: {{ .Name }}}\n    spec: {}\n"+
				"  secret_name: status.secret\n  outputs: {name: status.name, key: {secret_key: key}}"),
			define(t, "mirror", "type: mirror\ndriver: DRIVER_TEMPLATE\ninputs:\n  provision: {'queue#mirrored': {}}\n  outputs: |\n    of: \"${resources['queue#mirrored'].outputs.host}\"\n"+
				"  manifests: |\n    - {apiVersion: v1, kind: ConfigMap, metadata: {name: {{ .Name }}}, data: {all: {{ .Variables | toJson | quote }}}}"),
		},
		Outputs: map[string]*rendererv1.ResourceOutputs{"bucket.default#app.bucket": {
			Resource: "bucket.default#app.bucket", Values: values, Secrets: map[string]*rendererv1.SecretReference{"key": {Name: "bucket-keys", Key: "key"}},
		}},
		Overlay: []*rendererv1.Operation{
			{Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api-003/containers/main/variables/LOG_LEVEL", Value: structpb.NewStringValue("debug")},
			{Action: rendererv1.Operation_ACTION_REMOVE, Path: "/workloads/api-004/containers/main/variables/LOG_LEVEL"},
		},
	}}
}

// builtinParams are what built-in types cannot do without.
var builtinParams = map[string]string{
	"endpoint": "{host: pay.example.com}", "route": "{host: '${resources.dns.host}', port: http}",
	"service": "{workload: api}", "service-port": "{workload: api}",
}

// builtinWorkload asks for one resource of every built-in type. A type that needs params which are not listed above must be in a golden
// case at least.
func builtinWorkload(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("apiVersion: score.dev/v1b1\nmetadata: {name: types}\nservice: {ports: {http: {port: 80}}}\ncontainers: {main: {image: 'nginx:1'}}\nresources:\n")
	covered := 0
	for _, typ := range definition.Builtin().Types() {
		typ, class, _ := strings.Cut(typ, ".")
		name := typ + class
		typ += map[bool]string{true: ", class: " + class}[class != ""]
		line := fmt.Sprintf("  %s: {type: %s, params: %s}\n", name, typ, firstText(builtinParams[typ], "{}"))
		if !rendersAlone(t, typ) {
			if !inGolden(t, typ) {
				t.Errorf("the built-in type %s cannot be rendered without params; list them in builtinParams", typ)
			}
			continue
		}
		covered++
		b.WriteString(line)
	}
	if covered < 10 {
		t.Errorf("only %d built-in types are rendered", covered)
	}
	return b.String()
}

func rendersAlone(t *testing.T, typ string) bool {
	t.Helper()
	if builtinParams[typ] != "" {
		return true
	}
	_, err := render.Render(&rendererv1.RenderInput{Application: "a", Environment: "b", Namespace: "c", Workloads: parse(t,
		"apiVersion: score.dev/v1b1\nmetadata: {name: types}\nservice: {ports: {http: {port: 80}}}\ncontainers: {main: {image: 'nginx:1'}}\nresources: {it: {type: "+typ+"}}\n")})
	return err == nil
}

func inGolden(t *testing.T, typ string) bool {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/*.score.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(string(read(t, p)), "type: "+typ) })
}

func firstText(values ...string) string {
	return values[slices.IndexFunc(values, func(s string) bool { return s != "" })]
}
