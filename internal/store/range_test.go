package store_test

import (
	"fmt"
	"slices"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func TestARangeHasEachRowOnceInItsDirectionWhateverThePage(t *testing.T) {
	kv := memkv.New()
	defer kv.Close()
	table := store.NewTable[*catalogv1.Application]("applications/")
	var want []string
	for i := range 7 {
		var tx store.Tx
		id := fmt.Sprintf("a/%d", i)
		if err := table.Create(&tx, id, &catalogv1.Application{Name: id}); err != nil {
			t.Fatal(err)
		}
		tx.Put("applications/b/"+id, nil).Put("other/"+id, nil)
		if _, err := kv.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	for _, reverse := range []bool{false, true} {
		for page := range 9 { // 0 is all at once
			for after := -1; after < 7; after++ {
				r := store.ScanRange{Prefix: "a/", Limit: page, Reverse: reverse}
				expect := slices.Clone(want)
				if after >= 0 {
					r.After, expect = want[after], expect[after+1:]
					if reverse {
						expect = slices.Clone(want[:after])
					}
				}
				if reverse {
					slices.Reverse(expect)
				}
				var got []string
				for row, err := range table.Range(t.Context(), kv, r) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, row.Msg.GetName())
				}
				if !slices.Equal(got, expect) {
					t.Errorf("%+v: %v, want %v", r, got, expect)
				}
			}
		}
	}
}
