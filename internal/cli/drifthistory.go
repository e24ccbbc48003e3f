package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func decisionWord(r findingRecord) string {
	switch {
	case r.GetEndTime() == nil && r.GetDraft() != "":
		return "accepted, not deployed"
	case r.GetEndTime() == nil:
		return "open"
	case r.GetDecision() == catalogv1.FindingRecord_DECISION_UNSPECIFIED:
		return "over"
	}
	return strings.ToLower(word(r.GetDecision().String(), "DECISION_"))
}

func recordColumns(all bool) []column[findingRecord] {
	columns := []column[findingRecord]{
		{"RECORD", false, func(_ *printer, r findingRecord) string { return last(r.GetName()) }},
		{"ONSET", false, func(p *printer, r findingRecord) string { return p.when(r.GetOnsetTime()) }},
		{"END", false, func(p *printer, r findingRecord) string { return p.when(r.GetEndTime()) }},
		{"KIND", false, func(_ *printer, r findingRecord) string { return findingKind(r.GetFinding().GetKind()) }},
		{"OBJECT", false, func(_ *printer, r findingRecord) string { return objectOf(r.GetFinding()) }},
		{"FIELD", false, func(_ *printer, r findingRecord) string { return r.GetFinding().GetField() }},
		{"BY", false, func(_ *printer, r findingRecord) string { return doneBy(r.GetFinding()) }},
		{"DECISION", false, func(_ *printer, r findingRecord) string { return decisionWord(r) }},
		{"DECIDED BY", false, func(_ *printer, r findingRecord) string { return r.GetDecideActor() }},
		{"REASON", true, func(p *printer, r findingRecord) string { return p.value(r.GetReason()) }},
		{"DRAFT", true, func(_ *printer, r findingRecord) string { return shortOrEmpty(r.GetDraft()) }},
		{"DEPLOYMENT", true, func(_ *printer, r findingRecord) string { return shortOrEmpty(r.GetDeployment()) }},
	}
	if !all {
		return columns
	}
	env := column[findingRecord]{"ENVIRONMENT", false, func(_ *printer, r findingRecord) string { return short(envOf(r.GetName())) }}
	return append([]column[findingRecord]{env}, columns...)
}

// doneBy names the person where the audit log does, else the program.
func doneBy(f finding) string {
	if f.GetActor() != "" {
		return f.GetActor()
	}
	return f.GetManager()
}

// recordFlags say which records to list.
type recordFlags struct {
	open                         bool
	where, kind, actor, decision string
	since, until, filter         string
}

func (f *recordFlags) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.open, "open", false, "only those that are open")
	cmd.Flags().StringVar(&f.where, "where", "", "only those in: cluster, git")
	cmd.Flags().StringVar(&f.kind, "kind", "", "only those of objects of this kind, such as Service")
	cmd.Flags().StringVar(&f.actor, "actor", "", "only those that this person did, as the audit log names them")
	cmd.Flags().StringVar(&f.decision, "decision", "", "only those that ended so: "+strings.ToLower(strings.Join(enumWords(catalogv1.FindingRecord_Decision_name, "DECISION_"), ", ")))
	cmd.Flags().StringVar(&f.since, "since", "", "only those that began since so long ago (12h), or a time (2026-01-31T08:00:00Z)")
	cmd.Flags().StringVar(&f.until, "until", "", "only those that began until so long ago or a time")
	cmd.Flags().StringVar(&f.filter, "filter", "", `terms of the API's filter, such as 'field = "spec.replicas" AND decide_actor = "users/ada"'`)
	complete(cmd, "where", cobra.FixedCompletions([]string{"cluster", "git"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "decision", cobra.FixedCompletions(enumWords(catalogv1.FindingRecord_Decision_name, "DECISION_"), cobra.ShellCompDirectiveNoFileComp))
}

func (f *recordFlags) text(now time.Time) (string, error) {
	var terms []string
	if f.open {
		terms = append(terms, "open = true")
	}
	for _, term := range []struct{ field, value string }{
		{"where", strings.ToUpper(f.where)}, {"kind", f.kind}, {"actor", f.actor}, {"decision", strings.ToUpper(f.decision)},
	} {
		if term.value != "" {
			terms = append(terms, term.field+" = "+strconv.Quote(term.value))
		}
	}
	times, err := timeTerms(now, "onset_time", f.since, f.until)
	if err != nil {
		return "", err
	}
	terms = append(terms, times...)
	if f.filter != "" {
		terms = append(terms, f.filter)
	}
	return strings.Join(terms, " AND "), nil
}

func (t *tow) driftHistoryCmd() *cobra.Command {
	var scope scopeFlags
	var of recordFlags
	var format string
	var limit int32
	cmd := &cobra.Command{
		Use: "history -e APP/ENV | -A", Short: "List findings with how they ended and who decided", Args: noArgs,
		Long: `Lists the records of findings in cluster and Git, newest first: when each began and ended, what it was, who did it, what became of it
and who decided so. Records stay when their environment goes.`,
		Example: `  tow drift history -e shop/dev
  tow drift history -A --since 168h --decision reverted -o wide`,
	}
	scope.bind(t, cmd)
	of.bind(cmd)
	cmd.Flags().Int32Var(&limit, "limit", 50, "at most so many; 0 for all")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		parent, err := scope.parent()
		if err != nil {
			return err
		}
		filter, err := of.text(t.Now())
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit is negative; give 0 for all, or more")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		all, err := c.recordsUpTo(ctx, &catalogv1.ListFindingRecordsRequest{Parent: parent, Filter: filter}, int(limit))
		if err != nil {
			return err
		}
		if len(all) == 0 && (format == "table" || format == "wide") {
			t.notef("no findings on record")
		}
		return printList(p, &catalogv1.ListFindingRecordsResponse{FindingRecords: all}, all, recordColumns(scope.all))
	})
	return cmd
}

// recordsUpTo lists records, at most so many where limit is not 0.
func (c *client) recordsUpTo(ctx context.Context, req *catalogv1.ListFindingRecordsRequest, limit int) ([]findingRecord, error) {
	var all []findingRecord
	for {
		req.PageSize = 1000
		if limit > 0 {
			req.PageSize = int32(min(1000, limit-len(all)))
		}
		l, err := c.findingService().ListFindingRecords(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, l.GetFindingRecords()...)
		if req.PageToken = l.GetNextPageToken(); req.PageToken == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
	}
}

// record shows a record in full.
func (p *printer) record(r findingRecord) error {
	f := r.GetFinding()
	return p.fields("Record", last(r.GetName()), "Environment", short(envOf(r.GetName())), "Finding", last(f.GetName()),
		"Kind", findingKind(f.GetKind()), "Object", strings.TrimSpace(f.GetApiVersion()+" "+objectOf(f)), "Field", f.GetField(),
		"Git says", valueText(f.GetDesired()), "Cluster has", valueText(f.GetLive()), "Manager", f.GetManager(), "By", f.GetActor(),
		"Known by", f.GetAttribution(), "Onset", stamp(r.GetOnsetTime()), "End", stamp(r.GetEndTime()), "Decision", decisionWord(r),
		"Decided by", r.GetDecideActor(), "Decided", stamp(r.GetDecideTime()), "Reason", r.GetReason(), "Draft", shortOrEmpty(r.GetDraft()),
		"Rule", r.GetIgnoreRule(), "Deployment", shortOrEmpty(r.GetDeployment()))
}
