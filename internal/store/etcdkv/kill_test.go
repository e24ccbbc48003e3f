package etcdkv_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

// killChildEnv makes the test binary the child of the kill test; its value is the store's URL.
const killChildEnv = "TOWPATH_KILL_TEST_STORE"

const (
	killRounds  = 12
	killWriters = 8
	killKeys    = 3
)

// killKey is the key of part p of transaction n of writer w.
func killKey(w, n, p int) string { return fmt.Sprintf("w%d/%06d/%d", w, n, p) }

// killChild writes numbered transactions until it is killed. It says "ack <writer> <number> <revision>" after each. When the
// outcome of one is unknown, because etcd is gone, it asks whether it happened, as the contract tells callers to.
func killChild(url string) {
	cfg, err := etcdkv.ParseURL("--store", url)
	if err != nil {
		childFailed(err)
	}
	var db *etcdkv.DB
	for db == nil { // the server may be on its way back
		if db, err = etcdkv.Open(context.Background(), cfg); err != nil && !errs.Is(err, errs.Unavailable) {
			childFailed(err)
		}
	}
	var out sync.Mutex // one line is one write to the pipe, never mixed
	for w := range killWriters {
		go func() {
			for n := countWritten(db, w); ; n++ {
				rev := writeOne(db, w, n)
				out.Lock()
				fmt.Println("ack", w, n, rev)
				out.Unlock()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent is gone
	os.Exit(0)
}

func childFailed(err error) {
	fmt.Println("error", err)
	os.Exit(1)
}

func countWritten(db *etcdkv.DB, w int) int {
	for {
		rows, err := db.Scan(context.Background(), store.ScanRange{Prefix: fmt.Sprintf("w%d/", w)})
		if err == nil {
			return len(rows) / killKeys
		}
		if !errs.Is(err, errs.Unavailable) {
			childFailed(err)
		}
	}
}

func writeOne(db *etcdkv.DB, w, n int) int64 {
	var tx store.Tx
	for p := range killKeys {
		tx.Put(killKey(w, n, p), fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 500*p)))
	}
	tx.Put(fmt.Sprintf("last/%d", w), []byte(strconv.Itoa(n))).If(store.IfAbsent(killKey(w, n, 0)))
	for {
		rev, err := db.Commit(context.Background(), tx)
		if err == nil {
			return rev
		}
		if _, conflict := store.ConflictKey(err); conflict { // an earlier try did happen
			if e, err := db.Get(context.Background(), killKey(w, n, 0)); err == nil {
				return e.Rev
			}
			continue
		}
		if !errs.Is(err, errs.Unavailable) {
			childFailed(err)
		}
	}
}

// ack is a transaction that the child said is committed.
type ack struct{ w, n int }

// child is a process that writes.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
}

func startChild(t *testing.T, url string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0]), lines: make(chan string, 1<<16)}
	c.cmd.Env = append(os.Environ(), killChildEnv+"="+url)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return c
}

// note takes in one acknowledgement; false when the child is gone.
func (c *child) note(t *testing.T, acked map[ack]int64) bool {
	t.Helper()
	line, ok := <-c.lines
	if !ok {
		return false
	}
	var a ack
	var rev int64
	if _, err := fmt.Sscanf(line, "ack %d %d %d", &a.w, &a.n, &rev); err != nil {
		t.Fatalf("the child says: %s", line)
	}
	acked[a] = rev
	return true
}

// end kills the child and takes in what it had said.
func (c *child) end(t *testing.T, acked map[ack]int64) {
	t.Helper()
	_ = c.cmd.Process.Kill()
	for c.note(t, acked) {
	}
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
}

// TestKill proves that what was acknowledged survives the death of the writing process, and of etcd, at any moment, whole and
// once. A watcher that lives through all of it sees every transaction once and whole.
func TestKill(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	url := server.URL("kill")
	db := mustOpen(t, url)
	acked := map[ack]int64{}
	watched := make(chan []store.Change, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		var all []store.Change
		for c, err := range db.Watch(ctx, "", 0) {
			if err != nil {
				break
			}
			if all = append(all, c); c.Key == "end" {
				break
			}
		}
		watched <- all
	}()
	defer stop()
	c := startChild(t, url)
	for round := range killRounds {
		for range killWriters * 2 { // it works
			if !c.note(t, acked) {
				t.Fatal("the child ended by itself")
			}
		}
		time.Sleep(time.Duration(rand.IntN(50_000)) * time.Microsecond) // any moment will do
		if round%2 == 0 {
			server.Kill()
			server.Start(t) // the child goes on by itself
			continue
		}
		c.end(t, acked)
		checkSurvivors(t, db, acked)
		c = startChild(t, url)
	}
	c.end(t, acked)
	found := checkSurvivors(t, db, acked)
	if _, err := db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: "end"}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case all := <-watched:
		checkLog(t, all, found)
	case <-time.After(time.Minute):
		t.Fatal("the watcher did not come to the end")
	}
	t.Logf("%d acknowledged transactions survived %d kills", len(acked), killRounds)
}

// checkSurvivors compares the rows with what was acknowledged, and gives the revision of every transaction.
func checkSurvivors(t *testing.T, db *etcdkv.DB, acked map[ack]int64) map[ack]int64 {
	t.Helper()
	parts, revs := map[ack]int{}, map[ack]int64{}
	for e, err := range store.All(t.Context(), db, "w") {
		if err != nil {
			t.Fatal(err)
		}
		var a ack
		var p int
		if _, err := fmt.Sscanf(e.Key, "w%d/%d/%d", &a.w, &a.n, &p); err != nil {
			t.Fatal(err)
		}
		if parts[a]++; parts[a] > 1 && revs[a] != e.Rev {
			t.Errorf("transaction %v has parts of revisions %d and %d", a, revs[a], e.Rev)
		}
		revs[a] = e.Rev
	}
	for a, n := range parts {
		if n != killKeys {
			t.Errorf("transaction %v has %d of %d keys", a, n, killKeys)
		}
	}
	for a, rev := range acked {
		if revs[a] != rev {
			t.Errorf("transaction %v was acknowledged at revision %d, the store has %d", a, rev, revs[a])
		}
	}
	return revs
}

// checkLog replays what was watched: every transaction once, whole, by ascending revision and in the order of its operations.
func checkLog(t *testing.T, all []store.Change, revs map[ack]int64) {
	t.Helper()
	if len(all) != len(revs)*(killKeys+1)+1 {
		t.Errorf("%d changes were watched, want %d of %d transactions and the end", len(all), len(revs)*(killKeys+1)+1, len(revs))
	}
	next := make([]int, killWriters)
	last := int64(0)
	for len(all) > killKeys+1 {
		tx := all[:killKeys+1]
		all = all[killKeys+1:]
		var a ack
		if _, err := fmt.Sscanf(tx[killKeys].Key, "last/%d", &a.w); err != nil || tx[killKeys].Rev <= last {
			t.Fatalf("a transaction ends with %q at revision %d after %d", tx[killKeys].Key, tx[killKeys].Rev, last)
		}
		a.n, last = next[a.w], tx[killKeys].Rev
		next[a.w]++
		for p, part := range tx[:killKeys] {
			if want := killKey(a.w, a.n, p); part.Key != want || part.Rev != last || revs[a] != last {
				t.Fatalf("the log has %q at revision %d, want %q at %d as in the rows (%d)", part.Key, part.Rev, want, last, revs[a])
			}
		}
	}
}
