package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxUploadRequest bounds the wants and haves of a client in bytes.
const maxUploadRequest = 16 << 20

// uploadRequest is what a client of upload-pack sends.
type uploadRequest struct {
	wants      []Hash
	haves      []Hash
	shallows   map[Hash]struct{}
	depth      int
	multiAck   bool
	sideband   bool
	negotiates bool // haves ended in a flush: the client wants to know what is common
	done       bool
	noBlobs    bool // the client takes files when it needs them
}

func readUploadRequest(body io.Reader) (u uploadRequest, err error) {
	u.shallows = map[Hash]struct{}{}
	p := newPktReader(body)
	for inWants := true; ; {
		kind, line, err := p.line()
		switch {
		case errors.Is(err, io.EOF):
			return u, nil
		case err != nil:
			return u, err
		case kind == pktFlush:
			u.negotiates = !inWants
			inWants = false
			continue
		case kind != pktData:
			return u, errNotPkt
		}
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "want":
			id, features, _ := strings.Cut(rest, " ")
			u.wants = append(u.wants, NewHash(id))
			u.multiAck = u.multiAck || strings.Contains(features, "multi_ack_detailed")
			u.sideband = u.sideband || strings.Contains(features, "side-band-64k")
		case "have":
			u.haves = append(u.haves, NewHash(rest))
		case "shallow":
			u.shallows[NewHash(rest)] = struct{}{}
		case "deepen":
			if u.depth, err = strconv.Atoi(rest); err != nil || u.depth < 1 {
				return u, fmt.Errorf("deepen %q is not a depth", rest)
			}
		case "filter":
			if err := u.filter(rest); err != nil {
				return u, err
			}
		case "done":
			u.done = true
			return u, nil
		default:
			return u, fmt.Errorf("%q is not understood here", word)
		}
	}
}

// filter takes what a partial clone leaves out. Files is what is large; a clone without folders would ask for each of them.
func (u *uploadRequest) filter(spec string) error {
	if spec != "blob:none" {
		return fmt.Errorf("the filter %q is not served here; use blob:none", spec)
	}
	u.noBlobs = true
	return nil
}

// serveUpload answers one request of a clone or fetch. The protocol keeps no state: a request that does not end in "done" is
// told what is common, and the client asks again with it.
func (r *repo) serveUpload(w http.ResponseWriter, req *http.Request) error {
	ctx := req.Context()
	body, err := requestBody(w, req, maxUploadRequest)
	if err != nil {
		http.Error(w, "the request is not readable", http.StatusBadRequest)
		return err
	}
	if asksV2(req) {
		return r.serveV2(ctx, w, body)
	}
	u, err := readUploadRequest(body)
	w.Header().Set("Content-Type", "application/x-"+uploadPack+"-result")
	if err != nil {
		return sayError(w, "the request is not readable: "+err.Error(), err)
	}
	if len(u.wants) == 0 {
		return nil
	}
	if err := r.checkWants(u.wants); err != nil {
		return sayError(w, err.Error(), err)
	}
	out, spec, err := r.negotiate(ctx, u)
	if err != nil {
		return sayError(w, "the history could not be read", err)
	}
	if _, err := w.Write(out); err != nil || !u.done {
		return err
	}
	return r.sendPack(ctx, w, u, spec)
}

func sayError(w io.Writer, words string, cause error) error {
	var b bytes.Buffer
	writePkt(&b, "ERR %s", words)
	_, err := w.Write(b.Bytes())
	return errors.Join(cause, err)
}

// checkWants lets a client have what the references name now; what they named a moment ago makes it fetch again.
func (r *repo) checkWants(wants []Hash) error {
	refs, err := r.refs.list()
	if err != nil {
		return fmt.Errorf("list references: %w", err)
	}
	tips := make(map[Hash]bool, len(refs))
	for _, h := range refs {
		tips[h] = true
	}
	for _, h := range wants {
		if !tips[h] && !r.store.has(h) {
			return fmt.Errorf("upload-pack: not our ref %s", h)
		}
	}
	return nil
}

// negotiate writes the answer's beginning (where history is cut, and what is common) and says what to send.
func (r *repo) negotiate(ctx context.Context, u uploadRequest) (out []byte, spec walk, err error) {
	var b bytes.Buffer
	spec, cuts, err := r.choose(ctx, u)
	if err != nil {
		return nil, spec, err
	}
	if u.depth > 0 {
		cuts.write(&b)
		writeFlush(&b)
	}
	r.acknowledge(&b, u, spec.haves)
	return b.Bytes(), spec, nil
}

// cuts are the changes of where the client's history ends.
type cuts struct{ shallow, unshallow []Hash }

func (c cuts) write(b *bytes.Buffer) {
	for _, h := range c.shallow {
		writePkt(b, "shallow %s\n", h)
	}
	for _, h := range c.unshallow {
		writePkt(b, "unshallow %s\n", h)
	}
}

// choose says what to send of what a client has and wants.
func (r *repo) choose(ctx context.Context, u uploadRequest) (spec walk, c cuts, err error) {
	spec = walk{theirs: u.shallows, noBlobs: u.noBlobs}
	for _, h := range u.wants {
		// A tag's commit is walked; the tag itself is added to the pack.
		if target, ok := r.peel(h); ok {
			h = target
		}
		if typ, ok := r.store.typeOf(h); ok && typ == plumbing.CommitObject {
			spec.wants = append(spec.wants, h)
		}
	}
	if u.depth > 0 {
		boundary, inside, err := cutAt(ctx, r.store, spec.wants, u.depth)
		if err != nil {
			return spec, c, err
		}
		spec.boundary = boundary
		for h := range boundary {
			if _, theirs := u.shallows[h]; !theirs {
				c.shallow = append(c.shallow, h)
			}
		}
		for h := range u.shallows {
			if _, deeper := inside[h]; deeper {
				c.unshallow = append(c.unshallow, h)
			}
		}
	}
	for _, h := range u.haves {
		if typ, ok := r.store.typeOf(h); ok && typ == plumbing.CommitObject {
			spec.haves = append(spec.haves, h)
		}
	}
	return spec, c, nil
}

func (r *repo) acknowledge(b *bytes.Buffer, u uploadRequest, common []Hash) {
	if !u.done && !u.negotiates {
		return // the client only asked where history is cut
	}
	if u.multiAck {
		for _, h := range common {
			writePkt(b, "ACK %s common\n", h)
		}
	}
	last := ZeroHash
	if len(common) > 0 {
		last = common[len(common)-1]
	}
	switch {
	case u.done && !last.IsZero():
		writePkt(b, "ACK %s\n", last)
	case u.multiAck && !last.IsZero():
		// One common commit is enough: what else is common makes the pack smaller, hardly, at the cost of more rounds.
		writePkt(b, "ACK %s ready\n", last)
		writePkt(b, "NAK\n")
	case !last.IsZero():
		writePkt(b, "ACK %s\n", last)
	default:
		writePkt(b, "NAK\n")
	}
}

// sendPack sends what the client lacks.
func (r *repo) sendPack(ctx context.Context, w io.Writer, u uploadRequest, spec walk) error {
	s, err := spec.selectObjects(ctx, r.store)
	if err != nil {
		return fmt.Errorf("choose the objects: %w", err)
	}
	for _, h := range u.wants {
		if err := r.addWanted(ctx, s, h); err != nil {
			return err
		}
	}
	if !u.sideband {
		return r.store.writePack(ctx, w, s.objects)
	}
	band := &bandWriter{w: w}
	if err := r.store.writePack(ctx, band, s.objects); err != nil {
		return err
	}
	return band.end()
}

// addWanted adds what was wanted by its own id and is not a commit: annotated tags, and single trees and files.
func (r *repo) addWanted(ctx context.Context, s *selection, h Hash) error {
	for range 10 {
		typ, ok := r.store.typeOf(h)
		switch {
		case !ok || typ == plumbing.CommitObject:
			return nil
		case typ == plumbing.TreeObject:
			return s.addTree(ctx, h, ZeroHash)
		}
		s.add(h)
		if typ != plumbing.TagObject {
			return nil
		}
		o, err := r.store.get(h)
		if err != nil {
			return err
		}
		line, _, _ := bytes.Cut(o.data, []byte("\n"))
		h = NewHash(string(bytes.TrimPrefix(line, []byte("object "))))
	}
	return nil
}

// writePack writes a pack of these objects. What is compressed already is copied as it is.
func (s *store) writePack(ctx context.Context, w io.Writer, ids []Hash) error {
	b, err := newPackBuilder(w, len(ids))
	if err != nil {
		return err
	}
	for i, h := range ids {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.copyObject(b, h); err != nil {
			return fmt.Errorf("object %s: %w", h, err)
		}
	}
	_, err = b.finish()
	return err
}

func (s *store) copyObject(b *packBuilder, h Hash) error {
	raw, err := s.rawObject(h)
	if err != nil {
		return err
	}
	if raw != nil {
		return b.addRaw(h, raw)
	}
	o, err := s.find(h)
	if err != nil {
		return err
	}
	return b.add(h, o, false)
}

// rawObject gives an object's entry as it lies in a pack; nil when it is a delta or not in a pack.
func (s *store) rawObject(h Hash) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		at, ok := p.find(h)
		if !ok {
			continue
		}
		head, err := readHead(p.data, at)
		if err != nil || head.typ == plumbing.OFSDeltaObject || head.typ == plumbing.REFDeltaObject {
			return nil, err
		}
		_, used, err := inflate(p.data[at+int64(head.len):], head.size)
		return bytes.Clone(p.data[at : at+int64(head.len+used)]), err
	}
	return nil, nil
}
