package apptest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Gate is an address that leads to another one and can be shut, as when a machine goes away: connections break and new ones are
// refused.
type Gate struct {
	to   string
	addr string

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// NewGate makes an open gate to an address. It ends with the test.
func NewGate(t testing.TB, to string) *Gate {
	t.Helper()
	g := &Gate{to: to, addr: freeAddress(t), conns: map[net.Conn]bool{}}
	g.Open(t)
	t.Cleanup(g.Shut)
	return g
}

// Addr is the address of the gate, the same after each opening.
func (g *Gate) Addr() string { return g.addr }

// Open lets connections through.
func (g *Gate) Open(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.l = l
	g.mu.Unlock()
	g.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // shut
			}
			g.wg.Go(func() { g.pass(in) })
		}
	})
}

// Shut breaks all connections and refuses new ones.
func (g *Gate) Shut() {
	g.mu.Lock()
	if g.l != nil {
		g.l.Close()
		g.l = nil
	}
	for c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

func (g *Gate) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer out.Close()
	g.mu.Lock()
	open := g.l != nil
	g.conns[in], g.conns[out] = true, true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, in)
		delete(g.conns, out)
	}()
	if !open {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in) // ends when either side closes
		out.Close()
	}()
	_, _ = io.Copy(in, out)
	in.Close()
	<-done
}
