package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// appendX is a migration that shows when a row goes through it twice.
var appendX = catalog.Step{To: 2, Prefix: "rows/", Row: func(key string, value []byte) ([]store.Op, error) {
	if string(value) == "as it is" {
		return nil, nil
	}
	return []store.Op{{Key: key, Value: append(bytes.Clone(value), 'x')}, {Key: "index/" + key}}, nil
}}

var dropIndex = catalog.Step{To: 3, Prefix: "index/", Row: func(key string, _ []byte) ([]store.Op, error) {
	return []store.Op{{Key: key, Delete: true}}, nil
}}

const oldRows = 2000

func fillOld(t testing.TB, kv store.KV) {
	t.Helper()
	for i := 0; i < oldRows; i += 500 {
		var tx store.Tx
		for j := i; j < i+500; j++ {
			value := strconv.Itoa(j)
			if j%10 == 0 {
				value = "as it is"
			}
			tx.Put(fmt.Sprintf("rows/%05d", j), []byte(value))
		}
		_, err := kv.Commit(t.Context(), tx)
		must(t, err)
	}
	putRow(t, kv, "meta/schema", "1")
}

func wantMigrated(t testing.TB, kv store.KV, schema string, index int) {
	t.Helper()
	e, err := kv.Get(t.Context(), "meta/schema")
	must(t, err)
	if string(e.Value) != schema {
		t.Errorf("schema = %q, want %q", e.Value, schema)
	}
	if _, err := kv.Get(t.Context(), "meta/migration"); !errs.Is(err, errs.NotFound) {
		t.Errorf("the row of progress is left: %v", err)
	}
	n := 0
	for e, err := range store.All(t.Context(), kv, "rows/") {
		must(t, err)
		want := strconv.Itoa(n) + "x"
		if n%10 == 0 {
			want = "as it is"
		}
		if string(e.Value) != want {
			t.Fatalf("row %s = %q, want %q", e.Key, e.Value, want)
		}
		n++
	}
	rows, err := kv.Scan(t.Context(), store.ScanRange{Prefix: "index/"})
	must(t, err)
	if n != oldRows || len(rows) != index {
		t.Errorf("%d rows and %d of the index, want %d and %d", n, len(rows), oldRows, index)
	}
}

func TestMigrationsBringOldRowsToTheNewVersion(t *testing.T) {
	kv, dir := memkv.New(), t.TempDir()
	fillOld(t, kv)
	svc := catalog.New(catalog.Config{KV: kv, Logger: quiet(), BackupDir: dir})
	must(t, svc.Migrate(t.Context(), appendX))
	wantMigrated(t, kv, "2", oldRows*9/10)
	must(t, svc.Migrate(t.Context(), appendX, dropIndex))
	must(t, svc.Migrate(t.Context(), appendX, dropIndex))
	wantMigrated(t, kv, "3", 0)
	for _, name := range []string{"before-schema-2.towpath", "before-schema-3.towpath"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("no backup: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".backup-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestANewStoreNeedsNoMigration(t *testing.T) {
	kv := memkv.New()
	must(t, catalog.New(catalog.Config{KV: kv, Logger: quiet()}).Migrate(t.Context(), appendX, dropIndex))
	e, err := kv.Get(t.Context(), "meta/schema")
	must(t, err)
	if string(e.Value) != "3" {
		t.Errorf("schema = %q", e.Value)
	}
}

func TestRowsOfANewerVersionAreRefused(t *testing.T) {
	for _, schema := range []string{"3", "999", "", "x", "-1", "0"} {
		kv := memkv.New()
		putRow(t, kv, "meta/schema", schema)
		err := catalog.New(catalog.Config{KV: kv, Logger: quiet()}).Migrate(t.Context(), appendX)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_WRONG_STATE || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("schema %q: %v", schema, err)
		}
	}
}

func TestTheVersionIsThatOfTheLastMigration(t *testing.T) {
	if got := strconv.Itoa(catalog.LatestMigration()); got != catalog.SchemaVersion {
		t.Errorf("schemaVersion is %s and the last migration goes to %s", catalog.SchemaVersion, got)
	}
}

func TestAMigrationThatFailsSaysAtWhichRow(t *testing.T) {
	kv := memkv.New()
	fillOld(t, kv)
	bad := appendX
	bad.Row = func(key string, value []byte) ([]store.Op, error) {
		if key == "rows/00777" {
			return nil, errors.New("cannot be")
		}
		return appendX.Row(key, value)
	}
	svc := catalog.New(catalog.Config{KV: kv, Logger: quiet()})
	if err := svc.Migrate(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "rows/00777") {
		t.Errorf("error = %v", err)
	}
	must(t, svc.Migrate(t.Context(), appendX)) // a corrected version goes on from there
	wantMigrated(t, kv, "2", oldRows*9/10)
}

// A process is killed with SIGKILL after every few transactions of a migration; the next one goes on.
func TestAMigrationSurvivesKills(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.db")
	if os.Getenv("MIGRATE_FILE") != "" {
		migrateAndDie(t)
		return
	}
	kv, err := boltkv.Open(boltkv.Config{Path: file, Logger: quiet()})
	must(t, err)
	fillOld(t, kv)
	must(t, kv.Close())
	kills := 0
	for {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAMigrationSurvivesKills$")
		cmd.Env = append(os.Environ(), "MIGRATE_FILE="+file)
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, out)
		}
		if kills++; kills > 20 {
			t.Fatal("the migration does not come to its end")
		}
	}
	if kills < 2 {
		t.Errorf("the process was killed %d times, want at least 2", kills)
	}
	kv, err = boltkv.Open(boltkv.Config{Path: file, Logger: quiet()})
	must(t, err)
	defer kv.Close()
	wantMigrated(t, kv, "2", oldRows*9/10)
}

// migrateAndDie is the other process.
func migrateAndDie(t *testing.T) {
	kv, err := boltkv.Open(boltkv.Config{Path: os.Getenv("MIGRATE_FILE"), Logger: quiet()})
	must(t, err)
	defer kv.Close()
	n := 0
	svc := catalog.New(catalog.Config{KV: kv, Logger: quiet(), Failpoint: func(name string) {
		if n++; name == "migrated_some" && n == 2 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	must(t, svc.Migrate(t.Context(), appendX))
}
