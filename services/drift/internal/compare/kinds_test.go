package compare_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/doctable"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// editsPerKind is how many random places of each kind are edited in each way; a kind that has fewer has each edited once.
const editsPerKind = 4

// score counts what a comparison got right, for one class of edits.
type score struct{ edits, found, missed, false, misattributed int }

func (s *score) add(o score) {
	s.edits += o.edits
	s.found += o.found
	s.missed += o.missed
	s.false += o.false
	s.misattributed += o.misattributed
}

func ratio(n, of int) string {
	if of == 0 {
		return "1.0"
	}
	if n == of {
		return "1.0"
	}
	return fmt.Sprintf("%.4f", float64(n)/float64(of))
}

// builtinKinds are the objects of k8s.io/api's test data, with something at every place, as somebody would declare them.
func builtinKinds(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatalf("where k8s.io/api is: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "HEAD", "*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files of test data: %v", len(files), err)
	}
	var out []*unstructured.Unstructured
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(data); err != nil || o.GetName() == "" || !scheme.Scheme.Recognizes(o.GroupVersionKind()) {
			continue // options and lists, which nobody stores
		}
		if _, err := converter().ObjectToTyped(o); err != nil {
			continue // neither does the API server know it
		}
		m := o.Object["metadata"].(map[string]any)
		maps.DeleteFunc(m, func(k string, _ any) bool {
			return !slices.Contains([]string{"name", "namespace", "labels", "annotations", "finalizers"}, k)
		})
		delete(o.Object, "status")
		delete(o.Object, "stringData") // never stored; TestWhatMeansTheSame has it
		out = append(out, o)
	}
	return out
}

// leafPlaces are the places of an object that somebody could edit, as the schema has them, without what items are known by.
func leafPlaces(t *testing.T, o *unstructured.Unstructured) [][]any {
	t.Helper()
	tv, err := converter().ObjectToTyped(o)
	if err != nil {
		t.Fatal(err)
	}
	set, err := tv.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]any
	set.Leaves().Iterate(func(p fieldpath.Path) {
		if p[0].FieldName == nil || slices.Contains([]string{"apiVersion", "kind", "status"}, *p[0].FieldName) {
			return
		}
		if *p[0].FieldName == "metadata" && (len(p) < 3 || !slices.Contains([]string{"labels", "annotations", "finalizers"}, *p[1].FieldName)) {
			return
		}
		if last := p[len(p)-1]; last.FieldName != nil && p[max(len(p)-2, 0)].Key != nil {
			for _, k := range *p[len(p)-2].Key {
				if k.Name == *last.FieldName {
					return
				}
			}
		}
		place, ok := concrete(o.Object, p)
		if m, empty := at(o.Object, place...).(map[string]any); empty && len(m) == 0 && len(place) == 1 {
			return // a specification without fields (StorageVersion): the API cannot tell {} from nothing
		}
		if ok {
			out = append(out, place)
		}
	})
	slices.SortFunc(out, func(a, b []any) int { return strings.Compare(fmt.Sprint(a...), fmt.Sprint(b...)) })
	return out
}

// concrete gives the names and positions of a path.
func concrete(v any, p fieldpath.Path) ([]any, bool) {
	var out []any
	for _, e := range p {
		switch {
		case e.FieldName != nil:
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			v = m[*e.FieldName]
			out = append(out, *e.FieldName)
		default:
			l, ok := v.([]any)
			if !ok {
				return nil, false
			}
			i := slices.IndexFunc(l, func(item any) bool { return isItem(item, e) })
			if i < 0 {
				return nil, false
			}
			v = l[i]
			out = append(out, i)
		}
	}
	return out, true
}

func isItem(item any, e fieldpath.PathElement) bool {
	if e.Value != nil {
		return fmt.Sprint(item) == fmt.Sprint((*e.Value).Unstructured())
	}
	m, ok := item.(map[string]any)
	if !ok || e.Key == nil {
		return false
	}
	return !slices.ContainsFunc(*e.Key, func(k value.Field) bool {
		have, there := m[k.Name]
		return there && fmt.Sprint(have) != fmt.Sprint(k.Value.Unstructured())
	})
}

// judgeEdit applies before, has a foreign manager turn it into after, and counts what is found.
func judgeEdit(t *testing.T, before, after *unstructured.Unstructured, manager string) score {
	t.Helper()
	touched, kept := oracle(t, before, after)
	c := applied(t, before)
	b := baseline(t, before, c.live())
	s := score{edits: 1}
	if got := comparer().Compare(compare.Input{Desired: before, Live: c.live(), Baseline: b, Self: self}); !got.Clean() {
		t.Logf("%s before the edit: %v", before.GetKind(), paths(got.Findings))
		s.false += len(got.Findings) + len(got.Unverified)
	}
	c.update(manager, func(o map[string]any) {
		clear(o)
		maps.Copy(o, after.DeepCopy().Object)
	})
	got := comparer().Compare(compare.Input{Desired: before, Live: c.live(), Baseline: b, Self: self})
	covered := map[string]int{}
	for _, f := range got.Findings {
		path, useful := normal(f.Path), false
		for _, leaf := range touched {
			if covers(path, leaf) || covers(leaf, path) {
				useful = true
				covered[leaf]++
			}
		}
		if !useful || slices.ContainsFunc(kept, func(leaf string) bool { return covers(path, leaf) }) {
			s.false++
			t.Logf("%s: %s %s is false; touched %q", before.GetKind(), f.Kind, f.Path, touched)
		}
		if f.Kind != compare.Removed && f.Manager != manager || f.Kind == compare.Removed && f.Manager != compare.UnknownManager {
			s.misattributed++
			t.Logf("%s: %s %s is by %s, want %s", before.GetKind(), f.Kind, f.Path, f.Manager, manager)
		}
	}
	for _, leaf := range touched {
		if covered[leaf] == 1 {
			s.found++
			continue
		}
		s.missed++
		t.Logf("%s: the edit of %q is in %d findings: %v (delegated %v, residue %v, unverified %v)", before.GetKind(), leaf, covered[leaf],
			paths(got.Findings), paths(got.Delegated), paths(got.Residue), got.Unverified)
	}
	return s
}

// editOf gives the object before and after an edit of a class at a place.
func editOf(class string, full *unstructured.Unstructured, place []any) (before, after *unstructured.Unstructured) {
	other, without := full.DeepCopy(), full.DeepCopy()
	without.Object = drop(without.Object, place).(map[string]any)
	switch class {
	case "changed":
		put(other.Object, changedValue(at(full.Object, place...)), place...)
		return full, other
	case "removed":
		return full, without
	}
	return without, full
}

// changedValue gives a different value; of a list or map that has one owner, one with a different leaf.
func changedValue(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			v = slices.Clone(v)
			v[0] = changedValue(v[0])
		}
		return v
	case map[string]any:
		v = maps.Clone(v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			v[k] = changedValue(v[k])
			break
		}
		return v
	}
	return other(v)
}

func TestEveryForeignEditOfEveryBuiltInKindIsExactlyOneFinding(t *testing.T) {
	t.Parallel()
	total, kinds := map[string]*score{"changed": {}, "removed": {}, "extra": {}}, 0
	for _, full := range builtinKinds(t) {
		kinds++
		all := leafPlaces(t, full)
		for class, sum := range total {
			random := rand.New(rand.NewPCG(uint64(len(full.GetKind())), uint64(len(class))))
			for n, i := range random.Perm(len(all)) {
				if n == editsPerKind {
					break
				}
				before, after := editOf(class, full, all[i])
				sum.add(judgeEdit(t, before, after, "some-operator"))
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| class, over %d kinds | edits | found | missed | false | precision | recall | manager right |\n|---|---|---|---|---|---|---|---|\n", kinds)
	for _, class := range slices.Sorted(maps.Keys(total)) {
		s := total[class]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s | %s | %s |\n", class, s.edits, s.found, s.missed, s.false,
			ratio(s.found, s.found+s.false), ratio(s.found, s.found+s.missed), ratio(s.found-s.misattributed, s.found))
		if s.missed+s.false+s.misattributed > 0 {
			t.Errorf("%s: %+v", class, *s)
		}
	}
	doctable.Check(t, "../../../../docs/drift.md", "edits of k8s.io/api's test data", b.String(), "go test ./services/drift/internal/compare")
}

func TestNoBenignPerturbationOfAnyBuiltInKindIsAFinding(t *testing.T) {
	t.Parallel()
	type count struct{ tried, found int }
	total := map[string]*count{}
	judge := func(class string, desired, live *unstructured.Unstructured, b compare.Baseline) {
		t.Helper()
		if total[class] == nil {
			total[class] = &count{}
		}
		total[class].tried++
		if got := comparer().Compare(compare.Input{Desired: desired, Live: live, Baseline: b, Self: self}); !got.Clean() || len(got.Residue) > 0 {
			total[class].found++
			t.Errorf("%s of %s: findings %v, unverified %v, residue %v", class, desired.GetKind(), paths(got.Findings), got.Unverified, paths(got.Residue))
		}
	}
	for _, full := range builtinKinds(t) {
		c := applied(t, full)
		live, b := c.live(), baseline(t, full, c.live())
		for class, perturb := range serverWork {
			now := live.DeepCopy()
			perturb(now)
			judge(class, full, now, b)
		}
		twice, reversed := doubled(t, full)
		c = applied(t, twice)
		now := c.live()
		for k, v := range reversed.Object {
			if k != "metadata" {
				now.Object[k] = v
			}
		}
		judge("reordering of keyed lists and sets", twice, now, baseline(t, twice, c.live()))
		if desired, stored, ok := quantities(t, full); ok {
			c := applied(t, stored)
			judge("spelling of quantities", desired, c.live(), compare.Baseline{})
			judge("spelling of quantities", desired, c.live(), baseline(t, desired, c.live()))
		}
		all := leafPlaces(t, full)
		random := rand.New(rand.NewPCG(1, uint64(len(all))))
		for n, i := range random.Perm(len(all)) {
			if n == editsPerKind {
				break
			}
			desired, _ := editOf("extra", full, all[i])
			c := applied(t, desired)
			b := baseline(t, desired, c.live())
			for _, empty := range empties(at(full.Object, all[i]...)) {
				if _, inList := all[i][len(all[i])-1].(int); inList {
					continue
				}
				now := c.live()
				put(now.Object, empty, all[i]...)
				judge("null, {} and [] for nothing", desired, now, b)
			}
		}
	}
	var out strings.Builder
	out.WriteString("| what is no difference | comparisons | false findings | precision |\n|---|---|---|---|\n")
	for _, class := range slices.Sorted(maps.Keys(total)) {
		fmt.Fprintf(&out, "| %s | %d | %d | %s |\n", class, total[class].tried, total[class].found, ratio(total[class].tried-total[class].found, total[class].tried))
	}
	doctable.Check(t, "../../../../docs/drift.md", "benign changes of k8s.io/api's test data", out.String(), "go test ./services/drift/internal/compare")
}

var statusEntry = metav1.ManagedFieldsEntry{
	Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status", FieldsType: "FieldsV1",
	APIVersion: "v1", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:phase":{}}}`),
}

// serverWork is what the server and controllers do all the time.
var serverWork = map[string]func(*unstructured.Unstructured){
	"status": func(o *unstructured.Unstructured) {
		o.Object["status"] = map[string]any{"phase": "x", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		o.SetManagedFields(append(o.GetManagedFields(), statusEntry))
	},
	"server's metadata": func(o *unstructured.Unstructured) {
		o.SetGeneration(7)
		o.SetResourceVersion("99")
		put(o.Object, "2026-01-02T03:04:05Z", "metadata", "creationTimestamp")
		put(o.Object, "/x", "metadata", "selfLink")
	},
	"kubectl's last applied configuration": func(o *unstructured.Unstructured) {
		put(o.Object, "{}", "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	},
}

// empties are other spellings of a place that is not there.
func empties(v any) []any {
	switch v.(type) {
	case []any:
		return []any{nil, []any{}}
	default:
		return []any{nil}
	}
}

// doubled gives the object with two items in every keyed list, and the same with these the other way round.
func doubled(t *testing.T, full *unstructured.Unstructured) (twice, reversed *unstructured.Unstructured) {
	t.Helper()
	twice = full.DeepCopy()
	tv, err := converter().ObjectToTyped(full)
	if err != nil {
		t.Fatal(err)
	}
	set, err := tv.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string][]any{}
	set.Iterate(func(p fieldpath.Path) {
		if e := p[len(p)-1]; e.Key == nil && e.Value == nil {
			return
		}
		place, ok := concrete(full.Object, p)
		if !ok || place[0] == "metadata" {
			return
		}
		list := place[:len(place)-1]
		if lists[fmt.Sprint(list...)] != nil {
			return
		}
		lists[fmt.Sprint(list...)] = list
		item := at(full.Object, place...)
		if m, ok := item.(map[string]any); ok {
			m = runtime.DeepCopyJSON(m)
			for _, k := range *p[len(p)-1].Key {
				m[k.Name] = other(k.Value.Unstructured())
			}
			item = m
		} else {
			item = other(item)
		}
		push(twice.Object, item, list...)
	})
	reversed = twice.DeepCopy()
	for _, list := range lists {
		slices.Reverse(at(reversed.Object, list...).([]any))
	}
	return twice, reversed
}

// quantities gives the object with a quantity at each place for one, as declared in an unusual spelling and as stored.
func quantities(t *testing.T, full *unstructured.Unstructured) (desired, stored *unstructured.Unstructured, any bool) {
	t.Helper()
	typedObject, err := scheme.Scheme.New(full.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(full.Object, typedObject); err != nil {
		t.Fatal(err)
	}
	if !setQuantities(reflect.ValueOf(typedObject)) {
		return nil, nil, false
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typedObject)
	if err != nil {
		t.Fatal(err)
	}
	delete(content, "status")
	stored = &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	text, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	desired = &unstructured.Unstructured{}
	if err := desired.UnmarshalJSON([]byte(strings.ReplaceAll(string(text), `"7919"`, `"7919000m"`))); err != nil {
		t.Fatal(err)
	}
	return desired, stored, strings.Contains(string(text), `"7919"`)
}

func setQuantities(v reflect.Value) bool {
	found := false
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			found = setQuantities(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[resource.Quantity]() {
			v.Set(reflect.ValueOf(resource.MustParse("7919")))
			return true
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				found = setQuantities(v.Field(i)) || found
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = setQuantities(v.Index(i)) || found
		}
	case reflect.Map:
		if v.Type().Elem() == reflect.TypeFor[resource.Quantity]() {
			for _, k := range v.MapKeys() {
				v.SetMapIndex(k, reflect.ValueOf(resource.MustParse("7919")))
				found = true
			}
		}
	}
	return found
}
