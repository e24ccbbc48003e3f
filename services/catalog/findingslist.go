package catalog

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// recordFields are what records can be filtered by. kind is that of the object, change that of the finding.
var recordFields = []rules.FilterField{
	{Name: "open", Values: []string{"true", "false"}}, {Name: "where", Values: []string{"CLUSTER", "GIT"}},
	{Name: "kind"}, {Name: "object"}, {Name: "field"}, {Name: "manager"}, {Name: "actor"},
	{Name: "change", Values: enumNames(driftv1.Finding_Kind_name, "KIND_")},
	{Name: "decision", Values: enumNames(catalogv1.FindingRecord_Decision_name, "DECISION_")}, {Name: "decide_actor"},
	{Name: "finding"}, {Name: "draft"}, {Name: "deployment"},
	{Name: "onset_time", Kind: rules.TimeField}, {Name: "end_time", Kind: rules.TimeField},
}

func recordField(r *catalogv1.FindingRecord) func(string) rules.FilterValue {
	f := r.GetFinding()
	return func(field string) rules.FilterValue {
		switch field {
		case "open":
			return rules.FilterText(strconv.FormatBool(r.GetEndTime() == nil))
		case "where":
			if rules.InGit(f) {
				return rules.FilterText("GIT")
			}
			return rules.FilterText("CLUSTER")
		case "kind":
			return rules.FilterText(f.GetObjectKind())
		case "object":
			return rules.FilterText(f.GetObjectName())
		case "field":
			return rules.FilterText(f.GetField())
		case "manager":
			return rules.FilterText(f.GetManager())
		case "actor":
			return rules.FilterText(f.GetActor())
		case "change":
			return rules.FilterText(strings.TrimPrefix(f.GetKind().String(), "KIND_"))
		case "decision":
			return rules.FilterText(strings.TrimPrefix(r.GetDecision().String(), "DECISION_"))
		case "decide_actor":
			return rules.FilterText(r.GetDecideActor())
		case "finding":
			return rules.FilterText(f.GetName())
		case "draft":
			return rules.FilterText(r.GetDraft())
		case "deployment":
			return rules.FilterText(r.GetDeployment())
		case "end_time":
			if r.GetEndTime() == nil {
				return rules.FilterTime(time.Time{})
			}
			return rules.FilterTime(r.GetEndTime().AsTime())
		}
		return rules.FilterTime(r.GetOnsetTime().AsTime())
	}
}

// recordList is one call of ListFindingRecords.
type recordList struct {
	app, env string
	filter   rules.Filter
	size     int
	identity []string
	// place is where the page begins, see newestRecords.
	place string
}

// GetFindingRecord gives a record.
func (s findingServer) GetFindingRecord(ctx context.Context, r *catalogv1.GetFindingRecordRequest) (*catalogv1.FindingRecord, error) {
	env, id, err := rules.ParseRecord("name", r.GetName())
	if err != nil {
		return nil, err
	}
	row, err := findingRecords.Get(ctx, s.cfg.KV, envKey(env)+"/"+id)
	if err != nil {
		return nil, orNotFound(err, r.GetName(), "see `tow drift history -e %s/%s`", env.App, env.ID)
	}
	return row.Msg, nil
}

// ListFindingRecords gives records, newest onset first, also of environments that are gone. What a page costs does not depend on how
// many records there are; of those that are open there is an index.
func (s findingServer) ListFindingRecords(ctx context.Context, r *catalogv1.ListFindingRecordsRequest) (*catalogv1.ListFindingRecordsResponse, error) {
	filter, err := rules.ParseFilter(r.GetFilter(), recordFields)
	if err != nil {
		return nil, err
	}
	app, env, err := s.historyOf(ctx, r.GetParent())
	if err != nil {
		return nil, err
	}
	l := recordList{app: app, env: env, filter: filter, size: int(r.GetPageSize()), identity: []string{findingRecords.Prefix(), app, env, filter.String()}}
	if l.size == 0 {
		l.size = store.DefaultPageSize
	}
	if l.place, err = store.ParsePageToken(r.GetPageToken(), l.identity...); err != nil {
		return nil, err
	}
	if open, _ := filter.Only("open"); open == "true" {
		return s.listOpen(ctx, l)
	}
	return s.listRecords(ctx, l)
}

// listOpen gives a page of the open findings' records.
func (s *Service) listOpen(ctx context.Context, l recordList) (*catalogv1.ListFindingRecordsResponse, error) {
	under := ""
	switch {
	case l.app != everything && l.env != everything:
		under = l.app + "/" + l.env + "/"
	case l.app != everything:
		under = l.app + "/"
	}
	rows, err := s.openRecords(ctx, under)
	if err != nil {
		return nil, err
	}
	order := func(id string) string { return id[strings.LastIndexByte(id, '/')+1:] + "/" + id }
	rows = slices.DeleteFunc(rows, func(row store.Row[*catalogv1.FindingRecord]) bool {
		return l.place != "" && order(row.ID) >= l.place || !l.filter.Match(recordField(row.Msg)) ||
			l.env != everything && envOfPart(row.ID).ID != l.env
	})
	slices.SortFunc(rows, func(a, b store.Row[*catalogv1.FindingRecord]) int { return strings.Compare(order(b.ID), order(a.ID)) })
	out := &catalogv1.ListFindingRecordsResponse{}
	for i, row := range rows {
		if i == l.size {
			out.NextPageToken = store.PageToken(order(rows[i-1].ID), l.identity...)
			break
		}
		out.FindingRecords = append(out.FindingRecords, row.Msg)
	}
	return out, nil
}

// listRecords gives a page of all records.
func (s *Service) listRecords(ctx context.Context, l recordList) (*catalogv1.ListFindingRecordsResponse, error) {
	from, to := l.filter.Between("onset_time")
	place := l.place
	if place == "" && !to.IsZero() {
		place = l.placeAt(to.Add(time.Microsecond))
	}
	out := &catalogv1.ListFindingRecordsResponse{}
	examined := 0
	err := s.newestRecords(ctx, l, place, func(at, id string, rec *catalogv1.FindingRecord) bool {
		if rec.GetOnsetTime().AsTime().Before(from) {
			return false
		}
		keep := (l.env == everything || envOfPart(id).ID == l.env) && l.filter.Match(recordField(rec))
		if len(out.GetFindingRecords()) == l.size && keep || examined == maxExamined {
			out.NextPageToken = store.PageToken(place, l.identity...)
			return false
		}
		examined++
		if place = at; keep {
			out.FindingRecords = append(out.FindingRecords, rec)
		}
		return true
	})
	return out, err
}

// one reports whether the list is of one environment, which has its records in their order.
func (l recordList) one() bool { return l.app != everything && l.env != everything }

// placeAt is a place from which only records follow whose onset is before a time.
func (l recordList) placeAt(t time.Time) string {
	stamp, _, _ := strings.Cut(rules.RecordID("/x", t), "-")
	if l.one() {
		return l.app + "/" + l.env + "/" + stamp
	}
	return l.app + "/" + stamp
}

// newestRecords gives records from a place on, "" for the newest, in the order of their onset. Each comes with its place and id.
func (s *Service) newestRecords(ctx context.Context, l recordList, place string, yield func(place, id string, rec *catalogv1.FindingRecord) bool) error {
	prefix := recordTimes.Prefix()
	r := store.ScanRange{Prefix: recordTimes.Key(l.app + "/"), Reverse: true, Limit: 256}
	if l.one() {
		prefix, r.Prefix = findingRecords.Prefix(), findingRecords.Key(l.app+"/"+l.env+"/")
	}
	if place != "" {
		r.After = prefix + place
	}
	if l.filter.Empty() {
		r.Limit = min(l.size+1, r.Limit)
	}
	for {
		page, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return err
		}
		for _, e := range page {
			at := strings.TrimPrefix(e.Key, prefix)
			id := at
			if l.one() {
				row, err := findingRecords.Decode(e)
				if err != nil {
					return err
				}
				if !yield(at, id, row.Msg) {
					return nil
				}
				continue
			}
			id = strings.SplitN(at, "/", 3)[2]
			row, err := findingRecords.Get(ctx, s.cfg.KV, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !yield(at, id, row.Msg) {
				return nil
			}
		}
		if len(page) < r.Limit {
			return nil
		}
		r.After = page[len(page)-1].Key
	}
}

// envOfPart gives the environment of a row whose id is {application}/{environment}/ and more.
func envOfPart(id string) rules.Env {
	p := strings.SplitN(id, "/", 3)
	if len(p) < 3 {
		return rules.Env{}
	}
	return rules.Env{App: p[0], ID: p[1]}
}
