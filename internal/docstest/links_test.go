package docstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

// TestLinksOfPagesLeadSomewhere looks at the files that pages link to. Pictures come from the run of the browser tests; where there
// are none yet, there is nothing to look at.
func TestLinksOfPagesLeadSomewhere(t *testing.T) {
	root := repository(t)
	_, err := os.Stat(filepath.Join(root, "docs", "images"))
	pictures := err == nil
	for _, page := range append(pages(t), "docs/README.md") {
		text, err := os.ReadFile(filepath.Join(root, page))
		must(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") || strings.HasSuffix(m[1], ".png") && !pictures {
					continue
				}
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
					t.Errorf("%s: there is no %s", At(page, i+1), m[1])
				}
			}
		}
	}
}

// TestEveryGuideHasItsBeginningAndItsEnd holds what a person in a hurry looks for.
func TestEveryGuideHasItsBeginningAndItsEnd(t *testing.T) {
	for _, page := range pages(t) {
		if !strings.HasPrefix(page, "docs/guides/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(repository(t), page))
		must(t, err)
		for _, part := range []string{"**At the end**", "**It takes**", "**You need**", "\n## Clean up\n", "\n## Where to go next\n"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s: there is no %q", page, strings.TrimSpace(part))
			}
		}
		index, err := os.ReadFile(filepath.Join(repository(t), "docs/README.md"))
		must(t, err)
		if !strings.Contains(string(index), strings.TrimPrefix(page, "docs/")) {
			t.Errorf("docs/README.md does not lead to %s", page)
		}
	}
}

var eventType = regexp.MustCompile(`\(type ([a-z_]+(?:\.[a-z_]+)+)\)`)

// TestTheGuideOfEventsHasEveryEvent compares the guide's table with what the messages say of themselves.
func TestTheGuideOfEventsHasEveryEvent(t *testing.T) {
	root := repository(t)
	proto, err := os.ReadFile(filepath.Join(root, "proto/towpath/events/v1/events.proto"))
	must(t, err)
	guide, err := os.ReadFile(filepath.Join(root, "docs/guides/events.md"))
	must(t, err)
	// A comment may break a line within.
	found := eventType.FindAllStringSubmatch(regexp.MustCompile(`\n\s*// `).ReplaceAllString(string(proto), " "), -1)
	if len(found) < 10 {
		t.Fatalf("only %d messages say which type they are", len(found))
	}
	for _, m := range found {
		if !strings.Contains(string(guide), "| `"+m[1]+"` |") {
			t.Errorf("docs/guides/events.md has no row for %s", m[1])
		}
	}
}
