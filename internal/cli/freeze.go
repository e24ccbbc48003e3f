package cli

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// guardFields are the fields of an environment type that say who must agree and when nothing is deployed.
func guardFields(fs *pflag.FlagSet) []field[environmentType] {
	approvals := func(m environmentType) *catalogv1.ApprovalRule {
		if m.Approvals == nil {
			m.Approvals = &catalogv1.ApprovalRule{}
		}
		return m.Approvals
	}
	windows := fs.StringArray("freeze", nil, `a time in which nothing is deployed: "weekend=Fri 16:00 - Mon 08:00 Europe/Berlin" every week, `+
		`"release=2026-12-20T00:00:00Z - 2027-01-02T00:00:00Z" once; "weekend-" takes it away`)
	refuse := fs.Bool("freeze-refuse", false, "windows that --freeze sets refuse deployments instead of letting them wait")
	return []field[environmentType]{
		number(fs, "approvals", "approvals", "how many people must approve a deployment; 0 for none",
			func(m environmentType, v int32) { approvals(m).Required = v }),
		choice(fs, "author-may-approve", "approvals", "the author's own approval counts", false,
			func(m environmentType, v bool) { approvals(m).AuthorMayApprove = v }),
		{"freeze", "freezes", func(m environmentType) error {
			hold := catalogv1.Hold_HOLD_QUEUE
			if *refuse {
				hold = catalogv1.Hold_HOLD_REFUSE
			}
			for _, v := range *windows {
				if err := changeFreezes(m, v, hold); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

func changeFreezes(m environmentType, v string, hold catalogv1.Hold) error {
	id, when, ok := strings.Cut(v, "=")
	without := func(id string) {
		m.Freezes = slices.DeleteFunc(m.Freezes, func(w *catalogv1.FreezeWindow) bool { return w.GetId() == id })
	}
	if !ok && len(v) > 1 && strings.HasSuffix(v, "-") {
		without(strings.TrimSuffix(v, "-"))
		return nil
	}
	if !ok || id == "" || when == "" {
		return usagef("--freeze %q is neither NAME=TIME nor NAME-", v)
	}
	without(id)
	w := &catalogv1.FreezeWindow{Id: id, Hold: hold}
	begin, end, _ := strings.Cut(when, " - ")
	from, err1 := time.Parse(time.RFC3339, begin)
	to, err2 := time.Parse(time.RFC3339, end)
	if err1 == nil && err2 == nil {
		w.StartTime, w.EndTime = timestamppb.New(from), timestamppb.New(to)
	} else {
		w.Weekly = when
		if parts := strings.Fields(end); len(parts) == 3 { // Mon 08:00 Europe/Berlin
			w.Weekly, w.TimeZone = begin+" - "+parts[0]+" "+parts[1], parts[2]
		}
	}
	m.Freezes = append(m.Freezes, w)
	return nil
}

// freezeText tells a type's windows in one line.
func freezeText(m environmentType) string {
	var out []string
	for _, w := range m.GetFreezes() {
		when := strings.TrimSpace(w.GetWeekly() + " " + w.GetTimeZone())
		if w.GetWeekly() == "" {
			when = stamp(w.GetStartTime()) + " - " + stamp(w.GetEndTime())
		}
		out = append(out, w.GetId()+" ("+when+")")
	}
	return strings.Join(out, ", ")
}
