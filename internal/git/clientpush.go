package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// verdict is what one attempt to push gave. Exactly one of accepted, denied and neither holds; neither means that the answer
// does not say.
type verdict struct {
	sent     bool // the host may have seen the request
	accepted bool
	denied   bool
	unpacked bool // the objects were taken, so that a denial is about the reference
	status   int  // of the answer when it was not 200
	words    string
	err      error
}

// receiveCaps asks once what the host's receive-pack can do; later pushes are one request each.
func (c *client) receiveCaps(ctx context.Context) (*capability.List, error) {
	if c.receive != nil {
		return c.receive, nil
	}
	body, err := c.wire.advertise(ctx, receivePack)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	adv := packp.NewAdvRefs()
	if err := adv.Decode(body); err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		return nil, fmt.Errorf("%w: %w", errNotPkt, err)
	}
	if !adv.Capabilities.Supports(capability.ReportStatus) {
		return nil, fmt.Errorf("%w: the host does not report what became of a push", errNotPkt)
	}
	c.receive = adv.Capabilities
	return c.receive, nil
}

// push sends one reference update with its pack. The host compares old with the reference's value under its own lock.
func (c *client) push(ctx context.Context, ref string, old, new Hash, pack []byte) verdict {
	body, sideband, err := c.updateRequest(ref, old, new, pack)
	if err != nil {
		return verdict{err: err}
	}
	answer, sent, err := c.wire.request(ctx, receivePack, body)
	if err != nil {
		v := verdict{sent: sent, err: err}
		var status *statusError
		if errors.As(err, &status) {
			v.status, v.words = status.status, status.words
		}
		return v
	}
	defer answer.Close()
	v := readReport(answer, ref, sideband)
	v.sent = true
	if v.err == nil {
		_ = drain(answer) // the report is complete; what follows it changes nothing
	}
	return v
}

func (c *client) updateRequest(ref string, old, new Hash, pack []byte) (body []byte, sideband bool, err error) {
	req := packp.NewReferenceUpdateRequest()
	req.Capabilities = capability.NewList()
	sideband = c.receive.Supports(capability.Sideband64k)
	wanted := []capability.Capability{capability.ReportStatus}
	if c.receive.Supports(capability.Atomic) {
		wanted = append(wanted, capability.Atomic)
	}
	if sideband {
		wanted = append(wanted, capability.Sideband64k)
	}
	for _, name := range wanted {
		if err := req.Capabilities.Set(name); err != nil {
			return nil, false, fmt.Errorf("capabilities: %w", err)
		}
	}
	if err := req.Capabilities.Set(capability.Agent, agent); err != nil {
		return nil, false, fmt.Errorf("capabilities: %w", err)
	}
	req.Commands = []*packp.Command{{Name: plumbing.ReferenceName(ref), Old: old, New: new}}
	req.Packfile = io.NopCloser(bytes.NewReader(pack))
	var b bytes.Buffer
	b.Grow(len(pack) + 512)
	if err := req.Encode(&b); err != nil {
		return nil, false, fmt.Errorf("encode the push: %w", err)
	}
	return b.Bytes(), sideband, nil
}

// readReport reads the host's report. No report, or half of one, says nothing: neither accepted nor denied.
func readReport(body io.Reader, ref string, sideband bool) verdict {
	p := newPktReader(body)
	var bands *bandReader
	if sideband {
		bands = &bandReader{p: p}
		p = newPktReader(bands)
	}
	var v verdict
	var reason string
	for {
		kind, line, err := p.line()
		if err != nil {
			v.err = fmt.Errorf("the host's report is incomplete: %w", err)
			v.accepted, v.denied = false, false
			break
		}
		if kind != pktData {
			break
		}
		if result, ok := strings.CutPrefix(line, "unpack "); ok {
			v.unpacked = result == "ok"
			if !v.unpacked {
				reason = result
			}
		} else if line == "ok "+ref {
			v.accepted = true
		} else if words, ok := strings.CutPrefix(line, "ng "+ref); ok {
			v.denied = true
			if reason == "" {
				reason = words
			}
		}
	}
	if bands != nil {
		_ = drain(bands) // the rest of what the host prints
		reason += " " + bands.words.String()
	}
	v.words = cleanWords(reason)
	v.accepted = v.accepted && v.unpacked && !v.denied
	if v.err == nil && !v.accepted && !v.denied {
		v.err = errors.New("the host's report does not name the branch")
	}
	return v
}
