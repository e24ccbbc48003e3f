package etcdkv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

func parse(t *testing.T, url string) etcdkv.Config {
	t.Helper()
	cfg, err := etcdkv.ParseURL("--store", url)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func put(t *testing.T, kv store.KV, key, value string) int64 {
	t.Helper()
	rev, err := kv.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

func TestAURLSaysEverythingOrWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, "etcds://a:2379,b:2380/team/towpath?user=tow&password-file="+secret+"&retain=48h&lease=10s&server-name=etcd.example.com")
	if strings.Join(cfg.Endpoints, " ") != "https://a:2379 https://b:2380" || cfg.Prefix != "team/towpath" || cfg.User != "tow" || cfg.Password != "s3cret" ||
		cfg.Retain != 48*time.Hour || cfg.LeaseTTL != 10*time.Second || cfg.TLS == nil || cfg.TLS.ServerName != "etcd.example.com" {
		t.Errorf("config %+v", cfg)
	}
	for url, says := range map[string]string{
		"http://a:2379/x":                          "scheme",
		"etcd://a/x":                               "host:port",
		"etcd:///x":                                "host:port",
		"etcd://a:2379,/x":                         "host:port",
		"etcd://tow:s3cret@a:2379/x":               "password-file",
		"etcd://a:2379/x#y":                        "#y",
		"etcd://a:2379/x?ca=f":                     "etcds://",
		"etcd://a:2379/x?tls=yes":                  "unknown",
		"etcd://a:2379/x?retain=1h&retain=2h":      "twice",
		"etcd://a:2379/x?user=tow":                 "belong together",
		"etcd://a:2379/x?retain=often":             "no duration",
		"etcd://a:2379/x?retain=1m":                "too short",
		"etcd://a:2379/x?lease=1s":                 "lease",
		"etcds://a:2379/x?ca=/does/not/exist":      "ca:",
		"etcds://a:2379/x?ca=" + secret:            "no certificate",
		"etcds://a:2379/x?cert=f":                  "belong together",
		"etcds://a:2379/x?cert=f&key=g":            "cert and key",
		"etcd://a:2379/" + strings.Repeat("x", 65): "at most 64",
		"etcd://a:2379/%zz":                        "no URL",
		"etcd://[::1]:2379,a/x":                    "host:port",
	} {
		_, err := etcdkv.ParseURL("--store", url)
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.Invalid || len(e.Fields) != 1 || !strings.Contains(e.Fields[0].Problem, says) {
			t.Errorf("%s: %v, want that it says %q", url, err, says)
		}
		if strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: the error shows a password", url)
		}
	}
}

func TestAServerWithSmallerLimitsIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"etcd's defaults":      {"--max-request-bytes=1572864"},
		"too few operations":   {"--max-request-bytes=20971520", "--max-txn-ops=1023"},
		"requests a bit small": {"--max-request-bytes=19922944", "--max-txn-ops=1024"},
	} {
		server := etcdtest.Start(t, flags...)
		_, err := etcdkv.Open(t.Context(), parse(t, server.URL("x")))
		if !errs.Is(err, errs.Precondition) || errs.ReasonOf(err) != errorsv1.Reason_REASON_WRONG_STATE || !strings.Contains(err.Error(), "--max-request-bytes=20971520 --max-txn-ops=1024") {
			t.Errorf("%s: %v", name, err)
		}
		server.Kill()
	}
}

// TestTheLargestTransactionFits has as many bytes, operations and conditions as the port allows, with keys and prefix as long as
// they can be.
func TestTheLargestTransactionFits(t *testing.T) {
	t.Parallel()
	db := mustOpen(t, etcdtest.Start(t).URL(strings.Repeat("p", 64)))
	var tx store.Tx
	left := store.MaxTxBytes
	for i := range store.MaxTxOps {
		key := fmt.Sprintf("%0*d", store.MaxKeyBytes, i)
		tx.If(store.IfAbsent(key))
		size := min(max(left-(store.MaxTxOps-i)*store.MaxKeyBytes, 0), store.MaxValueBytes)
		tx.Put(key, make([]byte, size))
		left -= len(key) + size
	}
	if err := tx.Validate(); err != nil || left != 0 {
		t.Fatalf("the test's own transaction: %v, %d bytes left", err, left)
	}
	if _, err := db.Commit(t.Context(), tx); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if _, err := db.Commit(t.Context(), tx); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit again: %v, want a conflict", err)
	}
}

func TestAnOutageIsUnavailableAndEndsNoWatch(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	cfg := parse(t, server.URL("x"))
	cfg.RequestTimeout = 3 * time.Second
	db, err := etcdkv.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first := put(t, db, "a", "1")
	seen := make(chan store.Change)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for c, err := range db.Watch(ctx, "a", 0) {
			if err != nil {
				close(seen)
				return
			}
			seen <- c
		}
	}()
	if c := <-seen; c.Rev != first {
		t.Errorf("first change %+v", c)
	}
	server.Kill()
	_, getErr := db.Get(t.Context(), "a")
	_, scanErr := db.Scan(t.Context(), store.ScanRange{})
	_, commitErr := db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: "a"}}})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, shortErr := db.Get(short, "a")
	_, openErr := etcdkv.Open(t.Context(), cfg)
	for name, err := range map[string]error{"Get": getErr, "Scan": scanErr, "Commit": commitErr, "Open": openErr} {
		if !errs.Is(err, errs.Unavailable) || errs.ReasonOf(err) != errorsv1.Reason_REASON_STORE_UNAVAILABLE {
			t.Errorf("%s without etcd: %v (%v)", name, err, errs.KindOf(err))
		}
	}
	if !errs.Is(shortErr, errs.Timeout) && !errs.Is(shortErr, errs.Unavailable) {
		t.Errorf("Get with a deadline of its own: %v (%v)", shortErr, errs.KindOf(shortErr))
	}
	server.Start(t)
	var second int64
	for end := time.Now().Add(20 * time.Second); second == 0 && time.Now().Before(end); {
		second, _ = db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: "a", Value: []byte("2")}}})
	}
	select {
	case c, ok := <-seen:
		if !ok || c.Rev != second || string(c.Value) != "2" {
			t.Errorf("after the outage: %+v, %v, want revision %d", c, ok, second)
		}
	case <-time.After(20 * time.Second):
		t.Error("the watch did not go on")
	}
}

func TestAClusterGoesOnWithoutOneOfItsMembers(t *testing.T) {
	t.Parallel()
	members := etcdtest.StartCluster(t)
	db := mustOpen(t, "etcd://"+members[0].Client+","+members[1].Client+","+members[2].Client+"/x")
	first := put(t, db, "a", "0")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const n = 60
	done := make(chan error, 1)
	go func() { // every change once and in order, while members come and go
		next := 1
		for c, err := range db.Watch(ctx, "", first) {
			if err != nil {
				done <- err
				return
			}
			if want := fmt.Sprint(next); string(c.Value) != want {
				done <- fmt.Errorf("value %q, want %q", c.Value, want)
				return
			}
			if next++; next > n {
				done <- nil
				return
			}
		}
	}()
	rev := first
	for i := 1; i <= n; i++ {
		if i%20 == 10 {
			members[i/20].Kill()
		}
		if i%20 == 19 {
			members[i/20].Start(t)
		}
		for {
			got, err := db.Commit(ctx, *new(store.Tx).If(store.IfRev("a", rev)).Put("a", []byte(fmt.Sprint(i))))
			if err == nil {
				rev = got
				break
			}
			if errors.Is(err, store.ErrConflict) { // an earlier try did happen
				e, err := db.Get(ctx, "a")
				if err == nil && string(e.Value) == fmt.Sprint(i) {
					rev = e.Rev
					break
				}
			} else if !errs.Is(err, errs.Unavailable) {
				t.Fatal(err)
			}
		}
	}
	if err := <-done; err != nil {
		t.Errorf("the watch: %v", err)
	}
}

func TestTwoInstallationsOnOneEtcdDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	a, b := mustOpen(t, server.URL("a")), mustOpen(t, server.URL("ab"))
	put(t, a, "k", "a")
	put(t, b, "k", "b")
	for kv, want := range map[store.KV]string{a: "a", b: "b"} {
		rows, err := kv.Scan(t.Context(), store.ScanRange{})
		if err != nil || len(rows) != 1 || string(rows[0].Value) != want {
			t.Errorf("rows %v, %v, want the one with %q", rows, err, want)
		}
		for c, err := range kv.Watch(t.Context(), "", 0) {
			if err != nil || string(c.Value) != want {
				t.Errorf("watch: %+v, %v, want %q", c, err, want)
			}
			break
		}
	}
}

func TestAnImportHidesItsPartAndStartsOver(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	cfg := parse(t, server.URL("x"))
	const after = 1_000_000
	for _, key := range []string{"left behind", "complete"} {
		db, err := etcdkv.OpenImport(t.Context(), cfg, after)
		if err != nil {
			t.Fatal(err)
		}
		if rev := put(t, db, key, "1"); rev <= after {
			t.Errorf("revision %d, want one above that of the store it is from", rev)
		}
		if _, err := etcdkv.Open(t.Context(), cfg); !errs.Is(err, errs.Precondition) {
			t.Errorf("Open during an import: %v", err)
		}
		if key == "complete" {
			if err := db.FinishImport(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := mustOpen(t, server.URL("x"))
	rows, err := db.Scan(t.Context(), store.ScanRange{})
	if err != nil || len(rows) != 1 || rows[0].Key != "complete" || rows[0].Rev <= after {
		t.Errorf("rows %v, %v", rows, err)
	}
	for _, rev := range []int64{1, after} { // etags of before
		if _, err := db.Commit(t.Context(), *new(store.Tx).If(store.IfRev("complete", rev)).Put("complete", nil)); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a condition on revision %d: %v, want a conflict", rev, err)
		}
	}
	for _, err := range db.Watch(t.Context(), "", after-1) {
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("watching from before the import: %v", err)
		}
	}
	if _, err := etcdkv.OpenImport(t.Context(), cfg, after); errs.ReasonOf(err) != errorsv1.Reason_REASON_ALREADY_EXISTS {
		t.Errorf("an import into a store in use: %v", err)
	}
}
