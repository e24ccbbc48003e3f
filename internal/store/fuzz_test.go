package store_test

import (
	"context"
	"fmt"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

// Whatever stands in a page token, the list answers with a page of its own rows or says that the token is wrong.
func FuzzPageTokens(f *testing.F) {
	kv := memkv.New()
	f.Cleanup(func() { _ = kv.Close() })
	table := store.NewTable[*catalogv1.Application]("applications/")
	for i := range 10 {
		var tx store.Tx
		id := fmt.Sprintf("app%d", i)
		if err := table.Create(&tx, id, &catalogv1.Application{Name: id}); err != nil {
			f.Fatal(err)
		}
		if _, err := kv.Commit(context.Background(), tx); err != nil {
			f.Fatal(err)
		}
	}
	_, token, err := table.List(context.Background(), kv, store.List{PageSize: 3}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token, "", 3, false)
	f.Add("", "app", 0, true)
	f.Add(token+"=", "app1", 1000, false)
	f.Fuzz(func(t *testing.T, token, filter string, size int, reverse bool) {
		rows, next, err := table.List(t.Context(), kv, store.List{PageToken: token, Filter: filter, PageSize: size, Reverse: reverse}, nil)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("token %q: %v is not an error of the caller", token, err)
			}
			return
		}
		if size > 0 && len(rows) > size {
			t.Errorf("%d rows on a page of %d", len(rows), size)
		}
		if next != "" {
			if _, _, err := table.List(t.Context(), kv, store.List{PageToken: next, Filter: filter, PageSize: size, Reverse: reverse}, nil); err != nil {
				t.Errorf("the list's own token is refused: %v", err)
			}
		}
	})
}
