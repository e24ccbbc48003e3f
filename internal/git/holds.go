package git

// holder is a reader that can tell what it has without asking anybody.
type holder interface {
	holds(h Hash) bool
}

// Holds reports whether an object is here: in the embedded repository, or in the mirror, which has it from the host. It asks nobody,
// so that false means nothing more than that. A host may have dropped meanwhile what no branch names any more; then it refuses a push
// that relies on it.
func Holds(r Reader, h Hash) bool {
	if o, ok := r.(overlay); ok {
		if _, ok := o.set.get(h); ok {
			return true
		}
		r = o.Reader
	}
	has, ok := r.(holder)
	return ok && has.holds(h)
}

func (s *store) holds(h Hash) bool { return s.has(h) }

func (m *mirror) holds(h Hash) bool { return m.store().has(h) }
