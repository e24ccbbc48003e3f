package wire

import (
	"bytes"
	"hash/maphash"
	"strings"
)

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
	_, err := h.read(object, 0)
	return h, err
}

// read reads the object at i and gives the index behind it.
func (h *Head) read(b []byte, i int) (int, error) {
	i, err := into(b, i, '{')
	for err == nil {
		key, at, failed := member(b, i)
		if failed != nil || key == nil {
			return at, failed
		}
		switch string(key) {
		case "apiVersion": // the items of a list do not have them
			i, err = skip(b, at)
			h.APIVersion = text(b[at:i])
		case "kind":
			i, err = skip(b, at)
			h.Kind = text(b[at:i])
		case "metadata":
			i, err = h.metadata(b, at)
		default:
			i, err = skip(b, at)
			h.add(key, b[at:i])
		}
	}
	return i, err
}

// add adds a member to the hash. The order in which one API server writes members is always the same.
func (h *Head) add(key, value []byte) {
	const prime = 0x9e3779b97f4a7c15
	x := (h.Hash^maphash.Bytes(seed, key))*prime + maphash.Bytes(seed, value)
	h.Hash = x ^ x>>29
}

func (h *Head) metadata(b []byte, i int) (int, error) {
	i, err := into(b, i, '{')
	for err == nil {
		key, at, failed := member(b, i)
		if failed != nil || key == nil {
			return at, failed
		}
		if string(key) == "managedFields" && at < len(b) && b[at] == '[' {
			i, err = h.addOwners(b, at+1)
			continue
		}
		i, err = skip(b, at)
		switch value := b[at:i]; string(key) {
		case "name":
			h.Name = text(value)
		case "namespace":
			h.Namespace = text(value)
		case "uid":
			h.UID = text(value)
		case "resourceVersion":
			h.Version = text(value)
		case "generation", "creationTimestamp", "selfLink", "managedFields":
		default:
			h.add(key, value)
		}
	}
	return i, err
}

// addOwners adds the entries of managedFields to a hash, but those that cover nothing but status, and gives the index behind them.
func (h *Head) addOwners(b []byte, i int) (int, error) {
	for {
		at, last, err := element(b, i)
		if err != nil || last {
			return at, err
		}
		end, status, err := entry(b, at)
		if err != nil {
			return end, err
		}
		if !status {
			h.add(managedFields, b[at:end])
		}
		i = end
	}
}

var managedFields = []byte("managedFields")

// entry gives the index behind an entry of managedFields and whether it covers nothing but status.
func entry(b []byte, i int) (end int, status bool, err error) {
	if i < len(b) && b[i] != '{' {
		end, err = skip(b, i)
		return end, false, err
	}
	i, err = into(b, i, '{')
	for err == nil {
		key, at, failed := member(b, i)
		if failed != nil || key == nil {
			return at, status, failed
		}
		i, err = skip(b, at)
		if string(key) == "subresource" && string(text(b[at:i])) == "status" {
			status = true
		}
	}
	return i, false, err
}

// Page is one answer to a list.
type Page struct {
	// APIVersion and Kind are those of the objects, for those that do not say it themselves.
	APIVersion, Kind string
	// Version is the list's resourceVersion; Continue asks for the next page, "" at the last.
	Version, Continue string

	items []byte
}

// PageOf reads a page but its items, which stay what they are until Each. Where they stand last, as API servers write them, they are
// not even looked through.
func PageOf(body []byte) (Page, error) {
	var p Page
	i, err := into(body, 0, '{')
	for err == nil {
		key, at, failed := member(body, i)
		if failed != nil || key == nil {
			return p, failed
		}
		if string(key) == "items" && p.Kind != "" && p.Version != "" {
			p.items = body[at:]
			return p, nil
		}
		if i, err = skip(body, at); err != nil {
			break
		}
		switch value := body[at:i]; string(key) {
		case "apiVersion":
			p.APIVersion = string(text(value))
		case "kind":
			p.Kind = strings.TrimSuffix(string(text(value)), "List")
		case "items":
			p.items = value
		case "metadata":
			err = p.metadata(value)
		}
	}
	return p, err
}

func (p *Page) metadata(b []byte) error {
	_, err := members(b, 0, func(key []byte, from, to int) error {
		switch string(key) {
		case "resourceVersion":
			p.Version = string(text(b[from:to]))
		case "continue":
			p.Continue = string(text(b[from:to]))
		}
		return nil
	})
	return err
}

// Each calls f with each object of the page and its head. Both are valid only during the call when the page's bytes are reused.
func (p Page) Each(f func(h *Head, object []byte) error) error {
	if len(p.items) == 0 || bytes.HasPrefix(p.items, []byte("null")) {
		return nil
	}
	i, err := into(p.items, 0, '[')
	if err != nil {
		return err
	}
	var h Head
	for {
		at, last, err := element(p.items, i)
		if err != nil || last {
			return err
		}
		h = Head{}
		if i, err = h.read(p.items, at); err != nil {
			return err
		}
		if err := f(&h, p.items[at:i]); err != nil {
			return err
		}
	}
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
