package catalog

import (
	"context"
	"strings"

	"github.com/towpath-dev/towpath/internal/store"
)

// findings moves old records of all environments. Those that are open stay where they are; the others around them go.
func (a *archiver) findings(ctx context.Context) error {
	for after := ""; ; {
		first, err := a.raw.Scan(ctx, store.ScanRange{Prefix: findingRecords.Prefix(), After: after, Limit: 1})
		if err != nil || len(first) == 0 {
			return err
		}
		prefix := first[0].Key[:strings.LastIndexByte(first[0].Key, '/')+1]
		if err := a.findingsOf(ctx, prefix); err != nil {
			return err
		}
		after = prefix + "\xff" // behind all records of the environment
	}
}

func (a *archiver) findingsOf(ctx context.Context, prefix string) error {
	crowded, err := a.nth(ctx, prefix, a.cfg.Archive.MaxFindings)
	if err != nil {
		return err
	}
	after, err := a.border(ctx, prefix)
	if err != nil {
		return err
	}
	var batch []store.Entry
	for e, err := range store.Range(ctx, a.raw, store.ScanRange{Prefix: prefix, After: after}) {
		if err != nil {
			return err
		}
		row, err := findingRecords.Decode(e)
		if err != nil {
			return err
		}
		if e.Key > crowded && !a.isOld(row.Msg.GetOnsetTime().AsTime(), 0) {
			break
		}
		if row.Msg.GetEndTime() == nil || e.Key > crowded && !a.isOld(row.Msg.GetEndTime().AsTime(), 0) {
			continue
		}
		if batch = append(batch, e); len(batch) == blockRows {
			if err := a.add(ctx, batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	if len(batch) < a.cfg.Archive.MinRows && !a.overdue(batch) {
		return nil
	}
	return a.add(ctx, batch)
}

// overdue reports whether so few records move because the first of them is much older than it has to be.
func (a *archiver) overdue(batch []store.Entry) bool {
	if len(batch) == 0 {
		return false
	}
	row, err := findingRecords.Decode(batch[0])
	return err == nil && a.isOld(row.Msg.GetOnsetTime().AsTime(), a.cfg.Archive.After/3)
}
