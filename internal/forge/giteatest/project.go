package giteatest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// User is somebody who is known to the server.
type User struct{ Name, Password, Token string }

// Project is a repository with its surroundings.
type Project struct {
	// Server has it.
	Server *Server
	// Owner owns it.
	Owner User
	// Path is owner/name.
	Path string
	// CloneURL is its address for git, without credentials.
	CloneURL string
}

func newPassword() string     { return rand.Text() }
func newName(p string) string { return p + "-" + strings.ToLower(rand.Text()[:10]) }

var client = http.Client{Timeout: time.Minute}

// Try calls the REST API below /api/v1 with a token, or as somebody with a password. It gives the status and the answer's text;
// a good answer is decoded into out unless that is nil.
func (s *Server) Try(t testing.TB, as User, method, path string, body, out any) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.URL+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if as.Token != "" {
		req.Header.Set("Authorization", "token "+as.Token)
	} else {
		req.SetBasicAuth(as.Name, as.Password)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < 300 && out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return resp.StatusCode, string(answer)
}

// Do is Try for what must work.
func (s *Server) Do(t testing.TB, as User, method, path string, body, out any) {
	t.Helper()
	if status, answer := s.Try(t, as, method, path, body, out); status >= 300 {
		t.Fatalf("gitea: %s %s: %d %s", method, path, status, answer)
	}
}

// NewUser makes a user with a token for everything.
func (s *Server) NewUser(t testing.TB) User {
	t.Helper()
	u := User{Name: newName("user"), Password: newPassword()}
	s.Do(t, s.Admin, "POST", "/admin/users", map[string]any{
		"username": u.Name, "password": u.Password, "email": u.Name + "@example.com", "must_change_password": false,
	}, nil)
	u.Token = s.NewToken(t, u, "all")
	return u
}

// NewToken makes a token of a user with these scopes, such as "read:repository".
func (s *Server) NewToken(t testing.TB, u User, scopes ...string) string {
	t.Helper()
	var out struct{ SHA1 string }
	u.Token = "" // tokens are made with the password only
	s.Do(t, u, "POST", "/users/"+u.Name+"/tokens", map[string]any{"name": newName("token"), "scopes": scopes}, &out)
	return out.SHA1
}

// NewProject makes a repository with a first commit on main. A private one is seen by its owner and those who are added.
func (s *Server) NewProject(t testing.TB, owner User, private bool) *Project {
	t.Helper()
	name := newName("project")
	s.Do(t, owner, "POST", "/user/repos", map[string]any{"name": name, "private": private, "auto_init": true, "default_branch": "main"}, nil)
	return s.project(owner, owner.Name, name)
}

// NewTeamProject makes a repository of a new organisation with a team that may write, which the members are in.
func (s *Server) NewTeamProject(t testing.TB, owner User, team string, members ...User) *Project {
	t.Helper()
	org, name := newName("org"), newName("project")
	s.Do(t, owner, "POST", "/orgs", map[string]any{"username": org}, nil)
	s.Do(t, owner, "POST", "/orgs/"+org+"/repos", map[string]any{"name": name, "auto_init": true, "default_branch": "main"}, nil)
	var made struct{ ID int64 }
	s.Do(t, owner, "POST", "/orgs/"+org+"/teams", map[string]any{
		"name": team, "permission": "write", "includes_all_repositories": true, "units": []string{"repo.code", "repo.pulls", "repo.issues"},
	}, &made)
	for _, m := range members {
		s.Do(t, owner, "PUT", fmt.Sprintf("/teams/%d/members/%s", made.ID, m.Name), nil, nil)
	}
	return s.project(owner, org, name)
}

func (s *Server) project(owner User, namespace, name string) *Project {
	path := namespace + "/" + name
	return &Project{Server: s, Owner: owner, Path: path, CloneURL: s.URL + "/" + path + ".git"}
}

// URLFor is the address for git with somebody's credentials.
func (p *Project) URLFor(u User) string {
	return strings.Replace(p.CloneURL, "://", "://"+u.Name+":"+u.Token+"@", 1)
}

// Do calls the API below the project.
func (p *Project) Do(t testing.TB, as User, method, path string, body, out any) {
	t.Helper()
	p.Server.Do(t, as, method, "/repos/"+p.Path+path, body, out)
}

// Add lets somebody in: read, write or admin.
func (p *Project) Add(t testing.TB, u User, permission string) {
	t.Helper()
	p.Do(t, p.Owner, "PUT", "/collaborators/"+u.Name, map[string]any{"permission": permission}, nil)
}

// Protect protects a branch. Rules are those of the API, such as "required_approvals"; without "enable_push" nobody pushes.
func (p *Project) Protect(t testing.TB, branch string, rules map[string]any) {
	t.Helper()
	all := map[string]any{"rule_name": branch, "branch_name": branch}
	for k, v := range rules {
		all[k] = v
	}
	p.Do(t, p.Owner, "POST", "/branch_protections", all, nil)
}

// Hook has pushes and pull requests told to an address on loopback.
func (p *Project) Hook(t testing.TB, address, secret string) {
	t.Helper()
	p.Do(t, p.Owner, "POST", "/hooks", map[string]any{
		"type": "gitea", "active": true, "events": []string{"push", "pull_request"},
		"config": map[string]string{"url": address, "content_type": "json", "secret": secret},
	}, nil)
}

// Commit writes a file over the API, as a person would in the browser, and gives the commit. A branch that is not there is
// made from main.
func (p *Project) Commit(t testing.TB, as User, branch, file, content string) string {
	t.Helper()
	body := map[string]any{
		"branch": branch, "content": base64.StdEncoding.EncodeToString([]byte(content)), "message": "Change " + file,
	}
	if status, _ := p.Server.Try(t, as, "GET", "/repos/"+p.Path+"/branches/"+branch, nil, nil); status == http.StatusNotFound {
		body["branch"], body["new_branch"] = "main", branch
	}
	var old struct{ SHA string }
	method, at := "POST", "/repos/"+p.Path+"/contents/"+file
	if status, _ := p.Server.Try(t, as, "GET", at+"?ref="+url.QueryEscape(body["branch"].(string)), nil, &old); status == http.StatusOK {
		method, body["sha"] = "PUT", old.SHA
	}
	var out struct{ Commit struct{ SHA string } }
	p.Server.Do(t, as, method, at, body, &out)
	return out.Commit.SHA
}

// Tip is the commit at a branch; empty when there is none.
func (p *Project) Tip(t testing.TB, branch string) string {
	t.Helper()
	var out struct{ Commit struct{ ID string } }
	p.Server.Try(t, p.Owner, "GET", "/repos/"+p.Path+"/branches/"+branch, nil, &out)
	return out.Commit.ID
}
