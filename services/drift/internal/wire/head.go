package wire

import "hash/maphash"

// seed makes the hashes of this process only, so that nobody can make two objects with the same one.
var seed = maphash.MakeSeed()

// Head is what can be told of an object without decoding it. The texts are parts of what was read and nil where the object has none.
type Head struct {
	APIVersion, Kind, Name, Namespace, UID, Version []byte
	// Hash is equal for two versions of an object as one API server writes them that can differ neither in a comparison nor
	// in their health: it leaves out resourceVersion, generation and the entries of managedFields that only cover status.
	// It is of this process only. Two equal objects may have different hashes; then they have to be decoded to see it.
	Hash uint64
}

// HeadOf reads the head of an object.
func HeadOf(object []byte) (Head, error) {
	var h Head
	var sum maphash.Hash
	sum.SetSeed(seed)
	_, err := members(object, 0, func(key []byte, from, to int) error {
		switch string(key) {
		case "apiVersion": // the items of a list do not have them
			h.APIVersion = text(object[from:to])
		case "kind":
			h.Kind = text(object[from:to])
		case "metadata":
			return h.metadata(object[:to], from, &sum)
		default:
			add(&sum, key, object[from:to])
		}
		return nil
	})
	h.Hash = sum.Sum64()
	return h, err
}

func add(sum *maphash.Hash, key, value []byte) {
	_, _ = sum.Write(key)
	_ = sum.WriteByte(0)
	_, _ = sum.Write(value)
	_ = sum.WriteByte(0)
}

func (h *Head) metadata(b []byte, i int, sum *maphash.Hash) error {
	_, err := members(b, i, func(key []byte, from, to int) error {
		switch string(key) {
		case "name":
			h.Name = text(b[from:to])
		case "namespace":
			h.Namespace = text(b[from:to])
		case "uid":
			h.UID = text(b[from:to])
		case "resourceVersion":
			h.Version = text(b[from:to])
		case "generation", "creationTimestamp", "selfLink":
		case "managedFields":
			if string(b[from:to]) == "null" {
				return nil
			}
			_, err := elements(b[:to], from, func(from, to int) error {
				if !onlyStatus(b[:to], from) {
					add(sum, key, b[from:to])
				}
				return nil
			})
			return err
		default:
			add(sum, key, b[from:to])
		}
		return nil
	})
	return err
}

// onlyStatus reports whether an entry of managedFields covers nothing but status.
func onlyStatus(b []byte, i int) bool {
	found := false
	_, err := members(b, i, func(key []byte, from, to int) error {
		if string(key) == "subresource" && string(text(b[from:to])) == "status" {
			found = true
		}
		return nil
	})
	return found && err == nil
}

// Page is one answer to a list.
type Page struct {
	// APIVersion and Kind are those of the objects, for those that do not say it themselves.
	APIVersion, Kind string
	// Version is the list's resourceVersion; Continue asks for the next page, "" at the last.
	Version, Continue string

	items []byte
}

// PageOf reads a page. The items stay what they are until Each.
func PageOf(body []byte) (Page, error) {
	var p Page
	_, err := members(body, 0, func(key []byte, from, to int) error {
		value := body[from:to]
		switch string(key) {
		case "apiVersion":
			p.APIVersion = string(text(value))
		case "kind":
			if p.Kind = string(text(value)); len(p.Kind) > len("List") && p.Kind[len(p.Kind)-len("List"):] == "List" {
				p.Kind = p.Kind[:len(p.Kind)-len("List")]
			}
		case "items":
			p.items = value
		case "metadata":
			_, err := members(value, 0, func(key []byte, from, to int) error {
				switch string(key) {
				case "resourceVersion":
					p.Version = string(text(value[from:to]))
				case "continue":
					p.Continue = string(text(value[from:to]))
				}
				return nil
			})
			return err
		}
		return nil
	})
	return p, err
}

// Each calls f with each object of the page. The bytes are valid only during the call when the page's are reused.
func (p Page) Each(f func(object []byte) error) error {
	if len(p.items) == 0 || string(p.items) == "null" {
		return nil
	}
	_, err := elements(p.items, 0, func(from, to int) error { return f(p.items[from:to]) })
	return err
}

// EventOf takes a frame of a watch apart. ErrShort says that the frame goes on.
func EventOf(frame []byte) (kind string, object []byte, err error) {
	_, err = members(frame, 0, func(key []byte, from, to int) error {
		switch string(key) {
		case "type":
			kind = eventKind(text(frame[from:to]))
		case "object":
			object = frame[from:to]
		}
		return nil
	})
	return kind, object, err
}

// eventKind gives the constant for what there is, so that no text is made for each event.
func eventKind(b []byte) string {
	for _, k := range [...]string{"MODIFIED", "ADDED", "DELETED", "BOOKMARK", "ERROR"} {
		if string(b) == k {
			return k
		}
	}
	return string(b)
}
