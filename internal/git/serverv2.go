package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Version 2 of the protocol, for reading. What it is for: a client asks for the references that it means, where version 0 tells all
// of them to everybody who comes, and of a clone that leaves files out, the ones that are missing are fetched by their ids.

// asksV2 reports whether the client speaks version 2.
func asksV2(r *http.Request) bool {
	return slices.Contains(strings.Split(r.Header.Get("Git-Protocol"), ":"), "version=2")
}

// advertiseV2 tells what the service can do.
func advertiseV2(w http.ResponseWriter) error {
	var b bytes.Buffer
	for _, line := range []string{"version 2", "agent=" + agent, "ls-refs=unborn", "fetch=shallow filter", "object-format=sha1"} {
		writePkt(&b, "%s\n", line)
	}
	writeFlush(&b)
	w.Header().Set("Content-Type", "application/x-"+uploadPack+"-advertisement")
	_, err := w.Write(b.Bytes())
	return err
}

// serveV2 answers one command.
func (r *repo) serveV2(ctx context.Context, w http.ResponseWriter, body io.Reader) error {
	w.Header().Set("Content-Type", "application/x-"+uploadPack+"-result")
	command, args, err := readCommand(body)
	switch {
	case err != nil:
		return sayError(w, "the request is not readable: "+err.Error(), err)
	case command == "ls-refs":
		return r.listRefsV2(w, args)
	case command == "fetch":
		return r.fetchV2(ctx, w, args)
	case command == "":
		return nil // a client that has nothing more to ask
	default:
		return sayError(w, "the command "+strconv.Quote(command)+" is not served here", nil)
	}
}

// readCommand reads a command and its arguments. Capabilities that come with the command say who the client is, and are not needed.
func readCommand(body io.Reader) (command string, args []string, err error) {
	p := newPktReader(body)
	inArgs := false
	for {
		kind, line, err := p.line()
		switch {
		case errors.Is(err, io.EOF), err == nil && kind == pktFlush:
			return command, args, nil
		case err != nil:
			return "", nil, err
		case kind == pktDelim:
			inArgs = true
		case kind != pktData:
			return "", nil, errNotPkt
		case inArgs:
			args = append(args, line)
		default:
			if name, ok := strings.CutPrefix(line, "command="); ok {
				command = name
			} else if format, ok := strings.CutPrefix(line, "object-format="); ok && format != "sha1" {
				return "", nil, fmt.Errorf("the object format %s is not served here", format)
			}
		}
	}
}

// listRefsV2 tells the references that begin with one of the prefixes.
func (r *repo) listRefsV2(w io.Writer, args []string) error {
	var prefixes []string
	var peel, symrefs, unborn bool
	for _, arg := range args {
		word, rest, _ := strings.Cut(arg, " ")
		switch word {
		case "peel":
			peel = true
		case "symrefs":
			symrefs = true
		case "unborn":
			unborn = true
		case "ref-prefix":
			prefixes = append(prefixes, rest)
		default: // what a newer client knows and can do without
		}
	}
	refs, err := r.refs.list()
	if err != nil {
		return sayError(w, "the references could not be read", err)
	}
	head, err := r.refs.head()
	if err != nil {
		return sayError(w, "HEAD could not be read", err)
	}
	asked := func(name string) bool {
		return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	var b bytes.Buffer
	if tip, ok := refs[head]; asked("HEAD") && (ok || unborn) {
		line := "unborn HEAD"
		if ok {
			line = tip.String() + " HEAD"
		}
		if symrefs {
			line += " symref-target:" + head
		}
		writePkt(&b, "%s\n", line)
	}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if !asked(name) {
			continue
		}
		line := refs[name].String() + " " + name
		if target, ok := r.peel(refs[name]); ok && peel {
			line += " peeled:" + target.String()
		}
		writePkt(&b, "%s\n", line)
	}
	writeFlush(&b)
	_, err = w.Write(b.Bytes())
	return err
}

func readFetchArgs(args []string) (u uploadRequest, err error) {
	u = uploadRequest{shallows: map[Hash]struct{}{}, sideband: true}
	for _, arg := range args {
		word, rest, _ := strings.Cut(arg, " ")
		switch word {
		case "want":
			u.wants = append(u.wants, NewHash(rest))
		case "have":
			u.haves = append(u.haves, NewHash(rest))
		case "shallow":
			u.shallows[NewHash(rest)] = struct{}{}
		case "done":
			u.done = true
		case "filter":
			if err := u.filter(rest); err != nil {
				return u, err
			}
		case "deepen":
			if u.depth, err = strconv.Atoi(rest); err != nil || u.depth < 1 {
				return u, fmt.Errorf("deepen %q is not a depth", rest)
			}
		case "thin-pack", "no-progress", "include-tag", "ofs-delta":
		default:
			return u, fmt.Errorf("%q is not understood here", word)
		}
	}
	return u, nil
}

// fetchV2 answers a fetch: with what is common while the client looks for it, and with the pack as soon as something is, or when the
// client has nothing more to offer.
func (r *repo) fetchV2(ctx context.Context, w io.Writer, args []string) error {
	u, err := readFetchArgs(args)
	if err != nil {
		return sayError(w, "the request is not readable: "+err.Error(), err)
	}
	if len(u.wants) == 0 {
		return sayError(w, "nothing is wanted", nil)
	}
	if err := r.checkWants(u.wants); err != nil {
		return sayError(w, err.Error(), err)
	}
	spec, cuts, err := r.choose(ctx, u)
	if err != nil {
		return sayError(w, "the history could not be read", err)
	}
	var b bytes.Buffer
	if !u.done {
		writePkt(&b, "acknowledgments\n")
		if len(spec.haves) == 0 {
			writePkt(&b, "NAK\n")
			writeFlush(&b)
			_, err := w.Write(b.Bytes())
			return err
		}
		for _, h := range spec.haves {
			writePkt(&b, "ACK %s\n", h)
		}
		writePkt(&b, "ready\n")
		writeDelim(&b)
	}
	if u.depth > 0 {
		writePkt(&b, "shallow-info\n")
		cuts.write(&b)
		writeDelim(&b)
	}
	writePkt(&b, "packfile\n")
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	return r.sendPack(ctx, w, u, spec)
}
