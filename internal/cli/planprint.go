package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const filesFlagName = "files"

func filesFlag(cmd *cobra.Command) {
	cmd.Flags().Bool(filesFlagName, false, "with a plan, show the differences of the files too")
}

// asksForFiles reports whether the flag is given; commands without plans do not have it.
func asksForFiles(cmd *cobra.Command) bool {
	yes, err := cmd.Flags().GetBool(filesFlagName)
	return err == nil && yes
}

// plan writes a plan for a person.
func (p *printer) plan(env string, plan *catalogv1.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.paint(bold, "plan for "+env))
	for _, line := range plan.GetSummary() {
		fmt.Fprintf(&b, "  %s\n", clean(line))
	}
	b.WriteString(p.differences(plan.GetText()))
	if len(plan.GetFiles()) == 0 {
		b.WriteString("no file changes: the tree stays as it is\n")
	} else {
		fmt.Fprintf(&b, "%s\n", fileCount(plan.GetFiles()))
	}
	if p.files && len(plan.GetFiles()) > 0 {
		b.WriteString("\n")
		for _, f := range plan.GetFiles() {
			b.WriteString(p.diff(f.GetDiff()))
		}
	}
	p.planNotes(&b, env, plan)
	b.WriteString("\n")
	if _, err := io.WriteString(p.out, b.String()); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return p.fields("from", placeText(plan.GetFromPlace()), "to", planPlace(plan), "tree", treeChange(plan), "plan hash", plan.GetPlanHash())
}

// quoteText gives a text that can be told from nothing in a line, and is not too long for it.
func quoteText(text string) string {
	if text == "" || strings.ContainsAny(text, "\n\t") {
		text = strconv.Quote(text)
	}
	return clip(text, 80)
}

// planNotes tells what a person should know beside what changes.
func (p *printer) planNotes(b *strings.Builder, env string, plan *catalogv1.Plan) {
	for _, v := range plan.GetVerdicts() {
		what, colour := "guardrail warns:", yellow
		if v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_DENY {
			what, colour = "guardrail refuses:", red
		}
		fmt.Fprintf(b, "%s %s\n", p.paint(colour, what), clean(verdictText(v)))
	}
	for _, w := range plan.GetWarnings() {
		fmt.Fprintf(b, "%s %s\n", p.paint(yellow, "warning:"), clean(w))
	}
	if n := int(plan.GetOpenFindings()); n > 0 {
		fmt.Fprintf(b, "%s %s of drift: see tow drift list -e %s\n", p.paint(yellow, "open:"), plural(n, "finding"), env)
		for _, line := range plan.GetDrift() {
			fmt.Fprintf(b, "  %s\n", clean(line))
		}
	}
	for _, r := range plan.GetAwaitedOutputs() {
		fmt.Fprintf(b, "%s %s\n", p.paint(yellow, "awaits the outputs of:"), clean(r))
	}
	if n := int(plan.GetApprovalsRequired()); n > 0 {
		fmt.Fprintf(b, "%s %s\n", p.paint(yellow, "needs:"), plural(n, "approval"))
	}
	if plan.GetHold() != "" {
		fmt.Fprintf(b, "%s %s\n", p.paint(yellow, "held:"), clean(plan.GetHold()))
	}
}

func treeChange(plan *catalogv1.Plan) string {
	before, after := plan.GetBaseTree(), plan.GetTree()
	if before == "" {
		before = "none"
	}
	if after == "" {
		after = "none"
	}
	if before == after {
		return before
	}
	return before + " -> " + after
}

func fileCount(files []*catalogv1.FileChange) string {
	n := map[catalogv1.FileChange_Action]int{}
	for _, f := range files {
		n[f.GetAction()]++
	}
	return fmt.Sprintf("%s: %d new, %d changed, %d removed", plural(len(files), "file"),
		n[catalogv1.FileChange_ACTION_ADD], n[catalogv1.FileChange_ACTION_MODIFY], n[catalogv1.FileChange_ACTION_DELETE])
}

// diff colours a unified diff as Git does.
func (p *printer) diff(text string) string {
	return p.colourLines(text, func(line string) string {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			return bold
		case strings.HasPrefix(line, "@@"):
			return cyan
		case strings.HasPrefix(line, "+"):
			return green
		case strings.HasPrefix(line, "-"):
			return red
		}
		return ""
	})
}

// colourLines gives a text for people, each line in the colour that it has, where there are colours.
func (p *printer) colourLines(text string, colour func(line string) string) string {
	text = clean(text)
	if !p.colour {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimSuffix(line, "\n")
		b.WriteString(p.paint(colour(body), body) + line[len(body):])
	}
	return b.String()
}
