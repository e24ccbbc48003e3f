package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
)

// What the API's Watch methods have in common: first everything that is there, then an answer that says so, then each change;
// a token goes on behind an answer. `tow ... list --watch` is made of them, for every list that has one.

// watchAnswer is one answer of a Watch method.
type watchAnswer interface {
	GetRemoved() bool
	GetCaughtUp() bool
	GetResumeToken() string
}

// listChange is a watch's answer about one item.
type listChange[T named] struct {
	item              T
	removed, caughtUp bool
	token             string
}

// follower opens a watch behind a token and gives the function that receives its answers.
type follower[T named] func(ctx context.Context, c *client, token string) (func() (listChange[T], error), error)

// receiver makes the answers of any watch alike.
func receiver[P watchAnswer, T named](stream interface{ Recv() (P, error) }, err error, item func(P) T) (func() (listChange[T], error), error) {
	if err != nil {
		return nil, err
	}
	return func() (listChange[T], error) {
		r, err := stream.Recv()
		if err != nil {
			return listChange[T]{}, err
		}
		return listChange[T]{item(r), r.GetRemoved(), r.GetCaughtUp(), r.GetResumeToken()}, nil
	}, nil
}

const watchFlagName = "watch"

func watchFlag(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVar(watch, watchFlagName, false, "go on with each change until Ctrl-C; with -o json one object a line: {\"change\": ..., \"object\": ...}")
}

// The words for what became of an item while it was watched; they stand in the JSON too.
const (
	itemPresent = "PRESENT"
	itemAdded   = "ADDED"
	itemChanged = "CHANGED"
	itemRemoved = "REMOVED"
)

// listWatch is a list that is kept up to date. At a terminal the whole list is drawn in place; elsewhere the list is followed by
// a line for each change, so that a log of it can be read.
type listWatch[T named] struct {
	t       *tow
	p       *printer
	columns []column[T]
	// key tells items apart; their names where it is nil.
	key func(T) string
	// order sorts the list; by name where it is nil.
	order func(a, b T) int
	// limit is how many of the list are shown at the beginning; 0 for all.
	limit int
	// none is told when the list is empty.
	none string

	known map[string]T
	// fresh is a list that is just being received; nil behind its end.
	fresh  map[string]T
	token  string
	widths []int
	screen screen
	begun  bool
}

// run follows until ctx ends. A connection that is lost is made again and goes on behind what was seen; where the server does not
// know that any more, or is another one, everything is listed again and only the differences are told.
func (w *listWatch[T]) run(ctx context.Context, c *client, open follower[T]) error {
	if w.p.format == "yaml" {
		return usagef("--watch writes table, wide, json or name, not yaml")
	}
	if w.key == nil {
		w.key = func(m T) string { return m.GetName() }
	}
	w.screen.t = w.t
	return w.t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
		if w.fresh = nil; w.token == "" {
			w.fresh = map[string]T{}
		}
		receive, err := open(ctx, c, w.token)
		for got := false; ; got = true {
			var ch listChange[T]
			if err == nil {
				ch, err = receive()
			}
			if errs.Is(err, errs.OutOfRange) && w.token != "" {
				w.token = ""
				return true, io.EOF // begin anew
			}
			if err != nil {
				return got, err
			}
			if err := w.take(ch); err != nil {
				return true, err
			}
		}
	})
}

// take notes an answer and tells what is new by it.
func (w *listWatch[T]) take(ch listChange[T]) error {
	if ch.token != "" {
		w.token = ch.token
	}
	switch {
	case ch.caughtUp:
		if w.fresh == nil {
			return nil
		}
		before := w.known
		w.known, w.fresh = w.fresh, nil
		return w.listed(before)
	case w.fresh != nil:
		w.fresh[w.key(ch.item)] = ch.item
		return nil
	}
	if w.known == nil {
		w.known = map[string]T{}
	}
	return w.changed(ch)
}

func (w *listWatch[T]) changed(ch listChange[T]) error {
	key := w.key(ch.item)
	before, known := w.known[key]
	switch {
	case ch.removed && !known:
		return nil
	case ch.removed:
		delete(w.known, key)
		return w.tell(itemRemoved, before)
	case known && proto.Equal(before, ch.item):
		return nil
	}
	w.known[key] = ch.item
	if known {
		return w.tell(itemChanged, ch.item)
	}
	return w.tell(itemAdded, ch.item)
}

// listed tells what a listing has that the one before had not. The first one is shown as it is.
func (w *listWatch[T]) listed(before map[string]T) error {
	if !w.begun {
		w.begun = true
		return w.first()
	}
	for _, m := range w.sorted(before) {
		if _, there := w.known[w.key(m)]; !there {
			if err := w.tell(itemRemoved, m); err != nil {
				return err
			}
		}
	}
	for _, m := range w.sorted(w.known) {
		was, there := before[w.key(m)]
		var err error
		switch {
		case !there:
			err = w.tell(itemAdded, m)
		case !proto.Equal(was, m):
			err = w.tell(itemChanged, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *listWatch[T]) sorted(items map[string]T) []T {
	order := w.order
	if order == nil {
		order = func(a, b T) int { return strings.Compare(a.GetName(), b.GetName()) }
	}
	return slices.SortedFunc(maps.Values(items), order)
}

// shown is the part of the list that is shown.
func (w *listWatch[T]) shown() []T {
	all := w.sorted(w.known)
	if w.limit > 0 && len(all) > w.limit {
		all = all[:w.limit]
	}
	return all
}

func (w *listWatch[T]) first() error {
	items := w.shown()
	if w.p.format == "json" || w.p.format == "name" {
		for _, m := range items {
			if err := w.line(itemPresent, m); err != nil {
				return err
			}
		}
		return nil
	}
	if w.t.OutTerminal {
		return w.redraw()
	}
	if len(items) == 0 && w.none != "" {
		w.t.notef("%s", w.none)
	}
	rows := [][]string{append([]string{"CHANGE"}, titlesOf(w.p, w.columns)...)}
	for _, m := range items {
		rows = append(rows, append([]string{itemPresent}, cellsOf(w.p, m, w.columns)...))
	}
	w.widths = columnWidths(rows)
	w.widths[0] = max(w.widths[0], utf8.RuneCountInString(itemPresent))
	return w.p.rowsWith(w.widths, rows, true)
}

// tell shows one change.
func (w *listWatch[T]) tell(what string, m T) error {
	switch {
	case w.p.format == "json", w.p.format == "name":
		return w.line(what, m)
	case w.t.OutTerminal:
		return w.redraw()
	}
	w.p.now = w.t.Now()
	row := append([]string{what}, cellsOf(w.p, m, w.columns)...)
	if w.widths == nil {
		w.widths = columnWidths([][]string{row})
	}
	return w.p.rowsWith(w.widths, [][]string{row}, false)
}

func (w *listWatch[T]) redraw() error {
	var b bytes.Buffer
	p := *w.p
	p.out, p.now = &b, w.t.Now()
	items := w.shown()
	if err := printTable(&p, items, w.columns); err != nil {
		return err
	}
	if len(items) == 0 {
		b.WriteString(w.none + "\n")
	}
	w.screen.draw(b.String())
	return nil
}

// line writes a change for a program: as an object of one line, or the item's name.
func (w *listWatch[T]) line(what string, m T) error {
	if w.p.format == "name" {
		_, err := fmt.Fprintln(w.p.out, m.GetName())
		return err
	}
	object, err := jsonCompact(m)
	if err != nil {
		return err
	}
	text, err := json.Marshal(struct {
		Change string          `json:"change"`
		Object json.RawMessage `json:"object"`
	}{what, object})
	if err == nil {
		_, err = fmt.Fprintf(w.p.out, "%s\n", text)
	}
	return err
}
