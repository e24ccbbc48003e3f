package rules

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a commit's words: a subject that fits a list, and a message that fits a screen or two.
const (
	maxSubject = 200
	maxBody    = 8 << 10
	maxName    = 120
)

// Words is what a commit says about its deployment.
type Words struct {
	// Message is what the person wrote; empty gives Default as the subject.
	Message string
	// Default is the subject when there is no message.
	Default string
}

// trailerLike finds lines of a person's message that could be taken for Towpath's own trailers.
var trailerLike = regexp.MustCompile(`(?im)^([ \t]*)(towpath-[a-z0-9-]*[ \t]*:)`)

// Text gives the message of the commit without its trailers: what the person wrote, without control characters, cut to
// size, and with lines that look like Towpath's trailers quoted, so that nobody can forge one.
func (w Words) Text() string {
	text := strings.ReplaceAll(strings.ReplaceAll(w.Message, "\r\n", "\n"), "\r", "\n")
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	subject, body, _ := strings.Cut(strings.TrimSpace(text), "\n")
	subject, body = strings.TrimSpace(subject), strings.Trim(body, "\n ")
	if subject == "" {
		subject = w.Default
	}
	subject = cut(subject, maxSubject)
	if body == "" {
		return quoteTrailers(subject)
	}
	return quoteTrailers(subject + "\n\n" + cut(body, maxBody))
}

func quoteTrailers(s string) string { return trailerLike.ReplaceAllString(s, "$1> $2") }

// DefaultSubject says in one line what a deployment does; verb is "Deploy", "Restore" or "Remove".
func DefaultSubject(verb string, d Deployment) string {
	return fmt.Sprintf("%s %s/%s #%s", verb, d.Application, d.Environment, d.Number)
}

// Person gives a name and address that Git can store: without angle brackets, control characters and spaces at the ends. An
// empty name becomes fallback, an empty address one that cannot receive mail.
func Person(name, email, fallback string) (cleanName, cleanEmail string) {
	cleanName, cleanEmail = cleanLine(name), strings.ReplaceAll(cleanLine(email), " ", "")
	// Git strips these from the ends of a name, which would leave an empty one.
	cleanName = strings.Trim(cleanName, ".,:;<>\"\\' ")
	if cleanName == "" {
		cleanName = strings.Trim(cleanLine(fallback), ".,:;<>\"\\' ")
	}
	if cleanName == "" {
		cleanName = "unknown"
	}
	if cleanEmail == "" {
		cleanEmail = "noreply@towpath.invalid"
	}
	return cut(cleanName, maxName), cut(cleanEmail, maxName)
}

// Line gives one line of text for a trailer: control characters become spaces.
func Line(s string) string { return cut(cleanLine(s), maxSubject) }

// Signature is who wrote a commit, as "Name <address>", in one line that can be shown.
func Signature(name, email string) string { return Line(name) + " <" + Line(email) + ">" }

func cleanLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '<' || r == '>' || r == utf8.RuneError:
			return -1
		case unicode.IsControl(r) || unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens s to at most n bytes, at the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimRight(s[:n], " ") + "…"
}
