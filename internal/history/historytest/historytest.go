// Package historytest is the suite that every engine of history passes.
package historytest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/history"
)

// Run tests an engine. open gives a store, empty at first; the next call of open gives the same again, as after a restart.
func Run(t *testing.T, open func(t *testing.T) history.Store) {
	ctx := t.Context()
	s := open(t)
	for name, test := range map[string]func(*testing.T){
		"what is put can be read from any offset": func(t *testing.T) { reads(ctx, t, s) },
		"what is missing is not found":            func(t *testing.T) { missing(ctx, t, s) },
		"a name that could leave the place is refused": func(t *testing.T) {
			for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", string(bytes.Repeat([]byte("x"), 129)), "a b", "ä"} {
				if err := s.Put(ctx, name, []byte("x")); !errs.Is(err, errs.Invalid) {
					t.Errorf("put %q: %v", name, err)
				}
				if _, err := s.Read(ctx, name, 0, 1); !errs.Is(err, errs.Invalid) {
					t.Errorf("read %q: %v", name, err)
				}
				if err := s.Delete(ctx, name); !errs.Is(err, errs.Invalid) {
					t.Errorf("delete %q: %v", name, err)
				}
			}
		},
		"an ended context ends": func(t *testing.T) {
			done, cancel := context.WithCancel(ctx)
			cancel()
			if err := s.Put(done, "late", nil); err == nil {
				t.Error("put worked")
			}
			if _, err := s.List(done); err == nil {
				t.Error("list worked")
			}
		},
	} {
		t.Run(name, test)
	}
	t.Run("segments are listed in order, and there after a restart", func(t *testing.T) { lists(ctx, t, open) })
	t.Run("many at once", func(t *testing.T) { manyAtOnce(ctx, t, s) })
}

func reads(ctx context.Context, t *testing.T, s history.Store) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	for range 2 { // the same again is fine
		must(t, s.Put(ctx, "big.seg", data))
	}
	for _, r := range [][2]int64{{0, 10}, {5, 1}, {999_990, 10}, {123_456, 70_000}} {
		got, err := s.Read(ctx, "big.seg", r[0], r[1])
		must(t, err)
		if !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes from %d are others", r[1], r[0])
		}
	}
	must(t, s.Delete(ctx, "big.seg"))
}

func missing(ctx context.Context, t *testing.T, s history.Store) {
	must(t, s.Put(ctx, "short.seg", []byte("short")))
	for name, r := range map[string][2]int64{"none.seg": {0, 1}, "short.seg": {0, 6}} {
		if _, err := s.Read(ctx, name, r[0], r[1]); !errs.Is(err, errs.NotFound) {
			t.Errorf("read of %s: %v, want not found", name, err)
		}
	}
	if _, err := s.Read(ctx, "short.seg", 5, 1); !errs.Is(err, errs.NotFound) {
		t.Errorf("read behind the end: %v, want not found", err)
	}
	must(t, s.Delete(ctx, "none.seg"))
	must(t, s.Delete(ctx, "short.seg"))
	if _, err := s.Read(ctx, "short.seg", 0, 1); !errs.Is(err, errs.NotFound) {
		t.Errorf("read of a removed segment: %v", err)
	}
}

func lists(ctx context.Context, t *testing.T, open func(t *testing.T) history.Store) {
	s := open(t)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("s-%02d.seg", 24-i)
		want = append(want, name)
		must(t, s.Put(ctx, name, []byte(name)))
	}
	slices.Sort(want)
	again := open(t)
	got, err := again.List(ctx)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for _, name := range want {
		b, err := again.Read(ctx, name, 0, int64(len(name)))
		must(t, err)
		if string(b) != name {
			t.Errorf("%s holds %q", name, b)
		}
		must(t, again.Delete(ctx, name))
	}
}

func manyAtOnce(ctx context.Context, t *testing.T, s history.Store) {
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			name, data := fmt.Sprintf("c-%d.seg", i%4), fmt.Appendf(nil, "content %d", i%4)
			if err := s.Put(ctx, name, data); err != nil {
				t.Errorf("put: %v", err)
				return
			}
			if got, err := s.Read(ctx, name, 0, int64(len(data))); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	all.Wait()
	for i := range 4 {
		must(t, s.Delete(ctx, fmt.Sprintf("c-%d.seg", i)))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
