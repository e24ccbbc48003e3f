package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/internal/store/transfer"
)

var options = transfer.Options{Positions: []string{"outbox/position"}, Skip: []string{"leases/"}}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func commit(t failer, kv store.KV, build func(tx *store.Tx)) int64 {
	t.Helper()
	var tx store.Tx
	build(&tx)
	rev, err := kv.Commit(context.Background(), tx)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

func rows(t failer, kv store.KV) map[string]string {
	t.Helper()
	out := map[string]string{}
	for e, err := range store.All(context.Background(), kv, "") {
		if err != nil {
			t.Fatalf("All: %v", err)
		}
		out[e.Key] = string(e.Value)
	}
	return out
}

// told gives what a follower hears from its stored position on, as key=value.
func told(t failer, kv transfer.Source, pos int64) (out []string) {
	t.Helper()
	for {
		changes, next, err := kv.ReadLog("dep/", pos)
		if err != nil {
			t.Fatalf("ReadLog: %v", err)
		}
		if next == pos {
			return out
		}
		for _, c := range changes {
			out = append(out, fmt.Sprintf("%s=%s %v", c.Key, c.Value, c.Deleted))
		}
		pos = next
	}
}

func position(t failer, kv store.KV) int64 {
	t.Helper()
	e, err := kv.Get(context.Background(), "outbox/position")
	if err != nil {
		t.Fatalf("position: %v", err)
	}
	rev, err := strconv.ParseInt(string(e.Value), 10, 64)
	if err != nil {
		t.Fatalf("position: %v", err)
	}
	return rev
}

// TestACopyHasTheSameRowsAndFollowersGoOnWhereTheyWere does random transactions and takes a random one for the follower's position.
func TestACopyHasTheSameRowsAndFollowersGoOnWhereTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := memkv.New(), memkv.New()
		revs := []int64{0}
		for i := range rapid.IntRange(1, 20).Draw(t, "transactions") {
			keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"dep/a", "dep/b", "dep/c", "env/a", "env/b"}), 1, 3, rapid.ID[string]).Draw(t, "keys")
			revs = append(revs, commit(t, from, func(tx *store.Tx) {
				for _, k := range keys {
					if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
						tx.Delete(k)
					} else {
						tx.Put(k, []byte(strconv.Itoa(i)))
					}
				}
			}))
		}
		pos := rapid.SampledFrom(revs).Draw(t, "position")
		if pos > 0 || rapid.Bool().Draw(t, "stored") { // a missing one stands for 0
			commit(t, from, func(tx *store.Tx) { tx.Put("outbox/position", strconv.AppendInt(nil, pos, 10)) })
		}
		commit(t, from, func(tx *store.Tx) { tx.Put("leases/catalog", []byte("somebody")) })
		report, err := transfer.Copy(context.Background(), from, to, options)
		if err != nil {
			t.Fatalf("Copy: %v", err)
		}
		want, got := rows(t, from), rows(t, to)
		delete(want, "leases/catalog")
		delete(want, "outbox/position")
		delete(got, "outbox/position")
		if d := cmp.Diff(want, got); d != "" || report.Rows != len(want) || report.Cut {
			t.Fatalf("report %+v, rows (-want +got):\n%s", report, d)
		}
		// What a row's removal is told as needs a row that was there, so a removal may be missing; the writes may not.
		if d := cmp.Diff(writes(told(t, from, pos)), writes(told(t, to, position(t, to)))); d != "" {
			t.Fatalf("a follower hears (-want +got):\n%s", d)
		}
	})
}

func writes(all []string) (out []string) {
	for _, s := range all {
		if len(s) > 4 && s[len(s)-4:] != "true" {
			out = append(out, s)
		}
	}
	return out
}

func TestWhatWasWrittenTogetherHasOneRevisionAgain(t *testing.T) {
	from, to := memkv.New(), memkv.New()
	for i := range 50 {
		commit(t, from, func(tx *store.Tx) {
			tx.Put(fmt.Sprintf("row/%02d", i), nil).Put(fmt.Sprintf("requests/%02d", i), nil)
		})
	}
	now := commit(t, from, func(tx *store.Tx) { tx.Put("row/07", []byte("changed since")) })
	commit(t, from, func(tx *store.Tx) { tx.Put("outbox/position", strconv.AppendInt(nil, now, 10)) })
	if _, err := transfer.Copy(t.Context(), from, to, options); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]string{}
	for e, err := range store.All(t.Context(), to, "row/") {
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[e.Rev]; other != "" {
			t.Errorf("%s and %s have revision %d, they were written apart", e.Key, other, e.Rev)
		}
		seen[e.Rev] = e.Key
		r, err := to.Get(t.Context(), "requests/"+e.Key[len("row/"):])
		if err != nil {
			t.Fatal(err)
		}
		if together := r.Rev == e.Rev; together != (e.Key != "row/07") {
			t.Errorf("%s has revision %d, its request %d", e.Key, e.Rev, r.Rev)
		}
	}
}

func TestALogThatWasCutIsReportedAndFollowersBeginAnew(t *testing.T) {
	from, to := memkv.New(), memkv.New()
	commit(t, from, func(tx *store.Tx) { tx.Put("outbox/position", []byte("1")) })
	for i := range 5 {
		rev := commit(t, from, func(tx *store.Tx) { tx.Put("dep/a", []byte(strconv.Itoa(i))) })
		if err := from.Compact(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
	}
	report, err := transfer.Copy(t.Context(), from, to, options)
	if err != nil || !report.Cut || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := to.Get(t.Context(), "outbox/position"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the position: %v, want none", err)
	}
}

func TestADestinationThatIsNotEmptyIsRefusedAndLeftAlone(t *testing.T) {
	from, to := memkv.New(), memkv.New()
	commit(t, from, func(tx *store.Tx) { tx.Put("a", []byte("1")) })
	commit(t, to, func(tx *store.Tx) { tx.Put("b", []byte("2")) })
	_, err := transfer.Copy(t.Context(), from, to, options)
	if !errs.Is(err, errs.Precondition) || errs.ReasonOf(err) != errorsv1.Reason_REASON_ALREADY_EXISTS {
		t.Errorf("Copy: %v", err)
	}
	if d := cmp.Diff(map[string]string{"b": "2"}, rows(t, to)); d != "" {
		t.Error(d)
	}
}

// losing is a store that loses a write, as no store should.
type losing struct{ store.KV }

func (l losing) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if len(tx.Ops) > 0 && tx.Ops[0].Key == "b" {
		tx.Ops = tx.Ops[1:]
	}
	return l.KV.Commit(ctx, tx)
}

func TestACopyThatDiffersIsFound(t *testing.T) {
	from := memkv.New()
	for _, k := range []string{"a", "b", "c"} {
		commit(t, from, func(tx *store.Tx) { tx.Put(k, nil) })
	}
	if _, err := transfer.Copy(t.Context(), from, losing{memkv.New()}, options); err == nil {
		t.Error("a copy without one of the rows is taken for complete")
	}
}
