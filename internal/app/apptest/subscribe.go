package apptest

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// Subscriber collects what an operator hears on a subject.
type Subscriber struct {
	mu   sync.Mutex
	msgs []*nats.Msg
}

// Subscribe listens over TCP with the operator's key, as `nats sub` would. It ends with the test.
func (c *Client) Subscribe(t testing.TB, subject string) *Subscriber {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(filepath.Join(c.Seeds, "operator.nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+c.NATS, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := &Subscriber{}
	if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.msgs = append(s.msgs, m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil { // the server has the subscription
		t.Fatal(err)
	}
	return s
}

// Wait waits for a message on a subject that ends so, and gives the first.
func (s *Subscriber) Wait(t testing.TB, suffix string) *nats.Msg {
	t.Helper()
	var found *nats.Msg
	Await(t, "a message on a subject that ends in "+suffix, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.msgs {
			if strings.HasSuffix(m.Subject, suffix) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// Decode reads the body of a stored event, which is protobuf and compressed when that makes it smaller.
func Decode(t testing.TB, m *nats.Msg, into proto.Message) {
	t.Helper()
	body := m.Data
	if m.Header.Get("content-encoding") == "zstd" {
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if body, err = r.DecodeAll(body, nil); err != nil {
			t.Fatalf("the body of %s: %v", m.Subject, err)
		}
	}
	if err := proto.Unmarshal(body, into); err != nil {
		t.Fatalf("the body of %s: %v", m.Subject, err)
	}
}

// All gives what was heard so far.
func (s *Subscriber) All() []*nats.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.msgs)
}
