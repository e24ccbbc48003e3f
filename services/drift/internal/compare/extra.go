package compare

import "slices"

// explained says whether the baseline or the table of defaults accounts for everything in a live value.
func (w *walker) explained(l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) bool {
	if s != nil && s.mirror && s.matches(l, parent, t) {
		w.explainedByTable++
		return true // a change of the other one is the finding
	}
	if b != nil && b.has {
		if w.sameWhole(b.val, l, t) {
			w.explainedByBaseline++
			return true
		}
		return false // a webhook may have made it another value than the table's default, and somebody put that back
	}
	if s.matches(l, parent, t) {
		w.explainedByTable++
		return true
	}
	if b == nil && s == nil {
		return false
	}
	switch lv := l.(type) {
	case map[string]any:
		for k, c := range lv {
			if ct := t.child(k); !absent(c, ct) && !w.explained(c, b.field(k), s.field(k), ct, lv) {
				return false
			}
		}
		return len(lv) > 0
	case []any:
		for i, c := range lv {
			elem := t.elem
			if elem == nil {
				elem = unknownType
			}
			if !w.explained(c, b.index(i), s.items(), elem, nil) {
				return false
			}
		}
		return len(lv) > 0
	}
	return false
}

// sameWhole compares two whole values; a baseline holds digests where the values are secret.
func (w *walker) sameWhole(a, b any, t *typ) bool {
	if t.secret && isScalar(b) {
		return a == w.c.digest(b)
	}
	if absent(a, t) && absent(b, t) {
		return true
	}
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range x {
			if !w.sameWhole(v, y[k], t.child(k)) {
				return false
			}
		}
		for k, v := range y {
			if _, seen := x[k]; !seen && !absent(v, t.child(k)) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		elem := t.elem
		if elem == nil {
			elem = unknownType
		}
		for i := range x {
			if !w.sameWhole(x[i], y[i], elem) {
				return false
			}
		}
		return true
	}
	return isScalar(b) && sameScalar(a, b, t.class)
}

// extra judges a live value that nobody declared, down to its leaves, and rolls up what is wholly extra.
func (w *walker) extra(l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) {
	if absent(l, t) {
		return
	}
	switch lv := l.(type) {
	case map[string]any:
		if t.atomicMap || len(lv) == 0 {
			break
		}
		mark, byBaseline, byTable := len(w.out), w.explainedByBaseline, w.explainedByTable
		for k, c := range lv {
			w.pushName(t, k)
			w.extra(c, b.field(k), s.field(k), t.child(k), lv)
			w.pop()
		}
		if t.free() || len(w.path) < 2 || len(w.out) == mark || w.explainedByBaseline != byBaseline {
			return
		}
		if w.explainedByTable == byTable || s.optional() || w.path[len(w.path)-1].kind == itemStep {
			w.rollUp(mark, l, t)
		}
		return
	case []any:
		switch t.list {
		case keyedList:
			for j, item := range lv {
				w.extraItem(item, j, lv, b, s, t)
			}
			return
		case setList:
			w.sets(nil, lv, b, s, t)
			return
		}
	}
	w.leaf(l, b, s, t, parent)
}

// leaf judges one undeclared leaf by baseline, table and owners: steps 4a to 4e of the design.
func (w *walker) leaf(l any, b *baseNode, s *defaultNode, t *typ, parent map[string]any) {
	if w.recording {
		w.recordLeaf(l, s, t, parent)
		return
	}
	if w.explained(l, b, s, t, parent) {
		return
	}
	own := w.ownership(w.path)
	if len(own.foreign)+len(own.era) == 0 && s.matches(l, parent, t) {
		return // the server defaulted it anew
	}
	o := outcome{kind: Extra, author: own.author()}
	if len(own.foreign) > 1 {
		o.others = slices.DeleteFunc(slices.Clone(own.foreign), func(f *owner) bool { return f == o.author })
	}
	if b != nil && b.has {
		o.before = w.shown(b.val, t, true)
	}
	rule, note := w.allowed(l, own)
	switch {
	case rule != "":
		o.rule, o.note, o.weak = rule, note, rule == ruleAllocated
	case len(own.foreign) > 0:
	case len(own.era) > 0 || len(own.ours) == 0:
		o.weak = true
		if !w.hasBaseline {
			o.kind = Unverified
		}
	case w.hasBaseline || slices.ContainsFunc(own.ours, (*owner).applied):
		o.kind = Residue
	default: // we created it with an update, which owns the defaults too
		o.kind, o.weak = Unverified, true
	}
	w.emit(o, l, t)
}

// emit adds an outcome for the place where the walk stands.
func (w *walker) emit(o outcome, l any, t *typ) {
	o.path = render(w.path)
	if l != nil {
		o.pointer = pointer(w.path)
		o.after = w.shown(l, t, false)
	}
	w.out = append(w.out, o)
}

// rollUp replaces the outcomes since mark by one for the whole element, when they are all of the same making.
func (w *walker) rollUp(mark int, l any, t *typ) {
	group := w.out[mark:]
	if w.recording {
		// A default inside somebody's element came with that element and must not enter the baseline.
		if slices.ContainsFunc(group, func(o outcome) bool { return o.kind == Extra }) {
			for i := range group {
				group[i].kind = Extra
			}
		}
		return
	}
	lead := group[0]
	for _, o := range group {
		if lead.weak && !o.weak {
			lead = o
		}
	}
	var owners []*owner
	for _, o := range group {
		if !o.weak && (o.kind != lead.kind || o.rule != lead.rule) || o.weak && lead.weak && (o.kind != lead.kind || o.rule != lead.rule) {
			return
		}
		if o.before != nil {
			return
		}
		for _, f := range append([]*owner{o.author}, o.others...) {
			if f != nil && !o.weak && !slices.Contains(owners, f) {
				owners = append(owners, f)
			}
		}
	}
	if len(owners) > 0 {
		lead.author = latest(owners)
		lead.others = slices.DeleteFunc(owners, func(f *owner) bool { return f == lead.author })
	}
	w.out = w.out[:mark]
	w.emit(lead, l, t)
}

// changed reports a declared place with another value, unless a rule entitles somebody to set it.
func (w *walker) changed(d, l any, t *typ) {
	if w.recording {
		return
	}
	own := w.ownership(w.path)
	o := outcome{kind: Changed, author: own.author(), before: w.shown(d, t, true)}
	o.rule, o.note = w.allowed(l, own)
	w.emit(o, l, t)
}

// removed reports declared places that the live object does not have: each item of a list, set or free map, whole structs.
func (w *walker) removed(d any, t *typ) {
	if w.recording {
		return
	}
	switch dv := d.(type) {
	case map[string]any:
		if t.free() && !t.atomicMap && len(dv) > 0 {
			for k, c := range dv {
				if !hollow(c, t.child(k)) {
					w.pushName(t, k)
					w.removed(c, t.child(k))
					w.pop()
				}
			}
			return
		}
	case []any:
		if t.list == keyedList || t.list == setList {
			for _, c := range dv {
				s := step{kind: itemStep, list: t, item: c, index: -1}
				if t.list == setList {
					s.kind = valueStep
				}
				w.path = append(w.path, s)
				w.removed(c, t.elem)
				w.pop()
			}
			return
		}
	}
	w.emit(outcome{kind: Removed, before: w.shown(d, t, true)}, nil, t)
}
