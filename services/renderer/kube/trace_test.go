package kube_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/origin"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// everything is a document with a value of its own in every place that becomes a leaf: texts hold "zq", numbers 71.
const everything = `
apiVersion: score.dev/v1b1
metadata:
  name: zqname
  annotations:
    example.com/zqkey: zqannotation
    towpath.dev/run-as-user: "7101"
    towpath.dev/grace-period: "7102"
    %s
service:
  ports:
    zqport: {port: 7103, targetPort: 7104, protocol: UDP}
    zqother: {port: 7105}
containers:
  zqmain:
    image: zqimage
    command: [zqcommand]
    args: [zqarg, "$(zqdollar)"]
    variables: {ZQPLAIN: zqvalue, ZQEXPANDED: "${metadata.name}-zq", ZQSECRET: "${resources.zqsecret.x}", ZQMIXED: "zq ${resources.zqsecret.x}"}
    files:
      /zqfile: {content: "zqcontent ${metadata.name}", mode: "0710"}
      /zqbinary: {binaryContent: enFi}
      /zqraw: {content: "zq${raw}", noExpand: true}
    volumes:
      /zqvolume: {source: "${resources.zqdata}", path: zqpath, readOnly: true}
    resources: {requests: {cpu: 7106m, memory: 71K}, limits: {cpu: 7107m, memory: 7171M}}
    livenessProbe: {exec: {command: [zqlive]}}
    readinessProbe: {httpGet: {path: /zqready, port: 7108, scheme: HTTPS, host: zqhost, httpHeaders: [{name: zqheader, value: zqheadervalue}]}}
    before: {zqinit: {ready: complete}, zqside: {ready: healthy}, zqstarted: {ready: started}}
  zqinit: {image: zqimage2}
  zqstarted: {image: zqimage3}
  zqside: {image: zqimage4, readinessProbe: {httpGet: {path: /zqside, port: 7109}}}
resources:
  zqdata: {type: volume}
  zqsecret: {type: vault}
`

// defaults have a value of their own in every field, too: texts hold "zd", numbers 62.
var defaults = &rendererv1.EnvironmentDefaults{
	Replicas: 62, Labels: map[string]string{"zdlabel": "zdvalue"},
	Requests: &rendererv1.ComputeAmounts{Cpu: "6201m", Memory: "6202K"}, Limits: &rendererv1.ComputeAmounts{Cpu: "6203m", Memory: "6204M"},
	DisruptionBudget: &rendererv1.DisruptionBudget{MaxUnavailable: "62%"},
	Network:          &rendererv1.NetworkRules{Isolate: true, IngressNamespaces: []string{"zdspace"}, EgressCidrs: []string{"62.0.0.0/8"}},
	Autoscaling:      &rendererv1.Autoscaling{MinReplicas: 62, MaxReplicas: 625, CpuPercent: 626, MemoryPercent: 627},
	ServiceAccount:   &rendererv1.ServiceAccountRules{Annotations: map[string]string{"zdrole": "zdaccount"}, MountToken: true},
	ImagePullSecrets: []string{"zdsecret"},
}

func TestEachValueKnowsWhereItComesFrom(t *testing.T) {
	for kind, more := range map[string]string{
		"Deployment": "", "Deployment of 73": `towpath.dev/replicas: "713"`, "DaemonSet": "", "StatefulSet": "",
		"Job":     `towpath.dev/completions: "714", towpath.dev/parallelism: "715", towpath.dev/backoff-limit: "716", towpath.dev/deadline: "717", towpath.dev/run: zqrun`,
		"CronJob": `towpath.dev/schedule: "7 1 * * *", towpath.dev/starting-deadline: "718", towpath.dev/successful-history-limit: "71", towpath.dev/failed-history-limit: "71"`,
	} {
		t.Run(kind, func(t *testing.T) {
			annotations := "towpath.dev/kind: " + strings.Fields(kind)[0]
			for line := range strings.SplitSeq(more, ", ") {
				annotations += "\n    " + line
			}
			in := inputOf(t, fmt.Sprintf(everything, annotations))
			in.Defaults = defaults
			if kind == "StatefulSet" {
				in.Volume = func(string) (kube.Volume, bool) {
					return kube.Volume{Name: "vol-zqdata", Claim: map[string]any{"zqclaim": "zqspec"}}, true
				}
			}
			for _, o := range traced(t, in) {
				for _, leaf := range o {
					checkLeaf(t, leaf)
				}
			}
		})
	}
}

// checkLeaf demands an origin of the right kind for a leaf that holds a planted value.
func checkLeaf(t *testing.T, leaf origin.Leaf) {
	t.Helper()
	value, from := strings.ToLower(fmt.Sprint(leaf.Value)), leaf.From
	var want []rendererv1.Origin_Source
	switch {
	case strings.Contains(value, "zq") || strings.HasPrefix(value, "71") || value == "456" || value == "71k":
		want = []rendererv1.Origin_Source{rendererv1.Origin_SOURCE_SCORE, rendererv1.Origin_SOURCE_RESOURCE_OUTPUT, rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE, rendererv1.Origin_SOURCE_TOWPATH}
	case strings.Contains(value, "zd") || strings.HasPrefix(value, "62"):
		want = []rendererv1.Origin_Source{rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE}
	case strings.Contains(value, "zapp") || strings.Contains(value, "zenv") || strings.Contains(value, "zspace"):
		want = []rendererv1.Origin_Source{rendererv1.Origin_SOURCE_ENVIRONMENT}
	default:
		return
	}
	path := strings.Join(leaf.Path, ".")
	if from == nil || !slices.Contains(want, from.GetSource()) {
		t.Errorf("%s (%v) comes from %v, want one of %v", path, leaf.Value, from, want)
		return
	}
	if from.GetPath() == "" && from.GetNote() == "" {
		t.Errorf("%s (%v) does not say from which place: %v", path, leaf.Value, from)
	}
	if from.GetSource() == rendererv1.Origin_SOURCE_SCORE && from.GetWorkload() != "zqname" {
		t.Errorf("%s (%v) does not say from which workload: %v", path, leaf.Value, from)
	}
}

// Places are what error messages call them.
func TestPlacesOfOrigins(t *testing.T) {
	in := inputOf(t, fmt.Sprintf(everything, "example.com/other: b"))
	in.Defaults = defaults
	in.Parts = func(text string) []*origin.Origin { return []*origin.Origin{{Note: text}} }
	got := map[string]string{}
	for _, o := range traced(t, in) {
		for _, leaf := range o {
			if leaf.From != nil {
				got[fmt.Sprint(leaf.Value)] = strings.TrimSpace(leaf.From.GetPath() + " " + partsOf(leaf.From))
			}
		}
	}
	for value, place := range map[string]string{
		"zqimage": "containers.zqmain.image", "zqcommand": "containers.zqmain.command", "$$(zqdollar)": "containers.zqmain.args",
		"zqvalue": "containers.zqmain.variables.ZQPLAIN zqvalue", "zqname-zq": "containers.zqmain.variables.ZQEXPANDED ${metadata.name}-zq",
		"zqcontent zqname": "containers.zqmain.files./zqfile.content zqcontent ${metadata.name}", "456": "containers.zqmain.files./zqfile.mode",
		"zq${raw}": "containers.zqmain.files./zqraw.content", "enFi": "containers.zqmain.files./zqbinary.binaryContent",
		"/zqvolume": "containers.zqmain.volumes./zqvolume", "zqpath": "containers.zqmain.volumes./zqvolume.path",
		"7106m": "containers.zqmain.resources.requests.cpu", "7171M": "containers.zqmain.resources.limits.memory",
		"zqlive": "containers.zqmain.livenessProbe", "7108": "containers.zqmain.readinessProbe", "/zqside": "containers.zqside.readinessProbe",
		"7103": "service.ports.zqport.port", "7104": "service.ports.zqport.targetPort", "7105": "service.ports.zqother.port",
		"zqannotation": `metadata.annotations.example\.com/zqkey`, "7101": `metadata.annotations.towpath\.dev/run-as-user`,
		"zdvalue": "labels.zdlabel", "6201m": "requests.cpu", "6204M": "limits.memory", "625": "autoscaling.max_replicas", "62": "autoscaling.min_replicas",
		"62%": "disruption_budget.max_unavailable", "zdaccount": "service_account.annotations.zdrole", "zdsecret": "image_pull_secrets.0",
		"zapp": "application", "zenv": "environment", "zspace": "namespace",
	} {
		if got[value] != place {
			t.Errorf("%s comes from %q, want %q", value, got[value], place)
		}
	}
}

func partsOf(o *origin.Origin) string {
	var out []string
	for _, p := range o.GetParts() {
		out = append(out, p.GetNote())
	}
	return strings.Join(out, " ")
}

func TestTracingDoesNotChangeWhatIsMade(t *testing.T) {
	files, err := filepath.Glob("../render/testdata/*/*.score.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d documents: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "../render/testdata/"), func(t *testing.T) {
			in := inputOf(t, read(t, file), filepath.Dir(file))
			asJSON, err := yaml.YAMLToJSON([]byte(read(t, filepath.Join(filepath.Dir(file), "input.yaml"))))
			if err != nil {
				t.Fatal(err)
			}
			var all rendererv1.RenderInput
			if err := protojson.Unmarshal(asJSON, &all); err != nil {
				t.Fatal(err)
			}
			in.Defaults, in.Routes = all.GetDefaults(), []string{"80", "http"}
			traced(t, in)
		})
	}
}

// traced builds with and without a tracer, demands that both make the same, and gives the leaves of the objects.
func traced(t *testing.T, in kube.Input) [][]origin.Leaf {
	t.Helper()
	plain, warnings, problems := kube.Build(in)
	if len(problems) > 0 {
		t.Fatal(problems.Err())
	}
	plain = append(plain, kube.Environment(in.Place, in.Defaults, nil)...)
	in.Trace = &origin.Tracer{}
	marked, again, problems := kube.Build(in)
	if len(problems) > 0 {
		t.Fatal(problems.Err())
	}
	marked = append(marked, kube.Environment(in.Place, in.Defaults, in.Trace)...)
	if diff := cmp.Diff(warnings, again); diff != "" {
		t.Errorf("warnings (-plain +traced)\n%s", diff)
	}
	var stripped []map[string]any
	var leaves [][]origin.Leaf
	for _, o := range marked {
		out, of := origin.Strip(o)
		stripped, leaves = append(stripped, out), append(leaves, of)
	}
	if diff := cmp.Diff(plain, stripped); diff != "" {
		t.Errorf("objects (-plain +traced)\n%s", diff)
	}
	return leaves
}

// inputOf reads a document. Its placeholders are expanded to what can be told apart.
func inputOf(t *testing.T, document string, sources ...string) kube.Input {
	t.Helper()
	file := &rendererv1.ScoreFile{Content: []byte(document), Sources: map[string][]byte{}}
	for _, dir := range sources {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				file.Sources[e.Name()] = []byte(read(t, filepath.Join(dir, e.Name())))
			}
		}
	}
	loaded, err := score.LoadAll([]*rendererv1.ScoreFile{file})
	if err != nil {
		t.Fatal(err)
	}
	name := slices.Collect(maps.Keys(loaded))[0]
	return kube.Input{
		Workload: name, Doc: loaded[name].AsMap(), Routes: []string{"7103", "zqother"},
		Place: kube.Place{Application: "zapp", Environment: "zenv", Namespace: "zspace", Instance: "zapp-zenv", Labels: defaults.GetLabels()},
		Expand: func(text string) (string, error) {
			text = strings.ReplaceAll(text, "${metadata.name}", name)
			return strings.ReplaceAll(text, "${resources.zqsecret.x}", "(towpath-secret:zqvault/zqkey)"), nil
		},
		Volume: func(source string) (kube.Volume, bool) {
			return kube.Volume{Name: fmt.Sprintf("vol-%x", source), Source: map[string]any{"persistentVolumeClaim": map[string]any{"claimName": "zqclaim"}}}, true
		},
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
