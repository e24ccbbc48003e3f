package rules

import (
	"reflect"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// RebaseState gives what a change that was made on base and led to mine leads to when it is made on now instead: everything that
// the change touched is as in mine, everything else as in now. Where both changed the same value, the change wins, as it
// would have if it had been made later. Nothing that is given in is changed.
func RebaseState(base, mine, now State) (State, error) {
	doc, _ := merge(map[string]any(DocumentOf(base.Set)), map[string]any(DocumentOf(mine.Set)), map[string]any(DocumentOf(now.Set))).(map[string]any)
	set, err := Document(doc).Set()
	if err != nil {
		return State{}, err
	}
	intent := proto.CloneOf(now.Intent)
	intent.Set = set.GetName()
	intent.Overlay = rebaseOverlay(base.Intent.GetOverlay(), mine.Intent.GetOverlay(), now.Intent.GetOverlay())
	intent.Variables = rebaseMap(base.Intent.GetVariables(), mine.Intent.GetVariables(), now.Intent.GetVariables(),
		func(a, b string) bool { return a == b })
	intent.SecretVariables = rebaseMap(base.Intent.GetSecretVariables(), mine.Intent.GetSecretVariables(), now.Intent.GetSecretVariables(),
		func(a, b *rendererv1.SecretReference) bool { return proto.Equal(a, b) })
	return State{Intent: intent, Set: set}, nil
}

// SameChange reports whether two intents say the same of what a change can touch; what is pinned beside that may differ.
func SameChange(a, b *catalogv1.Intent) bool {
	mine := func(i *catalogv1.Intent) *catalogv1.Intent {
		return &catalogv1.Intent{
			Set: i.GetSet(), Overlay: i.GetOverlay(), Variables: i.GetVariables(), SecretVariables: i.GetSecretVariables(),
		}
	}
	return proto.Equal(mine(a), mine(b))
}

// absentValue stands for a key that is not there.
type absentValue struct{}

// merge takes three JSON-like values together, map by map.
func merge(base, mine, now any) any {
	m, mineIsMap := mine.(map[string]any)
	n, nowIsMap := now.(map[string]any)
	switch {
	case reflect.DeepEqual(base, mine):
		return now
	case !mineIsMap || !nowIsMap:
		return mine
	}
	b, _ := base.(map[string]any)
	out := map[string]any{}
	for _, key := range unionKeys(m, n) {
		if v := merge(valueOf(b, key), valueOf(m, key), valueOf(n, key)); v != any(absentValue{}) {
			out[key] = v
		}
	}
	return out
}

func valueOf(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return absentValue{}
}

func rebaseMap[V any](base, mine, now map[string]V, same func(a, b V) bool) map[string]V {
	out := map[string]V{}
	for k, v := range now {
		out[k] = v
	}
	for k, v := range mine {
		if b, ok := base[k]; !ok || !same(b, v) {
			out[k] = v
		}
	}
	for k := range base {
		if _, ok := mine[k]; !ok {
			delete(out, k)
		}
	}
	return out
}

// rebaseOverlay replays what the change did to the overlay, path by path.
func rebaseOverlay(base, mine, now []*rendererv1.Operation) []*rendererv1.Operation {
	before, wanted := byPath(base), byPath(mine)
	var out []*rendererv1.Operation
	kept := map[string]bool{}
	for _, op := range now {
		path := op.GetPath()
		was, had := before[path]
		want, has := wanted[path]
		switch {
		case had && !has:
			continue
		case has && (!had || !proto.Equal(was, want)):
			op = want
		}
		kept[path] = true
		out = append(out, op)
	}
	for _, op := range mine {
		was, had := before[op.GetPath()]
		if !kept[op.GetPath()] && (!had || !proto.Equal(was, op)) {
			out = append(out, op)
		}
	}
	return out
}

func byPath(ops []*rendererv1.Operation) map[string]*rendererv1.Operation {
	out := make(map[string]*rendererv1.Operation, len(ops))
	for _, op := range ops {
		out[op.GetPath()] = op
	}
	return out
}
