package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// lineFormats are for what never ends: one line for each thing, for people or as JSON.
var lineFormats = []string{"table", "json"}

func lineFormatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "table", "output: "+strings.Join(lineFormats, ", ")+"; json is one object a line")
	complete(cmd, "output", cobra.FixedCompletions(lineFormats, cobra.ShellCompDirectiveNoFileComp))
}

func checkLineFormat(format string) error {
	if !slices.Contains(lineFormats, format) {
		return usagef("--output %q is none of %s", format, strings.Join(lineFormats, ", "))
	}
	return nil
}

// line writes a message as one line of JSON.
func (p *printer) line(m proto.Message) error {
	b, err := jsonCompact(m)
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(b, '\n'))
	return err
}

type eventFlags struct {
	env, app, prefix, since, format string
	follow                          bool
}

func (t *tow) eventsCmd() *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{
		Use: "events", Short: "Show what happened, or what happens", Args: noArgs,
		Long: `Shows the stored events of the last hour, or since another time, and ends. With --follow it goes on with new ones until Ctrl-C,
and begins with new ones unless --since is given.`,
		Example: `  tow events -e shop/dev
  tow events --app shop --type drift. --since 24h
  tow events --follow -o json`,
	}
	t.envFlagVar(cmd, &f.env, "only events of this environment, such as shop/dev")
	cmd.Flags().StringVar(&f.app, "app", "", "only events of this application")
	cmd.Flags().StringVar(&f.prefix, "type", "", "only types that start so, such as drift. or deployment.committed")
	cmd.Flags().StringVar(&f.since, "since", "", "begin so long ago (1h), or at this time (2026-01-31T08:00:00Z)")
	cmd.Flags().BoolVar(&f.follow, "follow", false, "go on with new events")
	cmd.MarkFlagsMutuallyExclusive("env", "app")
	lineFormatFlag(cmd, &f.format)
	complete(cmd, "type", cobra.FixedCompletions([]string{"deployment.", "drift.", "environment.", "repository."}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error { return t.showEvents(ctx, f) })
	return cmd
}

func (f *eventFlags) request(now time.Time) (*eventsv1.WatchEventsRequest, error) {
	req := &eventsv1.WatchEventsRequest{TypePrefix: f.prefix, StoredOnly: !f.follow}
	switch {
	case f.env != "":
		name, err := envName(f.env)
		if err != nil {
			return nil, err
		}
		req.Application, req.Environment = splitEnv(name)
	case f.app != "":
		name, err := appName(f.app)
		if err != nil {
			return nil, err
		}
		req.Application = short(name)
	}
	since := f.since
	if since == "" && !f.follow {
		since = "1h"
	}
	if since == "" {
		return req, nil
	}
	at, err := sinceTime(now, "since", since)
	if err != nil {
		return nil, err
	}
	req.Since = timestamppb.New(at)
	return req, nil
}

func (t *tow) showEvents(ctx context.Context, f eventFlags) error {
	if err := checkLineFormat(f.format); err != nil {
		return err
	}
	req, err := f.request(t.Now())
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	ended := false
	err = t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
		stream, err := c.events.WatchEvents(ctx, req)
		for got := false; ; got = true {
			var e *eventsv1.WatchEventsResponse
			if err == nil {
				e, err = stream.Recv()
			}
			// The end of what is stored: the server closes the stream, or cancels it.
			if req.GetStoredOnly() && (errors.Is(err, io.EOF) || errs.Is(err, errs.Cancelled) && ctx.Err() == nil) {
				ended = true
				return got, errDone
			}
			if err != nil {
				return got, err
			}
			// A stream that is made again goes on after the last event that was shown.
			req.Since, req.AfterSequence = nil, e.GetSequence()
			if err := p.event(e); err != nil {
				return true, err
			}
		}
	})
	if ended {
		return nil
	}
	return err
}

// errDone ends a watch that has seen all it wanted.
var errDone = errors.New("done")

func (p *printer) event(e *eventsv1.WatchEventsResponse) error {
	if p.format == "json" {
		return p.line(e)
	}
	_, err := fmt.Fprintf(p.out, "%s  %-26s %-20s %s\n", stamp(e.GetTime()), e.GetType(), subjectText(e.GetSubject()), p.paintedFirst(clean(eventText(e))))
	return err
}

// subjectText shortens what an event is about: a finding is told by its object already.
func subjectText(name string) string {
	if strings.Contains(name, "/"+findings+"/") {
		name = envOf(name)
	}
	return short(name)
}

// eventText tells in a few words what an event says.
func eventText(e *eventsv1.WatchEventsResponse) string {
	data := e.GetData().GetFields()
	s := func(key string) string { return word(word(data[key].GetStringValue(), "SYNC_STATE_"), "HEALTH_") }
	var parts []string
	switch e.GetType() {
	case "deployment.state":
		parts = []string{s("state"), s("message")}
	case "deployment.waiting":
		parts = []string{"waits at", s("stage") + ":", s("reason")}
	case "deployment.failed":
		parts = []string{"FAILED at", s("stage") + ":", s("message")}
	case "deployment.committed":
		parts = []string{"commit", shortHash(s("commit")), s("path")}
	case "deployment.pull_request":
		parts = []string{"pull request", word(s("state"), "STATE_"), s("url")}
		if s("actor") != "" {
			parts = append(parts, "by", s("actor"))
		}
		if s("waitsFor") != "" {
			parts = append(parts, "waits for", s("waitsFor"))
		}
	case "environment.synced":
		parts = []string{"SYNCED", deploymentNumber(s("deployment"))}
	case "environment.health":
		parts = []string{s("sync"), s("health"), s("message")}
	case "drift.detected", "drift.resolved":
		parts = findingText(data["finding"].GetStructValue())
	case "repository.foreign_commit":
		parts = foreignText(s)
	case "repository.foreign_resolved":
		parts = []string{"foreign change of", s("path"), s("how")}
	}
	return strings.Join(nonEmpty(parts...), " ")
}

func findingText(f *structpb.Struct) []string {
	s := func(key string) string { return f.GetFields()[key].GetStringValue() }
	return []string{
		word(s("kind"), "KIND_"), s("objectKind") + "/" + s("objectName"), s("field"),
		"by " + s("manager"), s("resolution"),
	}
}
