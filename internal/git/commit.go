package git

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Person is who wrote or committed. Name and Email must not hold angle brackets or line ends; NewCommit refuses them.
type Person struct {
	Name  string
	Email string
}

// Trailer is one "Key: value" line at the end of a commit message.
type Trailer struct {
	Key   string
	Value string
}

// Commit is one commit as it was written.
type Commit struct {
	Hash    Hash
	Tree    Hash
	Parents []Hash
	// Author wrote the change at AuthorTime; Committer put it into the repository at CommitTime.
	Author     Person
	AuthorTime time.Time
	Committer  Person
	CommitTime time.Time
	// Message is the whole message with its trailers.
	Message string
	// Signature is the armoured SSH or GPG signature, empty when there is none. It is not verified.
	Signature string
}

// Trailer gives the value of the last trailer of that key, compared without case; "" when there is none.
func (c Commit) Trailer(key string) string {
	value := ""
	for _, t := range ParseTrailers(c.Message) {
		if strings.EqualFold(t.Key, key) {
			value = t.Value
		}
	}
	return value
}

// CommitSpec is what a new commit says.
type CommitSpec struct {
	Tree      Hash
	Parents   []Hash
	Author    Person
	Committer Person
	// When is author and committer time, in seconds; the request's time makes the id repeatable.
	When time.Time
	// Message is subject and body without trailers. Trailers are written after an empty line, in the order given; line ends
	// inside a value become spaces.
	Message  string
	Trailers []Trailer
	// Sign gives the armoured signature of the commit's bytes; nil means unsigned.
	Sign func(payload []byte) (armoured string, err error)
}

// NewCommit encodes a commit, adds it to objs and gives its id. Errors: errs.Invalid for a person or trailer that Git could
// not read back, else what Sign returned.
func NewCommit(objs *ObjectSet, spec CommitSpec) (Hash, error) {
	for field, p := range map[string]Person{"author": spec.Author, "committer": spec.Committer} {
		if err := checkPerson(field, p); err != nil {
			return ZeroHash, err
		}
	}
	message, err := messageWithTrailers(spec.Message, spec.Trailers)
	if err != nil {
		return ZeroHash, err
	}
	head := commitHead(spec)
	if spec.Sign == nil {
		return objs.add(plumbing.CommitObject, []byte(head+"\n"+message)), nil
	}
	signature, err := spec.Sign([]byte(head + "\n" + message))
	if err != nil {
		return ZeroHash, fmt.Errorf("sign the commit: %w", err)
	}
	// A header value continues on lines that begin with a space.
	head += "gpgsig " + strings.ReplaceAll(strings.TrimRight(signature, "\n"), "\n", "\n ") + "\n"
	return objs.add(plumbing.CommitObject, []byte(head+"\n"+message)), nil
}

func commitHead(spec CommitSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", spec.Tree)
	for _, p := range spec.Parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	stamp := strconv.FormatInt(spec.When.Unix(), 10) + " " + spec.When.Format("-0700")
	fmt.Fprintf(&b, "author %s <%s> %s\n", spec.Author.Name, spec.Author.Email, stamp)
	fmt.Fprintf(&b, "committer %s <%s> %s\n", spec.Committer.Name, spec.Committer.Email, stamp)
	return b.String()
}

func checkPerson(field string, p Person) error {
	switch {
	case strings.TrimSpace(p.Name) == "":
		return errs.InvalidField(field+".name", "is empty; give a name")
	case strings.ContainsAny(p.Name+p.Email, "<>\n\r\x00"):
		return errs.InvalidField(field, "has an angle bracket or a line end, which Git cannot store; leave it out")
	case p.Name != strings.TrimSpace(p.Name) || p.Email != strings.TrimSpace(p.Email):
		return errs.InvalidField(field, "begins or ends with a space; leave it out")
	}
	return nil
}

func messageWithTrailers(message string, trailers []Trailer) (string, error) {
	message = strings.TrimRight(strings.ReplaceAll(message, "\x00", ""), "\n ")
	if message == "" {
		return "", errs.InvalidField("message", "is empty; say what changes")
	}
	if len(trailers) == 0 {
		return message + "\n", nil
	}
	var b strings.Builder
	b.WriteString(message + "\n\n")
	for _, t := range trailers {
		if !isTrailerKey(t.Key) {
			return "", errs.InvalidField("trailers", "the key %q must be letters, digits and hyphens", t.Key)
		}
		fmt.Fprintf(&b, "%s: %s\n", t.Key, strings.Join(strings.Fields(strings.ReplaceAll(t.Value, "\x00", "")), " "))
	}
	return b.String(), nil
}

func isTrailerKey(key string) bool {
	for _, r := range key {
		if r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return key != ""
}

// ParseTrailers reads the trailers of a message: the last paragraph, when it is not the first and every line of it is
// "Key: value" or continues the one before with leading white space.
func ParseTrailers(message string) []Trailer {
	message = strings.TrimRight(message, "\n \t\r")
	cut := strings.LastIndex(message, "\n\n")
	if cut < 0 {
		return nil
	}
	var out []Trailer
	for line := range strings.SplitSeq(message[cut+2:], "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if len(out) == 0 {
				return nil
			}
			out[len(out)-1].Value += " " + strings.TrimSpace(line)
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || !isTrailerKey(key) {
			return nil
		}
		out = append(out, Trailer{Key: key, Value: strings.TrimSpace(value)})
	}
	return out
}

func decodeCommit(h Hash, raw []byte) (Commit, error) {
	head, message, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		// A commit without message ends after its header.
		head, message = bytes.TrimSuffix(raw, []byte("\n")), nil
	}
	c := Commit{Hash: h, Message: string(message)}
	var key string
	for line := range bytes.SplitSeq(head, []byte("\n")) {
		if len(line) > 0 && line[0] == ' ' {
			if key == "gpgsig" {
				c.Signature += string(line[1:]) + "\n"
			}
			continue
		}
		k, value, _ := bytes.Cut(line, []byte(" "))
		key = string(k)
		c.header(key, string(value))
	}
	if len(c.Tree) == 0 || c.CommitTime.IsZero() {
		return Commit{}, fmt.Errorf("commit %s is malformed", h)
	}
	return c, nil
}

func (c *Commit) header(key, value string) {
	switch key {
	case "tree":
		c.Tree = NewHash(value)
	case "parent":
		c.Parents = append(c.Parents, NewHash(value))
	case "author":
		c.Author, c.AuthorTime = parsePerson(value)
	case "committer":
		c.Committer, c.CommitTime = parsePerson(value)
	case "gpgsig":
		c.Signature = value + "\n"
	}
}

// parsePerson reads "Name <email> seconds zone". What others wrote may be odd: what cannot be read is left empty.
func parsePerson(s string) (Person, time.Time) {
	open, closing := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || closing < open {
		return Person{Name: s}, time.Unix(0, 0).UTC()
	}
	p := Person{Name: strings.TrimSpace(s[:open]), Email: strings.TrimSpace(s[open+1 : closing])}
	seconds, zone, _ := strings.Cut(strings.TrimSpace(s[closing+1:]), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return p, time.Unix(0, 0).UTC()
	}
	at := time.Unix(unix, 0).UTC()
	if z, err := time.Parse("-0700", zone); err == nil {
		if _, offset := z.Zone(); offset != 0 {
			at = at.In(time.FixedZone("", offset))
		}
	}
	return p, at
}
