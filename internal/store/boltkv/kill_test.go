package boltkv_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
)

// killChildEnv makes the test binary the child of the kill test; its value is the data file.
const killChildEnv = "TOWPATH_KILL_TEST_FILE"

const (
	killRounds  = 20
	killWriters = 4 // so that a bolt transaction holds several of ours
	killKeys    = 3
)

// killKey is the key of part p of transaction n of writer w.
func killKey(w, n, p int) string { return fmt.Sprintf("w%d/%06d/%d", w, n, p) }

// killChild writes numbered transactions until it is killed. It says "ack <writer> <number> <revision>" after each.
func killChild(path string) {
	db, err := boltkv.Open(boltkv.Config{Path: path})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var out sync.Mutex // one line is one write to the pipe, never mixed
	for w := range killWriters {
		go func() {
			next := 0
			for range store.All(context.Background(), db, fmt.Sprintf("w%d/", w)) {
				next++
			}
			for n := next / killKeys; ; n++ {
				var tx store.Tx
				for p := range killKeys {
					tx.Put(killKey(w, n, p), fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 500*p)))
				}
				tx.Put(fmt.Sprintf("last/%d", w), []byte(strconv.Itoa(n))).If(store.IfAbsent(killKey(w, n, 0)))
				rev, err := db.Commit(context.Background(), tx)
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println("ack", w, n, rev)
				out.Unlock()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent is gone
	os.Exit(0)
}

// ack is a transaction that the child said is committed.
type ack struct{ w, n int }

// TestKill proves that what was acknowledged survives the death of the process at any moment, whole and once.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "towpath.db")
	acked := map[ack]int64{}
	for round := range killRounds {
		before := len(acked)
		killOnce(t, path, acked)
		if len(acked) == before {
			t.Fatalf("round %d: the child acknowledged nothing", round)
		}
		checkSurvivors(t, path, acked)
	}
	t.Logf("%d acknowledged transactions survived %d kills", len(acked), killRounds)
}

// killOnce runs the child, kills it at a random moment after its first acknowledgement, and notes what it acknowledged.
func killOnce(t *testing.T, path string, acked map[ack]int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killChildEnv+"="+path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var problem string
	lines := bufio.NewScanner(stdout)
	for first := true; lines.Scan(); first = false {
		if first {
			time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
		var a ack
		var rev int64
		if _, err := fmt.Sscanf(lines.Text(), "ack %d %d %d", &a.w, &a.n, &rev); err != nil {
			problem = lines.Text()
			_ = cmd.Process.Kill()
			break
		}
		acked[a] = rev
	}
	err = cmd.Wait()
	if problem != "" || err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was to be killed: %v, %q", err, problem)
	}
}

// checkSurvivors reopens the file and compares rows and log with what was acknowledged.
func checkSurvivors(t *testing.T, path string, acked map[ack]int64) {
	t.Helper()
	db, err := boltkv.Open(boltkv.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := map[ack]int{}     // number of keys
	revs := map[string]int64{} // of every row
	for e, err := range store.All(t.Context(), db, "w") {
		if err != nil {
			t.Fatal(err)
		}
		var a ack
		var p int
		if _, err := fmt.Sscanf(e.Key, "w%d/%d/%d", &a.w, &a.n, &p); err != nil {
			t.Fatal(err)
		}
		found[a]++
		revs[e.Key] = e.Rev
	}
	for a, n := range found {
		if n != killKeys {
			t.Errorf("transaction %v has %d of %d keys", a, n, killKeys)
		}
	}
	for a, rev := range acked {
		if got := revs[killKey(a.w, a.n, 0)]; got != rev {
			t.Errorf("transaction %v was acknowledged at revision %d, the store has %d", a, rev, got)
		}
	}
	checkLog(t, db, found, revs)
}

// checkLog replays the log: every transaction once, whole, by ascending revision and in the order of its operations.
func checkLog(t *testing.T, db *boltkv.DB, found map[ack]int, revs map[string]int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	next := make([]int, killWriters)
	last, seen := int64(0), 0
	var tx []store.Change
	for c, err := range db.Watch(ctx, "", 0) {
		if err != nil {
			t.Fatalf("the log ended after %d of %d transactions: %v", seen, len(found), err)
		}
		tx = append(tx, c)
		if len(tx) < killKeys+1 {
			continue
		}
		var a ack
		if _, err := fmt.Sscanf(c.Key, "last/%d", &a.w); err != nil || c.Rev <= last {
			t.Fatalf("a transaction ends with %q at revision %d after %d", c.Key, c.Rev, last)
		}
		a.n, last = next[a.w], c.Rev
		next[a.w]++
		for p, part := range tx[:killKeys] {
			if want := killKey(a.w, a.n, p); part.Key != want || part.Rev != c.Rev || revs[want] != c.Rev {
				t.Fatalf("the log has %q at revision %d, want %q at %d as in the rows (%d)", part.Key, part.Rev, want, c.Rev, revs[want])
			}
		}
		tx = tx[:0]
		if seen++; seen == len(found) {
			break
		}
	}
	if now, err := store.Revision(ctx, db); err != nil || now != last {
		t.Errorf("the store is at revision %d, %v; its log ends at %d", now, err, last)
	}
}
