package wire

const (
	// maxReused is the size up to which a map or a list is used again, and maxLent how many of them are kept for that: what one large
	// object needed is no burden for the next, small one.
	maxReused, maxLent = 16, 4096
)

// loan are maps and lists that are used for one object after the other.
type loan struct {
	objects, outObjects []map[string]any
	lists, outLists     [][]any
}

// Lend makes the Decoder use maps and lists again, for who looks at one object after the other and keeps none: what is decoded from now
// on is the caller's until Return, and stays the caller's after Keep. Texts are never used again.
func (d *Decoder) Lend() {
	if d.lent == nil {
		d.lent = &loan{}
	}
}

// Return gives back everything that was decoded since Lend, Return or Keep. Nobody may hold any of it any more.
func (d *Decoder) Return() {
	l := d.lent
	for i, m := range l.outObjects {
		if len(m) <= maxReused && len(l.objects) < maxLent {
			clear(m)
			l.objects = append(l.objects, m)
		}
		l.outObjects[i] = nil
	}
	for i, list := range l.outLists {
		if cap(list) <= maxReused && len(l.lists) < maxLent {
			clear(list)
			l.lists = append(l.lists, list[:0])
		}
		l.outLists[i] = nil
	}
	l.outObjects, l.outLists = l.outObjects[:0], l.outLists[:0]
}

// Keep leaves everything that was decoded since then to the caller.
func (d *Decoder) Keep() {
	clear(d.lent.outObjects)
	clear(d.lent.outLists)
	d.lent.outObjects, d.lent.outLists = d.lent.outObjects[:0], d.lent.outLists[:0]
}

func (l *loan) object() map[string]any {
	if l == nil {
		return map[string]any{}
	}
	var m map[string]any
	if n := len(l.objects); n > 0 {
		m, l.objects = l.objects[n-1], l.objects[:n-1]
	} else {
		m = map[string]any{}
	}
	l.outObjects = append(l.outObjects, m)
	return m
}

func (l *loan) list() []any {
	if l == nil {
		return []any{}
	}
	if n := len(l.lists); n > 0 {
		list := l.lists[n-1]
		l.lists = l.lists[:n-1]
		return list
	}
	return make([]any, 0, 4)
}

// made notes a list that is complete.
func (l *loan) made(list []any) {
	if l != nil {
		l.outLists = append(l.outLists, list)
	}
}
