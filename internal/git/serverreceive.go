package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Bounds of a person's push: a small pack can inflate to very much.
const (
	maxPushInflated = 1 << 30 // all objects of a push, in bytes
	maxPushChain    = 1000    // deltas on top of each other; git makes 50
	maxPushRefs     = 200     // references moved by one push
)

// command is one reference that a client wants moved. A zero New deletes it.
type command struct {
	ref      string
	old, new Hash
	problem  string // why not; "" when it was done
}

// receiveRequest is what a client of receive-pack sends before its pack.
type receiveRequest struct {
	commands []*command
	sideband bool
	report   bool
}

func readReceiveRequest(p *pktReader) (q receiveRequest, err error) {
	for {
		kind, line, err := p.line()
		switch {
		case err != nil:
			return q, err
		case kind == pktFlush:
			return q, nil
		case kind != pktData:
			return q, errNotPkt
		}
		if strings.HasPrefix(line, "shallow ") {
			continue // whether the objects are connected is looked at, not believed
		}
		line, features, _ := strings.Cut(line, "\x00")
		q.sideband = q.sideband || strings.Contains(features, "side-band-64k")
		q.report = q.report || strings.Contains(features, "report-status")
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 || len(fields[0]) != 40 || len(fields[1]) != 40 || len(q.commands) >= maxPushRefs {
			return q, fmt.Errorf("%q is not a command, or there are too many", line)
		}
		q.commands = append(q.commands, &command{old: NewHash(fields[0]), new: NewHash(fields[1]), ref: fields[2]})
	}
}

// serveReceive takes a person's push.
func (r *repo) serveReceive(w http.ResponseWriter, req *http.Request) error {
	body, err := requestBody(w, req, MaxPush+1<<20)
	if err != nil {
		http.Error(w, "the request is not readable", http.StatusBadRequest)
		return err
	}
	p := newPktReader(body)
	q, err := readReceiveRequest(p)
	if err != nil {
		http.Error(w, "the request is not readable", http.StatusBadRequest)
		return err
	}
	w.Header().Set("Content-Type", "application/x-"+receivePack+"-result")
	if len(q.commands) == 0 {
		return nil // git asks like this whether it may push before it sends much
	}
	unpack := r.receive(req.Context(), q.commands, p.r)
	for _, c := range q.commands {
		if c.problem == "" && strings.HasPrefix(c.ref, branchPrefix) {
			r.afterPush(strings.TrimPrefix(c.ref, branchPrefix), c.old, c.new)
		}
	}
	if !q.report {
		return unpack
	}
	return errors.Join(unpack, writeReport(w, q, unpack))
}

func writeReport(w io.Writer, q receiveRequest, unpack error) error {
	var b bytes.Buffer
	status := "ok"
	if unpack != nil {
		status = cleanWords(unpack.Error())
	}
	writePkt(&b, "unpack %s\n", status)
	for _, c := range q.commands {
		if c.problem == "" {
			writePkt(&b, "ok %s\n", c.ref)
		} else {
			writePkt(&b, "ng %s %s\n", c.ref, cleanWords(c.problem))
		}
	}
	writeFlush(&b)
	if !q.sideband {
		_, err := w.Write(b.Bytes())
		return err
	}
	band := &bandWriter{w: w}
	if _, err := band.Write(b.Bytes()); err != nil {
		return err
	}
	return band.end()
}

// receive stores the pack and moves the references. The error is about the pack; what became of a command is in it.
func (r *repo) receive(ctx context.Context, commands []*command, pack io.Reader) error {
	fail := func(err error) error {
		for _, c := range commands {
			c.problem = "the objects were not taken"
		}
		return err
	}
	tmp, size, err := r.spool(pack)
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	check := newConnectivity(1024)
	var x indexed
	if size > 0 {
		if x, err = r.index(tmp, check); err != nil {
			return fail(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range commands {
		if !c.new.IsZero() && strings.HasPrefix(c.ref, branchPrefix) {
			check.need[c.new] = plumbing.CommitObject
		} else if !c.new.IsZero() && check.ids[c.new] == 0 && !r.store.has(c.new) {
			return fail(fmt.Errorf("object %s is missing", c.new))
		}
	}
	if h, ok := check.missing(r.store); !ok {
		return fail(fmt.Errorf("object %s is missing or of the wrong type; unshallow and push again", h))
	}
	if len(x.entries) > 0 {
		if err := r.store.installFile(tmp, x.entries, x.sum); err != nil {
			r.repos.opts.Log.Error("a push could not be stored", "repository", r.name, "error", err)
			return fail(errors.New("the objects could not be stored"))
		}
	}
	for _, c := range commands {
		c.problem = r.execute(ctx, c)
	}
	return nil
}

// spool writes the pack to a temporary file: it may be larger than what one push should take of memory.
func (r *repo) spool(pack io.Reader) (*os.File, int64, error) {
	tmp, err := os.CreateTemp(r.store.packDir(), "tmp_pack_")
	if err != nil {
		return nil, 0, errors.New("the objects could not be stored")
	}
	size, err := io.Copy(tmp, io.LimitReader(pack, MaxPush+1))
	var tooMuch *http.MaxBytesError
	switch {
	case err == nil && size > MaxPush || errors.As(err, &tooMuch):
		err = fmt.Errorf("the push is larger than %d MB; push it in parts", MaxPush>>20)
	case err != nil:
		err = fmt.Errorf("the pack did not arrive: %w", err)
	default:
		return tmp, size, nil
	}
	return nil, 0, errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
}

func (r *repo) index(tmp *os.File, check *connectivity) (indexed, error) {
	data, err := mapFile(tmp.Name())
	if err != nil {
		return indexed{}, errors.New("the objects could not be read back")
	}
	defer unmap(data)
	limits := indexLimits{object: MaxPush * 2, total: maxPushInflated, chain: maxPushChain}
	return indexPack(data, limits, check.add)
}

// execute moves one reference; the answer is why it did not, for the person who pushes.
func (r *repo) execute(ctx context.Context, c *command) string {
	name, isBranch := strings.CutPrefix(c.ref, branchPrefix)
	isTag := false
	if !isBranch {
		name, isTag = strings.CutPrefix(c.ref, tagPrefix)
	}
	if !isBranch && !isTag || ValidateBranch(name) != nil {
		return "only branches and tags with valid names can be pushed"
	}
	current, err := r.refs.read(c.ref)
	switch {
	case err != nil:
		return "the reference could not be read"
	case current != c.old:
		return "the branch has moved; fetch first"
	case isTag && !current.IsZero() && !c.new.IsZero():
		return "the tag exists already; tags do not move"
	}
	if head, err := r.refs.head(); c.new.IsZero() && (err != nil || c.ref == head) {
		return "the default branch cannot be deleted"
	}
	if isBranch && !current.IsZero() && !c.new.IsZero() {
		forward, err := isAncestor(ctx, r.store, current, c.new)
		if err != nil {
			return "the history could not be read"
		}
		if !forward {
			return "non-fast-forward; branches here move forward only: pull first"
		}
	}
	if err := r.moveRef(c.ref, c.old, c.new); err != nil {
		r.repos.opts.Log.Error("a push did not move its reference", "repository", r.name, "reference", c.ref, "error", err)
		return "the reference could not be written; fetch and look"
	}
	return ""
}
