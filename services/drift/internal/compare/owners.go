package compare

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// owner is one entry of managedFields. Its fields stay undecoded until a difference needs them.
type owner struct {
	manager, operation, subresource string
	at                              time.Time
	fields                          map[string]any // or else text
	text                            []byte
	ours, era                       bool
}

// eraManagers owned fields before server-side apply came to an object: such an entry tells who wrote last, but it covers
// every default that the server added at creation, so it proves nothing.
var eraManagers = map[string]bool{"kubectl-client-side-apply": true, "before-first-apply": true, "kubectl-last-applied": true}

// readOwners reads managedFields as they lie in an unstructured object.
func readOwners(metadata map[string]any, ours func(string) bool) []owner {
	entries, _ := metadata["managedFields"].([]any)
	out := make([]owner, 0, len(entries))
	for _, e := range entries {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		o := owner{}
		o.manager, _ = m["manager"].(string)
		o.operation, _ = m["operation"].(string)
		o.subresource, _ = m["subresource"].(string)
		o.ours = ours(o.manager)
		o.era = !o.ours && o.operation == "Update" && eraManagers[o.manager]
		switch v := m["fieldsV1"].(type) {
		case map[string]any:
			o.fields = v
		case string: // see wire.Decoder.DecodeLive
			o.text = []byte(v)
		}
		if s, ok := m["time"].(string); ok {
			if at, err := time.Parse(time.RFC3339, s); err == nil {
				o.at = at.UTC()
			}
		}
		out = append(out, o)
	}
	return out
}

// owns says whether the entry has the place or anything below it.
func (o *owner) owns(steps []step, spelled []string) bool {
	if o.text != nil {
		return o.textOwns(steps, spelled)
	}
	at := o.fields
	for i, key := range spelled {
		next, ok := at[key]
		if !ok {
			next, ok = respelled(at, key)
		}
		if !ok {
			// A leaf above the place covers it where we do not know the schema: the server's may be atomic there.
			return i > 0 && len(at) == 0 && deducedStep(&steps[i])
		}
		at, _ = next.(map[string]any)
	}
	return true
}

// textOwns says the same of an entry that is not decoded, and decodes no more of it than the way there.
func (o *owner) textOwns(steps []step, spelled []string) bool {
	at := o.text
	for i, key := range spelled {
		next := wire.Lookup(at, key)
		if next == nil && strings.HasPrefix(key, "k:") {
			wire.Members(at, func(k string, v []byte) bool {
				if strings.HasPrefix(k, "k:") && decodeItemKey(k) == key {
					next = v
				}
				return next == nil
			})
		}
		if next == nil {
			return i > 0 && wire.Empty(at) && deducedStep(&steps[i])
		}
		at = next
	}
	return true
}

func deducedStep(s *step) bool { return s.list != nil && s.list.deduced }

// respelled looks for a list item's key that was written in another spelling (escapes, spaces).
func respelled(at map[string]any, key string) (any, bool) {
	if !strings.HasPrefix(key, "k:") {
		return nil, false
	}
	for k, v := range at {
		if strings.HasPrefix(k, "k:") && decodeItemKey(k) == key {
			return v, true
		}
	}
	return nil, false
}

// ownership is who owns one place, told apart by what it proves.
type ownership struct {
	foreign, era, ours []*owner
}

func (w *walker) ownership(steps []step) ownership {
	if !w.ownersRead {
		w.owners, w.ownersRead = readOwners(w.liveMeta, w.isOurs), true
	}
	var spelled [24]string
	keys := spelled[:0]
	for i := range steps {
		keys = append(keys, steps[i].owned())
	}
	var out ownership
	for i := range w.owners {
		o := &w.owners[i]
		if !o.owns(steps, keys) {
			continue
		}
		switch {
		case o.ours:
			out.ours = append(out.ours, o)
		case o.era:
			out.era = append(out.era, o)
		default:
			out.foreign = append(out.foreign, o)
		}
	}
	return out
}

// latest gives the owner that wrote last; names decide a tie so that the answer is stable.
func latest(owners []*owner) *owner {
	return slices.MaxFunc(owners, func(a, b *owner) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.manager, a.manager), cmp.Compare(b.operation, a.operation))
	})
}

// applied says that the owner declared the place with a server-side apply: nobody owns a default that way.
func (o *owner) applied() bool { return o.operation == "Apply" }

func (o *owner) op() string {
	if o.subresource != "" {
		return o.operation + "/" + o.subresource
	}
	return o.operation
}

// author gives the owner to name for a place: foreign before client-side-apply era before us; nil when nobody owns it.
func (o ownership) author() *owner {
	for _, group := range [][]*owner{o.foreign, o.era, o.ours} {
		if len(group) > 0 {
			return latest(group)
		}
	}
	return nil
}
