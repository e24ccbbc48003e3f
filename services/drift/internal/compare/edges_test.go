package compare_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

func replace(format, value string) string { return fmt.Sprintf(format, value) }

func TestAPortAddedWhileNobodyWatchedNeverEntersTheBaseline(t *testing.T) {
	for _, how := range []string{"by an update", "by an apply", "by a client-side apply"} {
		t.Run(how, func(t *testing.T) {
			desired := object(t, serviceYAML)
			c := applied(t, desired)
			manager := "intruder"
			switch how {
			case "by an apply":
				c.apply(object(t, `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80, name: evil}]}}`), manager)
			default:
				if how == "by a client-side apply" {
					manager = "kubectl-client-side-apply"
				}
				c.update(manager, func(o map[string]any) {
					push(o, map[string]any{"port": int64(80), "protocol": "TCP", "name": "evil"}, "spec", "ports")
				})
			}
			c.apply(desired, self) // the sync after the restart, whose answer makes the baseline
			live := serviceLive(c)
			got := comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: baseline(t, desired, live), Self: self})
			var who []string
			for _, f := range got.Findings {
				who = append(who, string(f.Kind)+" "+f.Path+" "+f.Manager)
			}
			if diff := cmp.Diff([]string{"extra spec.ports[port=80] " + manager}, who); diff != "" {
				t.Error(diff)
			}
			if len(got.Unverified) > 0 {
				t.Errorf("unverified %v, want none", got.Unverified)
			}
		})
	}
}

func TestWithoutABaselineWhatNothingExplainsIsUnverifiedAndNeverInSync(t *testing.T) {
	desired := object(t, deploymentYAML)
	live := deploymentLive(applied(t, desired))
	put(live.Object, "injected", "spec", "template", "spec", "priorityClassName") // by a webhook: nobody owns it
	in := compare.Input{Desired: desired, Live: live, Self: self}
	got := comparer().Compare(in)
	if diff := cmp.Diff([]string{"spec.template.spec.priorityClassName"}, got.Unverified); diff != "" {
		t.Error(diff)
	}
	if len(got.Findings) > 0 || got.Clean() {
		t.Errorf("findings %v, clean %v; want an object that is Unknown", paths(got.Findings), got.Clean())
	}
	in.Baseline = baseline(t, desired, live)
	if got := comparer().Compare(in); !got.Clean() {
		t.Errorf("with the baseline: findings %v, unverified %v", paths(got.Findings), got.Unverified)
	}
}

func TestADefaultThatSomebodyPutBackOverAWebhookIsAFinding(t *testing.T) {
	desired := object(t, deploymentYAML)
	c := applied(t, desired)
	mutated := deploymentLive(c)
	put(mutated.Object, int64(90), "spec", "template", "spec", "terminationGracePeriodSeconds")
	b := baseline(t, desired, mutated)
	c.update("kubectl-edit", func(o map[string]any) { put(o, int64(30), "spec", "template", "spec", "terminationGracePeriodSeconds") })
	got := comparer().Compare(compare.Input{Desired: desired, Live: deploymentLive(c), Baseline: b, Self: self})
	if diff := cmp.Diff([]owned{{"extra", "spec.template.spec.terminationGracePeriodSeconds", "kubectl-edit", "Update"}}, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestUndeclaredObjectsAreToldApart(t *testing.T) {
	tests := []struct {
		name, object string
		ours         bool
		kind         compare.Kind
	}{
		{"ours and no longer declared", configMapYAML, true, compare.Orphaned},
		{"made by hand", configMapYAML, false, compare.Unmanaged},
		{"owned by another object", `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: a, uid: u}]}}`, false, ""},
		{"put into every namespace", `{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt}}`, false, ""},
		{"an event", `{apiVersion: v1, kind: Event, metadata: {name: a.1}}`, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, ok := compare.Undeclared(object(t, tt.object), tt.ours)
			if f.Kind != tt.kind || ok != (tt.kind != "") {
				t.Errorf("got %q %v, want %q", f.Kind, ok, tt.kind)
			}
		})
	}
}

func TestACustomResourceWithASchemaIsComparedByItsListKeys(t *testing.T) {
	parser, err := typed.NewParser(`types:
- name: widget
  map:
    fields:
    - {name: apiVersion, type: {scalar: string}}
    - {name: kind, type: {scalar: string}}
    - name: spec
      type:
        map:
          fields:
          - name: parts
            type:
              list:
                elementType: {map: {fields: [{name: name, type: {scalar: string}}, {name: size, type: {scalar: numeric}}]}}
                elementRelationship: associative
                keys: [name]
`)
	if err != nil {
		t.Fatal(err)
	}
	c, err := compare.New(compare.Options{MaskKey: []byte("0123456789abcdef"), TypeFor: func(gvk schema.GroupVersionKind) (typed.ParseableType, bool) {
		return parser.Type("widget"), gvk.Kind == "Widget"
	}})
	if err != nil {
		t.Fatal(err)
	}
	desired := object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}, spec: {parts: [{name: a, size: 1}, {name: b, size: 2}]}}`)
	live := object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, managedFields: [{manager: x, operation: Update, fieldsV1: {"f:spec": {"f:parts": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:size": {}}}}}}]},
	  spec: {parts: [{name: b, size: 2}, {name: c, size: 3}, {name: a, size: 9}]}}`)
	got := c.Compare(compare.Input{Desired: desired, Live: live, Self: self})
	want := []owned{{"changed", "spec.parts[name=a].size", compare.UnknownManager, ""}, {"extra", "spec.parts[name=c]", "x", "Update"}}
	if diff := cmp.Diff(want, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestTheEvidenceHashFollowsTheEvidence(t *testing.T) {
	a := compare.Autoscaler{Name: "a", TargetKind: "Deployment", TargetName: "web", Min: 1, Max: 3}
	b := compare.Autoscaler{Name: "b", TargetKind: "Deployment", TargetName: "api", Min: 1, Max: 3}
	hash := func(list ...compare.Autoscaler) uint64 { return compare.Evidence{Autoscalers: list}.Hash() }
	wider := a
	wider.Max = 4
	if hash(a, b) != hash(b, a) {
		t.Error("the order changes the hash")
	}
	if hash(a) == hash(wider) || hash(a) == hash() || hash(a) == hash(a, b) {
		t.Error("other evidence has the same hash")
	}
}

func TestAnOverriddenDefaultIsAFindingWithTheDefaultBeforeIt(t *testing.T) {
	desired := object(t, deploymentYAML)
	c := applied(t, desired)
	b := baseline(t, desired, deploymentLive(c))
	c.update("kubectl-edit", func(o map[string]any) { put(o, int64(5), "spec", "template", "spec", "terminationGracePeriodSeconds") })
	got := comparer().Compare(compare.Input{Desired: desired, Live: deploymentLive(c), Baseline: b, Self: self})
	if len(got.Findings) != 1 {
		t.Fatalf("want one finding, got %v", paths(got.Findings))
	}
	f := got.Findings[0]
	if f.Kind != compare.Extra || f.Path != "spec.template.spec.terminationGracePeriodSeconds" || f.After != int64(5) || fmt.Sprint(f.Before) != "30" {
		t.Errorf("got %+v", f)
	}
}

func TestWhatOnlyWeOwnAndNoLongerDeclareIsResidue(t *testing.T) {
	c := applied(t, object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {A: a, OLD: b}}`))
	desired := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {A: a}}`)
	got := comparer().Compare(compare.Input{Desired: desired, Live: c.live(), Self: self})
	if diff := cmp.Diff([]string{"residue data[OLD]"}, paths(got.Residue)); diff != "" || !got.Clean() {
		t.Errorf("findings %v, unverified %v, residue:\n%s", paths(got.Findings), got.Unverified, diff)
	}
}

func TestRemovalsAreFoundAndHaveNoAuthor(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(o map[string]any)
		found []string
	}{
		{"a container", func(o map[string]any) { put(o, at(o, containers...).([]any)[:1], containers...) }, []string{"removed spec.template.spec.containers[name=side]"}},
		{"a probe", func(o map[string]any) { delete(at(o, inContainer(0)...).(map[string]any), "readinessProbe") },
			[]string{"removed spec.template.spec.containers[name=web].readinessProbe"}},
		{"all variables", func(o map[string]any) { delete(at(o, inContainer(0)...).(map[string]any), "env") },
			[]string{"removed spec.template.spec.containers[name=web].env[name=A]", "removed spec.template.spec.containers[name=web].env[name=B]"}},
		{"a label", func(o map[string]any) { delete(at(o, "metadata", "labels").(map[string]any), "app") }, []string{"removed metadata.labels[app]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired := object(t, deploymentYAML)
			c := applied(t, desired)
			c.update("kubectl-edit", tt.edit)
			got := comparer().Compare(compare.Input{Desired: desired, Live: deploymentLive(c), Self: self})
			if diff := cmp.Diff(tt.found, paths(got.Findings)); diff != "" {
				t.Error(diff)
			}
			for _, f := range got.Findings {
				if f.Manager != compare.UnknownManager || f.Before == nil || f.Pointer != "" {
					t.Errorf("got %+v, want an unknown manager, the declared value and no pointer", f)
				}
			}
		})
	}
}

func TestAnEmptySelectorIsNotAnAbsentOne(t *testing.T) {
	desired := object(t, `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]}}`)
	c := applied(t, desired)
	c.update("kubectl-edit", func(o map[string]any) { // opens the policy to every namespace
		put(o, map[string]any{}, "spec", "ingress", 0, "from", 0, "namespaceSelector")
	})
	got := comparer().Compare(compare.Input{Desired: desired, Live: c.live(), Self: self})
	if diff := cmp.Diff([]owned{{"changed", "spec.ingress", "kubectl-edit", "Update"}}, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestSecretValuesNeverLeaveTheComparer(t *testing.T) {
	const oldValue, newValue, extraValue, declared = "b2xkLXZhbHVl", "bmV3LXZhbHVl", "ZXh0cmEtdmFsdWU=", "old-value"
	desired := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque, stringData: {password: old-value}, data: {gone: Z29uZS12YWx1ZQ==}}`)
	stored := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque, data: {password: b2xkLXZhbHVl, gone: Z29uZS12YWx1ZQ==}}`)
	c := applied(t, stored)
	injected := c.live()
	put(injected.Object, extraValue, "data", "injected") // nobody's: a webhook's
	b := baseline(t, desired, injected)
	c.update("kubectl-edit", func(o map[string]any) {
		put(o, newValue, "data", "password")
		put(o, extraValue, "data", "extra")
		delete(at(o, "data").(map[string]any), "gone")
		put(o, map[string]any{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"password":"` + oldValue + `"}}`}, "metadata", "annotations")
	})
	live := c.live()
	put(live.Object, extraValue, "data", "injected")
	got := comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: b, Self: self})
	if diff := cmp.Diff([]string{"extra data[extra]", "removed data[gone]", "changed data[password]"}, paths(got.Findings)); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{oldValue, newValue, extraValue, declared, "new-value", "extra-value", "gone-value", "Z29uZS12YWx1ZQ"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the result holds the secret %q", secret)
		}
	}
	changed := got.Findings[2]
	if changed.Before == changed.After || !strings.HasPrefix(fmt.Sprint(changed.After), "(masked, hmac-sha256 ") {
		t.Errorf("masked values %v and %v must differ and say that they are masked", changed.Before, changed.After)
	}
}

func TestABaselineKnowsASecretOnlyByItsKeyedDigest(t *testing.T) {
	desired := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque, data: {a: YQ==}}`)
	live := applied(t, desired).live()
	put(live.Object, "aW5qZWN0ZWQ=", "data", "injected") // a webhook's
	in := compare.Input{Desired: desired, Live: live, Baseline: baseline(t, desired, live), Self: self}
	if got := comparer().Compare(in); !got.Clean() {
		t.Errorf("with the same key: findings %v", paths(got.Findings))
	}
	stranger, err := compare.New(compare.Options{MaskKey: []byte("another key of 32 bytes, not ours")})
	if err != nil {
		t.Fatal(err)
	}
	// With another key the digest says nothing: had the baseline held the value, this comparison would be clean too.
	if diff := cmp.Diff([]string{"extra data[injected]"}, paths(stranger.Compare(in).Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestARevertPatchTakesExtrasAwayAndNothingElse(t *testing.T) {
	desired := object(t, deploymentYAML)
	c := applied(t, desired)
	c.update("kubectl-edit", func(o map[string]any) {
		for _, name := range []string{"E1", "E2", "E3"} {
			push(o, map[string]any{"name": name, "value": "1"}, inContainer(0, "env")...)
		}
		put(o, append([]any{map[string]any{"name": "first", "image": "x:1"}}, at(o, containers...).([]any)...), containers...)
		push(o, map[string]any{"name": "last", "image": "x:1"}, containers...)
		put(o, map[string]any{"a/b~c": "1"}, "metadata", "annotations")
		put(o, int64(9), "spec", "replicas")
	})
	live := deploymentLive(c)
	got := comparer().Compare(compare.Input{Desired: desired, Live: live, Self: self})
	patch, err := compare.RevertPatch(live, got.Findings)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	before, err := live.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	after, err := decoded.Apply(before)
	if err != nil {
		t.Fatalf("apply %s: %v", patch, err)
	}
	left := comparer().Compare(compare.Input{Desired: desired, Live: object(t, string(after)), Self: self})
	if diff := cmp.Diff([]string{"changed spec.replicas"}, paths(left.Findings)); diff != "" {
		t.Errorf("after the patch %s:\n%s", patch, diff)
	}
	if diff := cmp.Diff([]string{"changed spec.replicas"}, paths(compare.NeedsApply(got.Findings))); diff != "" {
		t.Error(diff)
	}
	stale := live.DeepCopy()
	stale.SetResourceVersion("8")
	text, _ := stale.MarshalJSON()
	if _, err := decoded.Apply(text); err == nil {
		t.Error("the patch applies to another resourceVersion, want its test to refuse")
	}
}

func TestARevertPatchIsRefusedForAnotherObject(t *testing.T) {
	desired := object(t, configMapYAML)
	live := applied(t, desired).live()
	gone := []compare.Finding{{Kind: compare.Extra, Path: "data[X]", Pointer: "/data/X"}}
	if _, err := compare.RevertPatch(live, gone); !errs.Is(err, errs.Conflict) {
		t.Errorf("place that is gone: %v, want a conflict", err)
	}
	live.SetResourceVersion("")
	here := []compare.Finding{{Kind: compare.Extra, Path: "data[LOG_LEVEL]", Pointer: "/data/LOG_LEVEL"}}
	if _, err := compare.RevertPatch(live, here); !errs.Is(err, errs.Invalid) {
		t.Errorf("no resourceVersion: %v, want invalid", err)
	}
	if patch, err := compare.RevertPatch(live, []compare.Finding{{Kind: compare.Changed, Path: "a", Pointer: "/a"}}); err != nil || patch != nil {
		t.Errorf("nothing to remove: %s %v, want no patch", patch, err)
	}
}

func TestTheGateDropsOnlyWhatCannotMatter(t *testing.T) {
	c := applied(t, object(t, deploymentYAML))
	tests := []struct {
		name string
		edit func(o map[string]any)
		same bool
	}{
		{"status", func(o map[string]any) { put(o, "x", "status", "phase") }, true},
		{"resourceVersion", func(o map[string]any) { put(o, "8", "metadata", "resourceVersion") }, true},
		{"generation", func(o map[string]any) { put(o, int64(8), "metadata", "generation") }, true},
		{"managedFields of status", func(o map[string]any) {
			push(o, map[string]any{"manager": "kcm", "subresource": "status", "time": "2026-01-01T00:00:00Z"}, "metadata", "managedFields")
		}, true},
		{"a new owner", func(o map[string]any) {
			push(o, map[string]any{"manager": "x", "operation": "Update"}, "metadata", "managedFields")
		}, false},
		{"an image", func(o map[string]any) { put(o, "x", inContainer(0, "image")...) }, false},
		{"a label", func(o map[string]any) { put(o, "x", "metadata", "labels", "x") }, false},
		{"a deletion", func(o map[string]any) { put(o, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp") }, false},
		{"the order of arguments", func(o map[string]any) { put(o, []any{"--y", "--x"}, inContainer(0, "args")...) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := deploymentLive(c)
			after := before.DeepCopy()
			tt.edit(after.Object)
			if same := compare.SpecHash(before) == compare.SpecHash(after); same != tt.same {
				t.Errorf("hashes equal: %v, want %v", same, tt.same)
			}
		})
	}
}

func TestBadInputIsAnErrorThatNamesTheField(t *testing.T) {
	if _, err := compare.New(compare.Options{MaskKey: []byte("short")}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "MaskKey") {
		t.Errorf("short key: %v", err)
	}
	c := comparer()
	if _, err := c.Prepare(object(t, configMapYAML), compare.Baseline{}); err != nil {
		t.Errorf("a good object: %v", err)
	}
	if _, err := c.Prepare(nil, compare.Baseline{}); !errs.Is(err, errs.Invalid) {
		t.Errorf("no object: %v", err)
	}
	bad := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {"port": 80}}`)
	if _, err := c.Prepare(bad, compare.Baseline{}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "stringData[port]") {
		t.Errorf("a number as a secret: %v", err)
	}
	if _, err := c.MakeBaseline(object(t, configMapYAML), bad, self); !errs.Is(err, errs.Invalid) {
		t.Errorf("a baseline from another kind: %v", err)
	}
	var b compare.Baseline
	for _, data := range [][]byte{{9, 1, 2}, {1, 255, 255, 255}} {
		if err := b.UnmarshalBinary(data); !errs.Is(err, errs.Invalid) {
			t.Errorf("damaged baseline %v: %v", data, err)
		}
	}
	got := c.Compare(compare.Input{Desired: object(t, configMapYAML), Live: bad, Self: self})
	if diff := cmp.Diff([]string{"apiVersion"}, got.Unverified); diff != "" {
		t.Error(diff)
	}
}

func TestTheHashOfADeclarationIgnoresWhatIsNotDeclared(t *testing.T) {
	prepare := func(text string) string {
		p, err := comparer().Prepare(object(t, text), compare.Baseline{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash()
	}
	base := prepare(configMapYAML)
	if same := prepare(`{kind: ConfigMap, apiVersion: v1, data: {LOG_LEVEL: info}, metadata: {namespace: shop, name: web, creationTimestamp: null}, status: {}}`); same != base {
		t.Error("order, status and server metadata change the hash")
	}
	if prepare(strings.ReplaceAll(configMapYAML, "info", "debug")) == base {
		t.Error("another value has the same hash")
	}
}

func TestWhatAnotherBaselineExplainsIsTheServersOwnWork(t *testing.T) {
	desired := object(t, deploymentYAML)
	c := applied(t, desired)
	old := baseline(t, desired, deploymentLive(c))
	c.update("kubectl-edit", func(o map[string]any) { put(o, "x", "metadata", "labels", "team") })
	live := deploymentLive(c)
	put(live.Object, "injected", "spec", "template", "spec", "priorityClassName") // by a webhook that came later
	put(live.Object, "stranger", "spec", "template", "spec", "schedulerName")     // by nobody knows whom
	answer := deploymentLive(applied(t, desired))                                 // to a dry run, through that webhook
	put(answer.Object, "injected", "spec", "template", "spec", "priorityClassName")
	first := comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: old, Self: self})
	if !first.Doubtful() {
		t.Fatalf("findings %v are not doubtful", paths(first.Findings))
	}
	now, err := comparer().MakeDryRunBaseline(desired, answer, self)
	if err != nil {
		t.Fatal(err)
	}
	got := first.Weigh(comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: now, Self: self}))
	if diff := cmp.Diff([]string{"extra metadata.labels[team]", "extra spec.template.spec.schedulerName"}, paths(got.Findings)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"extra metadata.labels[team]"}, paths(first.WithoutDoubt().Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestADryRunsBaselineHoldsNothingThatTheServerAllocatesAnew(t *testing.T) {
	desired := object(t, serviceYAML)
	live := serviceLive(applied(t, desired))
	answer := live.DeepCopy()
	put(answer.Object, "10.96.0.99", "spec", "clusterIP")
	put(answer.Object, []any{"10.96.0.99"}, "spec", "clusterIPs")
	b, err := comparer().MakeDryRunBaseline(desired, answer, self)
	if err != nil {
		t.Fatal(err)
	}
	if got := comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: b, Self: self}); !got.Clean() {
		t.Errorf("findings %v, unverified %v", paths(got.Findings), got.Unverified)
	}
}

func TestTheRulesOfAnAggregatedRoleAreTheClusters(t *testing.T) {
	const role = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a}, %s rules: [%s]}`
	const aggregation = `aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]},`
	collected := []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get"}}}
	tests := []struct {
		name, object, manager string
		delegated             bool
	}{
		{"collected by the control plane", replace(strings.Replace(role, "%s", aggregation, 1), ""), "clusterrole-aggregation-controller", true},
		{"written by a person", replace(strings.Replace(role, "%s", aggregation, 1), ""), "kubectl-edit", false},
		{"of a role that does not aggregate", replace(strings.Replace(role, "%s", "", 1), ""), "clusterrole-aggregation-controller", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired := object(t, tt.object)
			c := applied(t, desired)
			c.update(tt.manager, func(o map[string]any) { o["rules"] = collected })
			got := comparer().Compare(compare.Input{Desired: desired, Live: c.live(), Self: self})
			if (len(got.Delegated) == 1) != tt.delegated || (len(got.Findings) == 1) == tt.delegated {
				t.Errorf("findings %v, delegated %v", paths(got.Findings), paths(got.Delegated))
			}
		})
	}
}

func TestAnObjectThatIsBeingDeletedIsOneFinding(t *testing.T) {
	desired := object(t, configMapYAML)
	live := applied(t, desired).live()
	live.SetDeletionTimestamp(&metav1.Time{Time: time.Date(2026, 1, 2, 3, 4, 35, 0, time.UTC)})
	live.SetDeletionGracePeriodSeconds(new(int64(30)))
	live.SetFinalizers([]string{"foregroundDeletion"})
	got := comparer().Compare(compare.Input{Desired: desired, Live: live, Self: self})
	if diff := cmp.Diff([]string{"terminating "}, paths(got.Findings)); diff != "" || !got.Terminating {
		t.Errorf("terminating %v: %s", got.Terminating, diff)
	}
	if at := got.Findings[0].Time; !at.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("deleted at %s, want when the grace period began", at)
	}
}
