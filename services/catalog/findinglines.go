package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxFindingLines bounds a row of findings. Where more are open, live.findings has their number.
const maxFindingLines = 100

// findings is the row of an environment's open findings: one line each, by their names, so that a plan can tell what drifts
// without asking drift. Gone are those that were resolved lately, so that a late event does not bring them back.
type findings struct {
	Open map[string]findingLine `json:"open,omitempty"`
	Gone map[string]time.Time   `json:"gone,omitempty"`
}

type findingLine struct {
	Line string    `json:"line"`
	At   time.Time `json:"at"`
}

// noteFinding takes in what drift says of one finding; open is how many there are now. Values are left out of the line: it is
// about where and by whom.
func (s *Service) noteFinding(ctx context.Context, environment string, f *driftv1.Finding, open int32, at time.Time) error {
	env, err := rules.ParseEnv("environment", environment)
	if err != nil {
		return err
	}
	return retry(ctx, func() error {
		row, rev, err := s.findingRow(ctx, env)
		if err != nil {
			return err
		}
		if !row.note(f, open, at) {
			return nil
		}
		value, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encode %q: %w", findingPrefix, err)
		}
		var tx store.Tx
		key := findingPrefix + envKey(env)
		tx.If(store.IfExists(environments.Key(envKey(env)))).If(store.IfRev(key, rev)).Put(key, value)
		_, err = s.cfg.KV.Commit(ctx, tx)
		if k, ok := store.ConflictKey(err); ok && k == environments.Key(envKey(env)) {
			return nil // the environment is gone, and with it all that drifted
		}
		return err
	})
}

// note changes the row; false when it stays as it is.
func (r *findings) note(f *driftv1.Finding, open int32, at time.Time) bool {
	name := f.GetName()
	if gone, ok := r.Gone[name]; name == "" || ok && !at.After(gone) {
		return false
	}
	old, known := r.Open[name]
	if known && at.Before(old.At) {
		return false
	}
	if f.GetResolveTime() != nil {
		delete(r.Open, name)
		put(&r.Gone, name, at)
		if open == 0 {
			r.Open = nil
		}
		dropOldest(r.Gone, func(t time.Time) time.Time { return t })
		return true
	}
	line := findingLine{Line: lineOf(f), At: at}
	if known && old == line {
		return false
	}
	delete(r.Gone, name)
	put(&r.Open, name, line)
	dropOldest(r.Open, func(l findingLine) time.Time { return l.At })
	return true
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

func dropOldest[V any](m map[string]V, at func(V) time.Time) {
	for len(m) > maxFindingLines {
		oldest := ""
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if oldest == "" || at(m[name]).Before(at(m[oldest])) {
				oldest = name
			}
		}
		delete(m, oldest)
	}
}

// lineOf tells a finding in one line: "Service web spec.ports[port=80] added by kubectl".
func lineOf(f *driftv1.Finding) string {
	what := map[driftv1.Finding_Kind]string{
		driftv1.Finding_KIND_CHANGED: "changed", driftv1.Finding_KIND_REMOVED: "removed", driftv1.Finding_KIND_EXTRA: "added",
		driftv1.Finding_KIND_MISSING: "deleted", driftv1.Finding_KIND_ORPHANED: "left over", driftv1.Finding_KIND_RESIDUE: "left over",
		driftv1.Finding_KIND_UNVERIFIED: "cannot be judged",
	}[f.GetKind()]
	if what == "" {
		what = "differs"
	}
	words := []string{f.GetObjectKind(), f.GetObjectName()}
	if f.GetField() != "" {
		words = append(words, f.GetField())
	}
	words = append(words, what)
	if f.GetManager() != "" {
		words = append(words, "by", f.GetManager())
	}
	return strings.Join(words, " ")
}

func (s *Service) findingRow(ctx context.Context, env rules.Env) (*findings, int64, error) {
	e, err := s.cfg.KV.Get(ctx, findingPrefix+envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return &findings{}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	row := &findings{}
	if err := json.Unmarshal(e.Value, row); err != nil {
		return nil, 0, fmt.Errorf("row %q is damaged: %w", e.Key, err)
	}
	return row, e.Rev, nil
}

// findingLines gives what drifts in an environment, a line each. Where more is open than there are lines, the last says so.
func (s *Service) findingLines(ctx context.Context, env rules.Env) ([]string, error) {
	row, _, err := s.findingRow(ctx, env)
	if err != nil {
		return nil, err
	}
	live, err := s.live(ctx, env)
	if err != nil {
		return nil, err
	}
	open := int(live.Msg.GetLive().GetFindings())
	if open == 0 {
		return nil, nil // the last report of health said so, whatever single events were missed
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(row.Open)) {
		out = append(out, row.Open[name].Line)
	}
	slices.Sort(out)
	if more := open - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out, nil
}
