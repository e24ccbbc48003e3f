package compare

import (
	"slices"
)

// outcome is one leaf (or, after roll-up, one element) that is not explained.
type outcome struct {
	kind          Kind
	path, pointer string
	before, after any
	author        *owner
	others        []*owner // further foreign owners
	rule, note    string
	// weak outcomes prove no author of their own: an element that holds a strong one takes them along.
	weak bool
	// spelled is the place as managedFields write it; only when a baseline is made.
	spelled []string
}

// walker goes through the declared and the live object side by side. It stands at one place (path) and collects outcomes.
type walker struct {
	c           *Comparer
	kind        *kind
	live        map[string]any
	liveMeta    map[string]any
	name        string
	self        string
	alsoOurs    []string
	evidence    Evidence
	hasBaseline bool
	// recording makes a baseline: extras that are nobody's or ours alone are collected instead of judged.
	recording bool
	// dryRun says that the baseline is made of an object of another name.
	dryRun bool

	path       []step
	out        []outcome
	owners     []owner
	ownersRead bool
	// explainedByBaseline and explainedByTable count leaves; roll-up asks whether an element had any.
	explainedByBaseline, explainedByTable int
}

func (w *walker) isOurs(manager string) bool {
	return manager == w.self || slices.Contains(w.alsoOurs, manager)
}

func (w *walker) pop() { w.path = w.path[:len(w.path)-1] }

// pushName enters a map's key: a field of a struct or a key of a free map.
func (w *walker) pushName(t *typ, name string) {
	s := step{kind: fieldStep, name: name}
	if t.free() {
		s.kind = keyStep
	}
	if t.deduced {
		s.list = t
	}
	w.path = append(w.path, s)
}

// uncompared are the top-level fields that identity and the server own.
func uncompared(name string) bool {
	return name == "apiVersion" || name == "kind" || name == "status" || name == "metadata"
}

// root compares two whole objects.
func (w *walker) root(d map[string]any, b *baseNode) {
	t, s := w.kind.root, w.kind.defaults
	for k, dv := range d {
		if uncompared(k) {
			continue
		}
		w.pushName(t, k)
		w.value(dv, w.live[k], b.field(k), s.field(k), t.child(k), w.live)
		w.pop()
	}
	for k, lv := range w.live {
		if _, ok := d[k]; ok || uncompared(k) {
			continue
		}
		w.pushName(t, k)
		w.extra(lv, b.field(k), s.field(k), t.child(k), w.live)
		w.pop()
	}
	w.metadata(d, b.field("metadata"), s.field("metadata"), t.fields["metadata"])
}

// metadata compares only what people declare there; everything else is the server's.
func (w *walker) metadata(d map[string]any, b *baseNode, s *defaultNode, t *typ) {
	dm, _ := d["metadata"].(map[string]any)
	w.pushName(t, "metadata")
	for k, ct := range t.fields {
		w.pushName(t, k)
		w.value(dm[k], w.liveMeta[k], b.field(k), s.field(k), ct, w.liveMeta)
		w.pop()
	}
	w.pop()
}

// value compares one declared place. parent is the live map around it, for defaults that depend on a sibling.
func (w *walker) value(d, l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) {
	if absent(d, t) {
		if w.recording || d == nil || !isScalar(d) {
			w.extra(l, b, s, t, parent)
			return
		}
		if absent(l, t) || w.explained(l, b, s, t, parent) {
			return
		}
	}
	if absent(l, t) {
		if !hollow(d, t) {
			w.removed(d, t)
		}
		return
	}
	switch dv := d.(type) {
	case map[string]any:
		lv, ok := l.(map[string]any)
		switch {
		case !ok:
			w.changed(d, l, t)
		case t.atomicMap:
			w.atomic(d, l, b, s, t, parent)
		default:
			w.maps(dv, lv, b, s, t)
		}
	case []any:
		lv, ok := l.([]any)
		switch {
		case !ok:
			w.changed(d, l, t)
		case t.list == keyedList:
			w.items(dv, lv, b, s, t)
		case t.list == setList:
			w.sets(dv, lv, b, s, t)
		default:
			w.atomic(d, l, b, s, t, parent)
		}
	default:
		if !w.sameLeaf(d, l, t) {
			w.changed(d, l, t)
		}
	}
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any, nil:
		return false
	}
	return true
}

func (w *walker) sameLeaf(d, l any, t *typ) bool {
	if t.secret {
		return d == w.c.digest(l)
	}
	return sameScalar(d, l, t.class)
}

func (w *walker) maps(d, l map[string]any, b *baseNode, s *defaultNode, t *typ) {
	for k, dv := range d {
		w.pushName(t, k)
		w.value(dv, l[k], b.field(k), s.field(k), t.child(k), l)
		w.pop()
	}
	for k, lv := range l {
		if _, ok := d[k]; ok {
			continue
		}
		w.pushName(t, k)
		w.extra(lv, b.field(k), s.field(k), t.child(k), l)
		w.pop()
	}
}

// items aligns a keyed list by its keys. Most lists keep their order, so the same position is tried first.
func (w *walker) items(d, l []any, b *baseNode, s *defaultNode, t *typ) {
	var few [32]bool
	used := few[:]
	if len(l) > len(used) {
		used = make([]bool, len(l))
	}
	for i, dv := range d {
		j := match(d, l, i, used, t)
		nth := 0
		for _, before := range d[:i] {
			if len(d) < 64 && sameKeys(t, before, dv) {
				nth++
			}
		}
		if j < 0 {
			w.path = append(w.path, step{kind: itemStep, list: t, item: dv, index: -1, nth: nth})
			if !hollow(dv, t.elem) {
				w.removed(dv, t.elem)
			}
			w.pop()
			continue
		}
		used[j] = true
		w.path = append(w.path, step{kind: itemStep, list: t, item: l[j], index: j, nth: nth})
		w.value(dv, l[j], b.item(t, dv), s.items(), t.elem, nil)
		w.pop()
	}
	for j, lv := range l {
		if !used[j] {
			w.extraItem(lv, j, l, b, s, t)
		}
	}
}

// match finds the live counterpart of d[i] that is not taken yet, -1 when there is none.
func match(d, l []any, i int, used []bool, t *typ) int {
	if i < len(l) && !used[i] && sameKeys(t, d[i], l[i]) {
		return i
	}
	for j := range l {
		if !used[j] && sameKeys(t, d[i], l[j]) {
			return j
		}
	}
	return -1
}

func (w *walker) extraItem(lv any, j int, l []any, b *baseNode, s *defaultNode, t *typ) {
	nth := 0
	for _, before := range l[:j] {
		if sameKeys(t, before, lv) {
			nth++
		}
	}
	w.path = append(w.path, step{kind: itemStep, list: t, item: lv, index: j, nth: nth})
	w.extra(lv, b.item(t, lv), s.items(), t.elem, nil)
	w.pop()
}

func (w *walker) sets(d, l []any, b *baseNode, s *defaultNode, t *typ) {
	for _, dv := range d {
		if !slices.ContainsFunc(l, func(lv any) bool { return sameScalar(dv, lv, t.elem.class) }) {
			w.path = append(w.path, step{kind: valueStep, item: dv, index: -1})
			w.removed(dv, t.elem)
			w.pop()
		}
	}
	for j, lv := range l {
		if !slices.ContainsFunc(d, func(dv any) bool { return sameScalar(dv, lv, t.elem.class) }) {
			w.path = append(w.path, step{kind: valueStep, item: lv, index: j})
			w.leaf(lv, b.member(lv), s.items(), t.elem, nil)
			w.pop()
		}
	}
}

// atomic compares a place that has one owner as a whole: everything declared must be there, and everything else in it must
// be explained; else the whole value changed.
func (w *walker) atomic(d, l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) {
	mark := len(w.out)
	if w.within(d, l, b, s, t, parent) {
		return
	}
	w.out = w.out[:mark]
	w.changed(d, l, t)
}

// within says whether an atomic value holds what is declared and nothing unexplained. Lists go by position.
func (w *walker) within(d, l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) bool {
	if absent(d, t) && (d == nil || !isScalar(d)) {
		if w.recording && !absent(l, t) {
			w.record(l, t)
			return true
		}
		return absent(l, t) || w.explained(l, b, s, t, parent)
	}
	if absent(l, t) {
		return hollow(d, t)
	}
	switch dv := d.(type) {
	case map[string]any:
		lv, ok := l.(map[string]any)
		if !ok {
			return false
		}
		for k, c := range dv {
			if !w.withinName(t, k, c, lv, b, s) {
				return false
			}
		}
		for k := range lv {
			if _, declared := dv[k]; !declared && !w.withinName(t, k, nil, lv, b, s) {
				return false
			}
		}
		return true
	case []any:
		lv, ok := l.([]any)
		if !ok || len(dv) != len(lv) {
			return false
		}
		elem := t.elem
		if elem == nil {
			elem = unknownType
		}
		for i := range dv {
			w.path = append(w.path, step{kind: indexStep, index: i})
			same := w.within(dv[i], lv[i], b.index(i), s.items(), elem, nil)
			w.pop()
			if !same {
				return false
			}
		}
		return true
	}
	return w.sameLeaf(d, l, t) || absent(d, t) && w.explained(l, b, s, t, parent)
}

func (w *walker) withinName(t *typ, k string, d any, l map[string]any, b *baseNode, s *defaultNode) bool {
	w.pushName(t, k)
	defer w.pop()
	return w.within(d, l[k], b.field(k), s.field(k), t.child(k), l)
}
