package store_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

type stringTable = store.Table[*wrapperspb.StringValue]

func commit(t *testing.T, kv store.KV, tx store.Tx) int64 {
	t.Helper()
	rev, err := kv.Commit(t.Context(), tx)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

// filled is a table with rows of these ids, each with its id as message, between two other tables.
func filled(t *testing.T, ids ...string) (store.KV, stringTable) {
	t.Helper()
	kv, table := memkv.New(), store.NewTable[*wrapperspb.StringValue]("names/")
	var tx store.Tx
	tx.Put("name/x", []byte("\xff not a message")).Put("names0", []byte("\xff not a message"))
	for _, id := range ids {
		if err := table.Put(&tx, id, wrapperspb.String(id)); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, kv, tx)
	return kv, table
}

func TestRowsKeepTheirMessageAndRevision(t *testing.T) {
	t.Parallel()
	kv, table := filled(t)
	var create store.Tx
	if err := table.Create(&create, "shop", wrapperspb.String("one")); err != nil {
		t.Fatal(err)
	}
	first := commit(t, kv, create)
	if _, err := kv.Commit(t.Context(), create); !errors.Is(err, store.ErrConflict) {
		t.Errorf("creating a row twice: %v, want a conflict", err)
	}
	row, err := table.Get(t.Context(), kv, "shop")
	if err != nil {
		t.Fatal(err)
	}
	want := store.Row[*wrapperspb.StringValue]{ID: "shop", Msg: wrapperspb.String("one"), Rev: first}
	if d := cmp.Diff(want, row, protocmp.Transform()); d != "" {
		t.Errorf("row (-want +got):\n%s", d)
	}

	var update store.Tx
	if err := table.Update(&update, "shop", row.Rev, wrapperspb.String("two")); err != nil {
		t.Fatal(err)
	}
	second := commit(t, kv, update)
	if _, err := kv.Commit(t.Context(), update); !errors.Is(err, store.ErrConflict) {
		t.Errorf("updating from an old revision: %v, want a conflict", err)
	}
	var late, remove store.Tx
	table.Delete(&late, "shop", first)
	if _, err := kv.Commit(t.Context(), late); !errors.Is(err, store.ErrConflict) {
		t.Errorf("removing an old revision: %v, want a conflict", err)
	}
	table.Delete(&remove, "shop", second)
	commit(t, kv, remove)
	if _, err := table.Get(t.Context(), kv, "shop"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading a removed row: %v, want not found", err)
	}
	var anyRev store.Tx
	table.Delete(&anyRev, "shop", store.AnyRev)
	if _, err := kv.Commit(t.Context(), anyRev); !errors.Is(err, store.ErrConflict) {
		t.Errorf("removing what is not there: %v, want a conflict", err)
	}
}

func TestChangesDecodeToRows(t *testing.T) {
	t.Parallel()
	kv, table := filled(t, "a")
	var tx store.Tx
	table.Delete(&tx, "a", store.AnyRev)
	commit(t, kv, tx)
	var got []string
	for c, err := range kv.Watch(t.Context(), table.Prefix(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		row, err := table.DecodeChange(c)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, fmt.Sprintf("%s %q removed=%v %d", row.ID, row.Msg.GetValue(), row.Msg == nil, row.Rev)); len(got) == 2 {
			break
		}
	}
	if d := cmp.Diff([]string{`a "a" removed=false 1`, `a "" removed=true 2`}, got); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

func TestWhatIsNoRowIsAnError(t *testing.T) {
	t.Parallel()
	_, table := filled(t)
	for name, e := range map[string]store.Entry{
		"another table's key": {Key: "other/a"},
		"no message":          {Key: "names/a", Value: []byte("\xff\xff")},
	} {
		if row, err := table.Decode(e); err == nil {
			t.Errorf("%s: got row %v, want an error", name, row)
		}
	}
	var tx store.Tx
	if err := table.Put(&tx, "a", wrapperspb.String("\xff")); err == nil || len(tx.Ops) > 0 {
		t.Errorf("a message that cannot be encoded: %v, %d operations", err, len(tx.Ops))
	}
}

func TestEqualMessagesHaveEqualBytes(t *testing.T) {
	t.Parallel()
	table := store.NewTable[*structpb.Struct]("t/")
	var first []byte
	for i := range 20 {
		msg := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for j := range 20 {
			msg.Fields[fmt.Sprint((i+j)%20)] = structpb.NewNumberValue(float64((i + j) % 20))
		}
		var tx store.Tx
		if err := table.Put(&tx, "a", msg); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = tx.Ops[0].Value
		}
		if !slices.Equal(first, tx.Ops[0].Value) {
			t.Fatal("the same map was encoded in two ways")
		}
	}
}

// pages reads a list to its end and gives the ids of each page.
func pages(ctx context.Context, t *testing.T, kv store.KV, table stringTable, l store.List, keep func(*wrapperspb.StringValue) bool) [][]string {
	t.Helper()
	var all [][]string
	for {
		rows, next, err := table.List(ctx, kv, l, keep)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		all = append(all, ids)
		if next == "" {
			return all
		}
		l.PageToken = next
	}
}

func TestListGivesEveryRowOnceInPages(t *testing.T) {
	t.Parallel()
	kv, table := filled(t, "a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "bä")
	even := func(m *wrapperspb.StringValue) bool {
		return strings.HasSuffix(m.GetValue(), "2") || strings.HasSuffix(m.GetValue(), "4")
	}
	tests := []struct {
		name string
		list store.List
		keep func(*wrapperspb.StringValue) bool
		want [][]string
	}{
		{"default size", store.List{}, nil, [][]string{{"a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "bä"}}},
		{"small pages", store.List{PageSize: 3}, nil, [][]string{{"a/1", "a/2", "a/3"}, {"a/4", "b/1", "b/2"}, {"bä"}}},
		{"the last page is full", store.List{Under: "a/", PageSize: 2}, nil, [][]string{{"a/1", "a/2"}, {"a/3", "a/4"}}},
		{"newest first", store.List{Under: "a/", PageSize: 3, Reverse: true}, nil, [][]string{{"a/4", "a/3", "a/2"}, {"a/1"}}},
		{"filtered", store.List{PageSize: 2, Filter: "even"}, even, [][]string{{"a/2", "a/4"}, {"b/2"}}},
		{"filtered, nothing after the last", store.List{PageSize: 3, Filter: "even"}, even, [][]string{{"a/2", "a/4", "b/2"}}},
		{"nothing there", store.List{Under: "c"}, nil, [][]string{nil}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, pages(t.Context(), t, kv, table, tt.list, tt.keep)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestListEndsACallThatFindsLittle(t *testing.T) {
	t.Parallel()
	kv, table := filled(t)
	const total = 25_000
	for from := 0; from < total; from += 1000 {
		var tx store.Tx
		for i := range 1000 {
			if err := table.Put(&tx, fmt.Sprintf("%06d", from+i), wrapperspb.String("")); err != nil {
				t.Fatal(err)
			}
		}
		commit(t, kv, tx)
	}
	var last store.Tx
	if err := table.Put(&last, "999999", wrapperspb.String("needle")); err != nil {
		t.Fatal(err)
	}
	commit(t, kv, last)
	got := pages(t.Context(), t, kv, table, store.List{Filter: "needle"}, func(m *wrapperspb.StringValue) bool { return m.GetValue() == "needle" })
	if len(got) < 2 || !slices.Equal(slices.Concat(got...), []string{"999999"}) {
		t.Errorf("got %d pages with %v, want several with the one row", len(got), slices.Concat(got...))
	}
}

func TestListRefusesForeignTokens(t *testing.T) {
	t.Parallel()
	kv, table := filled(t, "a/1", "a/2", "b/1")
	own := store.List{Under: "a/", PageSize: 1, Filter: "f"}
	_, token, err := table.List(t.Context(), kv, own, nil)
	if err != nil || token == "" {
		t.Fatalf("first page: token %q, %v", token, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1]++
	tests := map[string]store.List{
		"another parent":   {Under: "b/", Filter: "f", PageToken: token},
		"another filter":   {Under: "a/", Filter: "g", PageToken: token},
		"another order":    {Under: "a/", Filter: "f", PageToken: token, Reverse: true},
		"parts moved":      {Under: "a/f", PageToken: token},
		"another place":    {Under: "a/", Filter: "f", PageToken: base64.RawURLEncoding.EncodeToString(raw)},
		"no base64":        {Under: "a/", Filter: "f", PageToken: "?" + token},
		"padded":           {Under: "a/", Filter: "f", PageToken: token + "="},
		"too short":        {Under: "a/", Filter: "f", PageToken: "YWJj"},
		"only a checksum":  {Under: "a/", Filter: "f", PageToken: token[:10]},
		"something else":   {Under: "a/", Filter: "f", PageToken: strings.Repeat("A", 5000)},
		"a line break":     {Under: "a/", Filter: "f", PageToken: token + "\n"},
		"a plain position": {Under: "a/", Filter: "f", PageToken: "a/1"},
	}
	for name, l := range tests {
		_, _, err := table.List(t.Context(), kv, l, nil)
		if !errs.Is(err, errs.Invalid) || errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PAGE_TOKEN {
			t.Errorf("%s: got %v, want an invalid page token", name, err)
		}
	}
	if _, _, err := store.NewTable[*wrapperspb.StringValue]("name/").List(t.Context(), kv, store.List{Under: "a/", Filter: "f", PageToken: token}, nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("another table: got %v, want an invalid page token", err)
	}
	own.PageToken, own.PageSize = token, 7 // the page size may change on the way
	if rows, _, err := table.List(t.Context(), kv, own, nil); err != nil || len(rows) != 1 || rows[0].ID != "a/2" {
		t.Errorf("the own token: %v, %v", rows, err)
	}
	if _, _, err := table.List(t.Context(), kv, store.List{PageSize: -1}, nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("a negative page size: %v, want invalid", err)
	}
}

func TestEtagsAreRevisions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rev := rapid.Int64Min(1).Draw(t, "rev")
		if got, err := store.ParseEtag(store.Etag(rev)); err != nil || got != rev {
			t.Fatalf("revision %d became %d, %v", rev, got, err)
		}
	})
	if rev, err := store.ParseEtag(""); err != nil || rev != store.AnyRev {
		t.Errorf("the empty etag: %d, %v; want any revision", rev, err)
	}
	for _, etag := range []string{"0", "-1", "01", "A", "+1", "1 ", "zzzzzzzzzzzzzzzzzz", `"1"`, "ä"} {
		_, err := store.ParseEtag(etag)
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.Invalid || len(e.Fields) != 1 || e.Fields[0].Path != "etag" {
			t.Errorf("etag %q: got %v, want an invalid field etag", etag, err)
		}
	}
}

func TestBoundsContainExactlyTheKeysOfTheRange(t *testing.T) {
	t.Parallel()
	awkward := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 0xfe, 0xff}), 0, 4).Draw(t, "bytes"))
	})
	rapid.Check(t, func(t *rapid.T) {
		r := store.ScanRange{Prefix: awkward.Draw(t, "prefix"), After: awkward.Draw(t, "after"), Reverse: rapid.Bool().Draw(t, "reverse")}
		key := awkward.Draw(t, "key")
		want := strings.HasPrefix(key, r.Prefix) && (r.After == "" || !r.Reverse && key > r.After || r.Reverse && key < r.After)
		start, end, empty := r.Bounds()
		got := !empty && key >= start && (end == "" || key < end)
		if want != got {
			t.Fatalf("%+v: key %q is inside: %v, want %v (%q, %q, %v)", r, key, got, want, start, end, empty)
		}
	})
}
