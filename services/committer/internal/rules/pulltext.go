package rules

import (
	"fmt"
	"strings"
)

// HeadBranch is the branch of an environment's pull requests. An environment has one at a time, so its branch has its name.
func (d Deployment) HeadBranch() string { return "towpath/" + d.Application + "/" + d.Environment }

// maxPullDiff bounds the difference of the manifests in a pull request. The services take about 64 KiB in all, and a person
// reads no more.
const maxPullDiff = 40 << 10

// PullText is what a pull request says.
type PullText struct {
	// Deployment is the deployment; Verb is what it does, such as "Deploy".
	Deployment Deployment
	Verb       string
	// Name, Generation and RequestID identify it for machines.
	Name       string
	Generation int64
	RequestID  string
	// Message is what the person wrote, Actor who asked, Type the environment's type and Link where the portal shows it.
	Message, Actor, Type, Link string
	// RollbackOf is the deployment that this one goes back to; empty for none.
	RollbackOf string
	// Summary are the differences to the deployment before, one line each.
	Summary []string
	// Path is the environment's folder and Files how many files in it differ.
	Path  string
	Files int32
	// Diff is the difference of the manifests as text, without secrets.
	Diff string
	// Replaced tells of a commit of somebody else that was at the head before; empty for none.
	Replaced string
}

// Title is the pull request's first line.
func (p PullText) Title() string {
	subject, _, _ := strings.Cut(Words{Message: p.Message, Default: DefaultSubject(p.Verb, p.Deployment)}.Text(), "\n")
	if strings.Contains(subject, p.Deployment.Application) && strings.Contains(subject, p.Deployment.Environment) {
		return subject
	}
	return cut(fmt.Sprintf("%s/%s: %s", p.Deployment.Application, p.Deployment.Environment, subject), maxSubject)
}

// Marker is in the text of the pull request of a deployment and of no other. It is not shown.
func Marker(deployment string) string { return "<!-- towpath-deployment: " + deployment + " -->" }

// Body is the pull request's text, in Markdown. Whatever people wrote is shown as it is and formats nothing: neither can it
// forge another line of the text, nor the marker, nor call people by their names.
func (p PullText) Body() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of **%s** in **%s**", noun(p.Verb), inline(p.Deployment.Application), inline(p.Deployment.Environment))
	if p.Type != "" {
		fmt.Fprintf(&b, " (%s)", inline(p.Type))
	}
	fmt.Fprintf(&b, ", deployment #%s, generation %d, asked for by %s.\n", inline(p.Deployment.Number), p.Generation, code(p.Actor))
	if text := (Words{Message: p.Message}).Text(); text != "" {
		b.WriteString("\n" + fence(text, "text"))
	}
	if p.RollbackOf != "" {
		fmt.Fprintf(&b, "\nIt goes back to %s.\n", code(p.RollbackOf))
	}
	if p.Replaced != "" {
		fmt.Fprintf(&b, "\n**It takes the place of a commit that was not made by Towpath: %s.**\n", inline(p.Replaced))
	}
	if len(p.Summary) > 0 {
		b.WriteString("\n### Summary\n\n")
		for _, line := range p.Summary {
			b.WriteString("- " + inline(line) + "\n")
		}
	}
	fmt.Fprintf(&b, "\n### Manifests\n\n%s in %s.\n", files(p.Files), code(p.Path))
	if p.Diff != "" {
		b.WriteString("\n" + fence(cutLines(p.Diff, maxPullDiff), "diff"))
	}
	if p.Link != "" {
		fmt.Fprintf(&b, "\n[The deployment and its plan](%s)\n", strings.NewReplacer("(", "%28", ")", "%29", " ", "%20", "\n", "", "<", "%3C").Replace(p.Link))
	}
	b.WriteString("\nTowpath keeps this branch on top of its base. To change what is deployed, deploy again: this pull request is brought up " +
		"to date. To refuse it, close it.\n\n" + Marker(p.Name) + "\n")
	return b.String()
}

func noun(verb string) string {
	switch verb {
	case "Remove":
		return "Removal"
	case "Restore":
		return "Rollback"
	case "Claim resources for":
		return "Resources"
	default:
		return "Deployment"
	}
}

func files(n int32) string {
	switch n {
	case 0:
		return "No file differs"
	case 1:
		return "One file differs"
	default:
		return fmt.Sprintf("%d files differ", n)
	}
}

// fence puts text into a block that it cannot end itself.
func fence(text, language string) string {
	ticks, run := 3, 0
	for _, r := range text {
		if r != '`' {
			run = 0
			continue
		}
		run++
		ticks = max(ticks, run+1)
	}
	bar := strings.Repeat("`", ticks)
	return bar + language + "\n" + strings.TrimRight(text, "\n") + "\n" + bar + "\n"
}

// code shows one line in a fixed font.
func code(s string) string { return "`" + strings.ReplaceAll(Line(s), "`", "'") + "`" }

var markdown = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "#", `\#`, "!", `\!`, "|", `\|`,
	"@", "@\u200b", "&", "&amp;", "~", `\~`)

// inline shows one line without any formatting of its own.
func inline(s string) string { return markdown.Replace(Line(s)) }

// cutLines shortens a text to at most n bytes, at the end of a line.
func cutLines(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := strings.LastIndexByte(s[:n], '\n')
	return s[:end+1] + fmt.Sprintf("... and %d more lines\n", strings.Count(s[end+1:], "\n")+1)
}
