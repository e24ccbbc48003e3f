// Package webhook reads what Git hosts tell by HTTP: pushes and changes of pull requests, of GitHub, GitLab, and Gitea or
// Forgejo. It checks that the host has signed it before it looks at anything.
//
// What belongs here: signatures and the formats of the hosts. What does not: what an event means for a deployment. An event is
// a hint to look at the host, never the state itself: webhooks get lost, come twice and in any order.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"mime"
	"net/http"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

// MaxBody is the most that a webhook may have. GitHub sends 25 MB at the most.
const MaxBody = 25 << 20

// Kind is what happened.
type Kind int

// The kinds.
const (
	// Other is anything that Towpath does not care about.
	Other Kind = iota
	// Ping is a host's test.
	Ping
	// Push is a branch that moved, appeared or went.
	Push
	// PullRequest is a pull request that was opened, changed, merged or closed.
	PullRequest
)

// Event is what a host tells.
type Event struct {
	// Kind is what happened.
	Kind Kind
	// Project is the project's path within the service.
	Project string
	// URLs are the project's clone URLs.
	URLs []string
	// Branch is the branch that moved, for a push; empty when it was a tag.
	Branch string
	// Before and After are the branch's commits, for a push; empty where there was or is none.
	Before, After string
	// Number, State, Head, Base and HeadCommit are the pull request's.
	Number     int64
	State      forge.State
	Head, Base string
	HeadCommit string
	// Actor is the login of who did it.
	Actor string
}

// Parse checks the signature of a webhook and reads it. Errors: errs.Unauthenticated for one that is not signed, or with
// another secret; errs.Invalid for what cannot be read; errs.Precondition when there is no secret to check by.
func Parse(kind forge.Kind, header http.Header, body, secret []byte) (*Event, error) {
	if len(secret) == 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"there is no secret for webhooks of this repository; name the credentials that hold it in forge.webhook_credentials")
	}
	if len(body) > MaxBody {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the webhook is larger than %d bytes", MaxBody)
	}
	if err := verify(kind, header, body, secret); err != nil {
		return nil, err
	}
	if media, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, errs.InvalidField("Content-Type", "is %q; set the webhook's content type to application/json", header.Get("Content-Type"))
	}
	event := new(Event)
	if err := readers[kind](header, body, event); err != nil {
		return nil, errs.InvalidField("body", "is not what %s sends (%v)", kind, err)
	}
	return event, nil
}

var readers = map[forge.Kind]func(header http.Header, body []byte, e *Event) error{
	forge.GitHub: readGitHub, forge.Gitea: readGitHub, forge.GitLab: readGitLab,
}

// verify compares in constant time: how long it takes must not tell how much of a guess was right.
func verify(kind forge.Kind, header http.Header, body, secret []byte) error {
	var given, want []byte
	switch kind {
	case forge.GitLab:
		// GitLab sends the secret itself. Digests make both sides equally long.
		g, w := sha256.Sum256([]byte(header.Get("X-Gitlab-Token"))), sha256.Sum256(secret)
		given, want = g[:], w[:]
		if header.Get("X-Gitlab-Token") == "" {
			given = nil
		}
	case forge.GitHub, forge.Gitea:
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		want = mac.Sum(nil)
		given = signature(kind, header)
	default:
		return errs.InvalidField("forge.kind", "%q has no webhooks", kind)
	}
	if given == nil {
		return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED,
			"the webhook is not signed; give it the secret that forge.webhook_credentials names")
	}
	if subtle.ConstantTimeCompare(given, want) != 1 {
		return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED,
			"the webhook is signed with another secret than forge.webhook_credentials names")
	}
	return nil
}

// signature gives the HMAC-SHA256 that a host has sent; nil for none.
func signature(kind forge.Kind, header http.Header) []byte {
	texts := []string{}
	if kind == forge.Gitea {
		texts = append(texts, header.Get("X-Gitea-Signature"), header.Get("X-Forgejo-Signature"))
	}
	hub, ok := strings.CutPrefix(header.Get("X-Hub-Signature-256"), "sha256=")
	if ok {
		texts = append(texts, hub)
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		mac, err := hex.DecodeString(text)
		if err != nil {
			return []byte{} // signed, and wrong
		}
		return mac
	}
	return nil
}

// hub is what GitHub sends, and Gitea in the same form.
// https://docs.github.com/webhooks/webhook-events-and-payloads https://docs.gitea.com/usage/webhooks
type hub struct {
	Ref        string
	Before     string
	After      string
	Action     string
	Number     int64
	Repository struct {
		FullName string `json:"full_name"`
		CloneURL string `json:"clone_url"`
		SSHURL   string `json:"ssh_url"`
	}
	Sender      struct{ Login string }
	PullRequest *struct {
		Number int64
		State  string
		Merged bool
		Head   struct{ Ref, SHA string }
		Base   struct{ Ref string }
	} `json:"pull_request"`
}

func readGitHub(header http.Header, body []byte, e *Event) error {
	var in hub
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	e.Project, e.Actor = in.Repository.FullName, in.Sender.Login
	e.URLs = present(in.Repository.CloneURL, in.Repository.SSHURL)
	what := header.Get("X-Github-Event") // Gitea and Forgejo send it as well
	for _, name := range []string{"X-Gitea-Event", "X-Forgejo-Event"} {
		if what == "" {
			what = header.Get(name)
		}
	}
	switch {
	case what == "ping":
		e.Kind = Ping
	case what == "push":
		return e.push(in.Ref, in.Before, in.After)
	case strings.HasPrefix(what, "pull_request") && in.PullRequest != nil:
		pr := in.PullRequest
		e.Kind, e.Number, e.Head, e.Base, e.HeadCommit = PullRequest, pr.Number, pr.Head.Ref, pr.Base.Ref, pr.Head.SHA
		return e.state(pr.State, pr.Merged)
	}
	return nil
}

// lab is what GitLab sends. https://docs.gitlab.com/user/project/integrations/webhook_events/
type lab struct {
	ObjectKind string `json:"object_kind"`
	Ref        string
	Before     string
	After      string
	Username   string `json:"user_username"`
	User       struct{ Username string }
	Project    struct {
		Path string `json:"path_with_namespace"`
		HTTP string `json:"git_http_url"`
		SSH  string `json:"git_ssh_url"`
	}
	Attributes struct {
		IID    int64
		State  string
		Source string              `json:"source_branch"`
		Target string              `json:"target_branch"`
		Last   struct{ ID string } `json:"last_commit"`
	} `json:"object_attributes"`
}

func readGitLab(_ http.Header, body []byte, e *Event) error {
	var in lab
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	e.Project, e.URLs = in.Project.Path, present(in.Project.HTTP, in.Project.SSH)
	switch in.ObjectKind {
	case "push":
		e.Actor = in.Username
		return e.push(in.Ref, in.Before, in.After)
	case "merge_request":
		a := in.Attributes
		e.Kind, e.Actor, e.Number, e.Head, e.Base, e.HeadCommit = PullRequest, in.User.Username, a.IID, a.Source, a.Target, a.Last.ID
		return e.state(a.State, false)
	}
	return nil
}

func present(urls ...string) (out []string) {
	for _, u := range urls {
		if u != "" {
			out = append(out, u)
		}
	}
	return out
}

func (e *Event) push(ref, before, after string) error {
	e.Kind, e.Before, e.After = Push, commit(before), commit(after)
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	switch {
	case ok && branch != "":
		e.Branch = branch
	case !strings.HasPrefix(ref, "refs/"):
		return errs.InvalidField("ref", "%q is no reference", ref)
	}
	return nil
}

func (e *Event) state(state string, merged bool) error {
	switch {
	case merged || state == "merged":
		e.State = forge.Merged
	case state == "closed":
		e.State = forge.Closed
	case state == "open" || state == "opened" || state == "locked": // GitLab locks one while it merges
		e.State = forge.Open
	default:
		return errs.InvalidField("state", "%q is not known", state)
	}
	if e.Number <= 0 || e.Head == "" {
		return errs.InvalidField("pull_request", "has no number or no branch")
	}
	return nil
}

// commit is empty for the id that stands for none.
func commit(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}
