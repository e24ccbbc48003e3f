package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

const auditEvents = "auditEvents"

type auditEvent = *catalogv1.AuditEvent

var auditColumns = []column[auditEvent]{
	{"TIME", false, func(_ *printer, m auditEvent) string { return stamp(m.GetTime()) }},
	{"BY", false, func(_ *printer, m auditEvent) string { return m.GetActor() }},
	{"ACTION", false, func(_ *printer, m auditEvent) string { return m.GetAction() }},
	{"RESOURCE", false, func(_ *printer, m auditEvent) string { return m.GetResource() }},
	{"RESULT", false, func(_ *printer, m auditEvent) string { return m.GetCode() }},
	{"FROM", true, func(_ *printer, m auditEvent) string { return m.GetPeer() }},
	{"REQUEST", true, func(_ *printer, m auditEvent) string { return m.GetRequestId() }},
	{"ID", false, func(_ *printer, m auditEvent) string { return last(m.GetName()) }},
}

func (t *tow) auditCmd() *cobra.Command {
	return t.group("audit", "See who changed what", `The audit trail has every attempt to change something: who, what, before and after, from where, and how it ended, also what was
refused. Secrets and the contents of files are not in it.`,
		"  tow audit list --resource applications/shop --since 24h\n  tow audit list --code PERMISSION_DENIED\n  tow audit watch",
		t.listAuditCmd(), t.showAuditCmd(), t.watchAuditCmd())
}

// auditFlags choose events; each becomes a term of the filter.
type auditFlags struct {
	actor, action, resource, code, since, until, filter, format string
	limit                                                       int32
}

func (t *tow) listAuditCmd() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the audit trail, newest first", Args: noArgs, Aliases: []string{"ls"},
		Long: `Lists who changed what, newest first. The flags are joined by AND; --filter takes the API's own words, such as
'actor = "tokens/ci" AND code != "OK"', with the fields actor, method, action, resource, code, reason, peer, request_id and time.`,
		Example: "  tow audit list --actor tokens/ci --since 24h\n  tow audit list --resource applications/shop --code PERMISSION_DENIED -o json",
	}
	fs := cmd.Flags()
	fs.StringVar(&f.actor, "actor", "", "only what this one did, such as tokens/ci or users/ada")
	fs.StringVar(&f.action, "action", "", "only this action, such as deploy or rollback")
	fs.StringVar(&f.resource, "resource", "", "only what is about this resource or what is below it, such as applications/shop")
	fs.StringVar(&f.code, "code", "", "only this result, such as OK or PERMISSION_DENIED")
	fs.StringVar(&f.since, "since", "", "begin so long ago (1h), or at this time (2026-01-31T08:00:00Z)")
	fs.StringVar(&f.until, "until", "", "end so long ago, or at this time")
	fs.StringVar(&f.filter, "filter", "", "further terms in the API's own words")
	fs.Int32Var(&f.limit, "limit", 50, "show at most so many; 0 for all")
	t.outputFlag(cmd, &f.format)
	complete(cmd, "code", cobra.FixedCompletions([]string{
		"OK", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED",
	}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error { return t.listAudit(ctx, f) })
	return cmd
}

// text gives the filter in the API's words.
func (f auditFlags) text(now time.Time) (string, error) {
	var terms []string
	for _, s := range []struct{ field, value string }{
		{"actor", f.actor}, {"action", f.action}, {"resource", f.resource}, {"code", strings.ToUpper(f.code)},
	} {
		if s.value != "" {
			terms = append(terms, s.field+" = "+strconv.Quote(s.value))
		}
	}
	times, err := timeTerms(now, "time", f.since, f.until)
	if err != nil {
		return "", err
	}
	terms = append(terms, times...)
	if f.filter != "" {
		terms = append(terms, f.filter)
	}
	return strings.Join(terms, " AND "), nil
}

func (t *tow) listAudit(ctx context.Context, f auditFlags) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	if f.limit < 0 {
		return usagef("--limit is negative; give 0 for all, or more")
	}
	filter, err := f.text(t.Now())
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	var all []auditEvent
	token := ""
	for more := true; more; {
		size := int32(1000)
		if f.limit > 0 {
			size = min(f.limit-int32(len(all)), size)
		}
		l, err := c.access.ListAuditEvents(ctx, &catalogv1.ListAuditEventsRequest{PageSize: size, PageToken: token, Filter: filter})
		if err != nil {
			return err
		}
		all, token = append(all, l.GetAuditEvents()...), l.GetNextPageToken()
		more = token != "" && (f.limit == 0 || len(all) < int(f.limit))
	}
	if len(all) == 0 {
		t.notef("nothing in the audit trail matches")
	}
	err = printList(p, &catalogv1.ListAuditEventsResponse{AuditEvents: all, NextPageToken: token}, all, auditColumns)
	if err == nil && token != "" && p.format == "table" {
		t.notef("there are more; show them with --limit 0")
	}
	return err
}

func (t *tow) showAuditCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one event of the audit trail", Args: exactArgs("the id of an event, as `tow audit list` shows it"),
		Long:    "Shows all of one event: the request, and the resource before and after.",
		Example: "  tow audit show 00001769904000000000-abcdefghij",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeAuditEvents)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		id := strings.TrimPrefix(args[0], auditEvents+"/")
		if id == "" || strings.Contains(id, "/") {
			return usagef("%q is no id of an event; `tow audit list` shows them", args[0])
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		e, err := c.access.GetAuditEvent(ctx, &catalogv1.GetAuditEventRequest{Name: auditEvents + "/" + id})
		if err != nil {
			return err
		}
		if done, err := p.structured(e, e.GetName()); done {
			return err
		}
		return p.auditEvent(e)
	})
	return cmd
}

// auditEvent writes one event for a person.
func (p *printer) auditEvent(e auditEvent) error {
	result := e.GetCode()
	if e.GetReason() != "" {
		result += " (" + e.GetReason() + "): " + e.GetMessage()
	}
	texts := make([]string, 3)
	for i, s := range []*structpb.Struct{e.GetRequest(), e.GetBefore(), e.GetAfter()} {
		if s == nil {
			continue
		}
		b, err := jsonOf(proto.Message(s))
		if err != nil {
			return err
		}
		texts[i] = strings.TrimSpace(string(b))
	}
	return p.fields("Event", last(e.GetName()), "Time", stamp(e.GetTime()), "By", e.GetActor(), "Action", e.GetAction(), "Method", e.GetMethod(),
		"Resource", e.GetResource(), "Result", result, "From", e.GetPeer(), "Program", e.GetUserAgent(), "Request id", e.GetRequestId(),
		"Request", texts[0], "Before", texts[1], "After", texts[2])
}

func (t *tow) watchAuditCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "watch", Short: "Follow the audit trail", Args: noArgs,
		Long:    "Shows the newest events, and then each new one until Ctrl-C. It survives restarts of the server.",
		Example: "  tow audit watch -o json",
	}
	lineFormatFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if err := checkLineFormat(format); err != nil {
			return err
		}
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		token := ""
		return t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
			stream, err := c.access.WatchAuditEvents(ctx, &catalogv1.WatchAuditEventsRequest{ResumeToken: token})
			for got := false; ; got = true {
				var m *catalogv1.WatchAuditEventsResponse
				if err == nil {
					m, err = stream.Recv()
				}
				if err != nil {
					return got, err
				}
				token = m.GetResumeToken()
				if err := p.auditLine(m.GetAuditEvent()); err != nil {
					return true, err
				}
			}
		})
	})
	return cmd
}

func (p *printer) auditLine(e auditEvent) error {
	if e == nil {
		return nil
	}
	if p.format == "json" {
		return p.line(e)
	}
	_, err := fmt.Fprintf(p.out, "%s  %-24s %-20s %s %s\n", stamp(e.GetTime()), clean(e.GetActor()), e.GetAction(), clean(e.GetResource()), e.GetCode())
	return err
}
