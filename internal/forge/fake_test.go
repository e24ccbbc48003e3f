package forge_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/forge"
)

// fake is a project of a service in memory: what GitHub and GitLab have in common. What they say, and how, is in the tables of
// routes, which answer as the services' documentation says.
type fake struct {
	mu        sync.Mutex
	path      string // of the project
	url       string
	commits   int
	branches  map[string]string
	pulls     []*fakePull
	approvals int
	members   map[string]int64    // those who may review, with their numbers
	tokens    map[string]fakeUser // by token
	down      *reply              // given for everything, when set
}

// fakeUser is whom a token belongs to.
type fakeUser struct {
	login  string
	write  bool
	scopes string
}

type fakePull struct {
	number                     int64
	head, base, sha            string
	title, body, state         string
	mergeCommit, mergedBy      string
	labels, reviewers, comment []string
	approvedBy                 []string
	unchecked                  bool // for conflicts
	auto                       bool
	updated                    time.Time
}

// reply is an answer.
type reply struct {
	status int
	body   any
	header map[string]string
}

// call is a request that a token was found for.
type call struct {
	user  fakeUser
	path  []string // the parts that the route's pattern has caught
	query url.Values
	body  map[string]any
	list  []any
}

// text gives a field of the body.
func (c call) text(name string) string { s, _ := c.body[name].(string); return s }

// number gives the part of the path that is one.
func (c call) number(i int) int64 { n, _ := strconv.ParseInt(c.path[i], 10, 64); return n }

// route is one method of an API.
type route struct {
	method, path string
	serve        func(f *fake, c call) reply
}

// refusals are what a service says to whom it does not serve.
type refusals struct{ unknown, noWrite, notFound reply }

func newFake(t *testing.T, path, prefix string, routes []route, no refusals) *fake {
	f := &fake{
		path: path, branches: map[string]string{}, members: map[string]int64{"towpath-bot": 1, "bob": 2},
		tokens: map[string]fakeUser{
			"token-of-the-bot": {login: "towpath-bot", write: true, scopes: "repo, workflow"}, "token-that-reads": {login: "towpath-bot"},
			"token-of-an-outsider": {},
		},
	}
	f.branches["main"] = f.newCommit()
	patterns := make([]*regexp.Regexp, len(routes))
	for i, r := range routes {
		patterns[i] = regexp.MustCompile("^" + prefix + r.path + "$")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		a := f.answer(r, routes, patterns, no)
		w.Header().Set("Content-Type", "application/json")
		for k, v := range a.header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(a.status)
		if a.body != nil {
			json.NewEncoder(w).Encode(a.body)
		}
	}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fake) answer(r *http.Request, routes []route, patterns []*regexp.Regexp, no refusals) reply {
	if f.down != nil {
		return *f.down
	}
	user, ok := f.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok {
		return no.unknown
	}
	for i, route := range routes {
		m := patterns[i].FindStringSubmatch(r.URL.EscapedPath())
		if m == nil || r.Method != route.method {
			continue
		}
		c := call{user: user, query: r.URL.Query()}
		for _, part := range m[1:] {
			part, err := url.PathUnescape(part)
			if err != nil {
				return no.notFound
			}
			c.path = append(c.path, part)
		}
		if user.login == "" || len(c.path) > 0 && strings.Contains(c.path[0], "/") && c.path[0] != f.path {
			return no.notFound
		}
		if r.Method != http.MethodGet && !user.write {
			return no.noWrite
		}
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return reply{status: 400}
		}
		if len(data) > 0 {
			var v any
			if json.Unmarshal(data, &v) != nil {
				return reply{status: 400}
			}
			c.body, _ = v.(map[string]any)
			c.list, _ = v.([]any)
		}
		return route.serve(f, c)
	}
	return no.notFound
}

func (f *fake) newCommit() string {
	f.commits++
	return fmt.Sprintf("%040x", 0xabc000+f.commits)
}

func (f *fake) commit(branch string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.branches[branch] = f.newCommit()
	for _, p := range f.pulls {
		if p.head == branch && p.state == "open" {
			p.sha, p.unchecked = f.branches[branch], true
		}
	}
	return f.branches[branch]
}

func (f *fake) pull(number int64) *fakePull {
	for _, p := range f.pulls {
		if p.number == number {
			return p
		}
	}
	return nil
}

// open gives the open pull request from a branch.
func (f *fake) open(head, base string) *fakePull {
	for _, p := range f.pulls {
		if p.state == "open" && p.head == head && (base == "" || p.base == base) {
			return p
		}
	}
	return nil
}

func (f *fake) add(head, base, title, body string) *fakePull {
	p := &fakePull{
		number: int64(len(f.pulls) + 1), head: head, base: base, sha: f.branches[head], title: title, body: body, state: "open",
		unchecked: true, updated: time.Now(),
	}
	f.pulls = append(f.pulls, p)
	return p
}

// ready tells whether a pull request may be merged by the branch's rules.
func (f *fake) ready(p *fakePull) bool { return p.state == "open" && len(p.approvedBy) >= f.approvals }

func (f *fake) merge(p *fakePull, by string) {
	f.branches[p.base] = f.newCommit()
	p.state, p.mergeCommit, p.mergedBy, p.updated = "merged", f.branches[p.base], by, time.Now()
}

// act is what a person does in the browser.
func (f *fake) act(number int64, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pull(number)
	switch what {
	case "approve":
		p.approvedBy = append(p.approvedBy, "bob")
		if p.auto && f.ready(p) {
			f.merge(p, "towpath-bot")
		}
	case "merge":
		f.merge(p, "bob")
	case "close":
		p.state = "closed"
	case "reopen":
		p.state, p.unchecked = "open", true
	}
}

// site makes a site of the fake for the suite.
func (f *fake) site(kind forge.Kind, address string) *site {
	return &site{
		config: forge.Config{Kind: kind, URL: address, Project: f.path, Token: fixed("token-of-the-bot")},
		login:  "towpath-bot", reviewer: "bob",
		commit: func(_ *testing.T, branch string) string { return f.commit(branch) },
		tip: func(_ *testing.T, branch string) string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.branches[branch]
		},
		protect: func(_ *testing.T, n int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.approvals = n
		},
		act: func(_ *testing.T, number int64, what string) { f.act(number, what) },
		see: func(_ *testing.T, number int64) sight {
			f.mu.Lock()
			defer f.mu.Unlock()
			p := f.pull(number)
			return sight{Labels: slices.Clone(p.labels), Reviewers: slices.Clone(p.reviewers), Comments: slices.Clone(p.comment)}
		},
		token: func(_ *testing.T, what string) string {
			return map[string]string{"wrong": "token-that-is-wrong", "read-only": "token-that-reads", "outsider": "token-of-an-outsider"}[what]
		},
	}
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

func no(status int, message string) reply {
	return reply{status: status, body: map[string]any{"message": message}}
}

// each maps a list.
func each[T any](list []T, to func(T) any) []any {
	out := []any{}
	for _, v := range list {
		out = append(out, to(v))
	}
	return out
}

func addTo(list *[]string, names ...string) {
	for _, n := range names {
		if n != "" && !slices.Contains(*list, n) {
			*list = append(*list, n)
		}
	}
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (f *fake) memberByID(id float64) string {
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if f.members[name] == int64(id) {
			return name
		}
	}
	return ""
}
