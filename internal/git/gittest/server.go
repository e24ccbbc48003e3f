package gittest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Kind is what goes wrong with a request.
type Kind int

const (
	// Status answers with Fault.Status without processing.
	Status Kind = iota
	// StatusAfter processes the request and then answers with Fault.Status.
	StatusAfter
	// Hang does not answer until Server.Release or until the client goes away; nothing is processed.
	Hang
	// HangAfter processes the request and then does not answer until Server.Release or until the client goes away.
	HangAfter
	// ResetAfter processes the request and then cuts the connection: the push happened, its answer is lost.
	ResetAfter
	// ResetBefore reads the request and cuts the connection without processing.
	ResetBefore
	// Late reads the request, answers nothing, and processes it after Server.Release, also when the client went away long ago.
	Late
	// EmptyAfter processes the request and answers 200 without a body.
	EmptyAfter
	// TruncateAfter processes the request and sends half of the answer.
	TruncateAfter
)

// Fault is one thing that goes wrong with the next matching request.
type Fault struct {
	Kind Kind
	// Path is a part that the request's path or query must have, for example "git-receive-pack"; "" is any.
	Path string
	// Method is the request's method; "" is any.
	Method string
	// Status is the answer of Status and StatusAfter.
	Status int
	// Then, when given, is called after the request was processed and before anything is answered.
	Then func()
	// Times is how many requests it hits; zero means one.
	Times int
}

// Server is `git http-backend` behind HTTP on a loopback address.
type Server struct {
	t    testing.TB
	root string
	http *httptest.Server
	cgi  *cgi.Handler

	mu       sync.Mutex
	faults   []Fault
	user     string
	password string
	requests []string
	protocol bool
	released chan struct{}
}

// NewServer starts a server without repositories. It ends with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	out, err := exec.Command(gitBinary(t), "--exec-path").Output()
	if err != nil {
		t.Fatalf("git --exec-path: %v", err)
	}
	s := &Server{t: t, root: t.TempDir(), protocol: true, released: make(chan struct{})}
	s.cgi = &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:    append(cleanEnv(), "GIT_PROJECT_ROOT="+s.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=writer"),
		Stderr: io.Discard,
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.Release()
		s.http.Close()
	})
	return s
}

// Create makes an empty bare repository on the server.
func (s *Server) Create(name string) *Bare {
	s.t.Helper()
	return NewBare(s.t, filepath.Join(s.root, name+".git"))
}

// URL is a repository's address.
func (s *Server) URL(name string) string { return s.http.URL + "/" + name + ".git" }

// Fail makes the next matching requests go wrong. Several faults are used up in the order they were given.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Heal takes back all that Fail asked for and that has not happened yet.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Release lets hanging requests go on: they are then answered with an empty body. Later ones do not hang any more.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.released:
	default:
		close(s.released)
	}
}

// RequireAuth makes the server ask for Basic credentials; two empty strings end it.
func (s *Server) RequireAuth(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// ForgetProtocol makes the server speak version 0 only, like hosts that never learnt version 2.
func (s *Server) ForgetProtocol() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.protocol = false
}

// Requests gives method and path with query of the requests so far, and forgets them.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	fault, hit, allowed := s.admit(r)
	if !allowed {
		w.Header().Set("WWW-Authenticate", `Basic realm="gittest"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if !hit {
		s.cgi.ServeHTTP(w, r)
		return
	}
	if fault.Kind == Late {
		s.late(r, fault)
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	if fault.processes() {
		s.cgi.ServeHTTP(answer, r)
	} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	if fault.Then != nil {
		fault.Then()
	}
	switch fault.Kind {
	case Status, StatusAfter:
		http.Error(w, "a fault on demand", fault.Status)
	case Hang, HangAfter:
		select {
		case <-s.released:
		case <-r.Context().Done():
		}
	case ResetAfter, ResetBefore:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case TruncateAfter:
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
	case EmptyAfter:
	}
}

// late keeps a whole request and processes it after Release.
func (s *Server) late(r *http.Request, fault Fault) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if fault.Then != nil {
		fault.Then()
	}
	<-s.released
	again := r.Clone(context.WithoutCancel(r.Context()))
	again.Body = io.NopCloser(bytes.NewReader(body))
	s.cgi.ServeHTTP(httptest.NewRecorder(), again)
}

func (f Fault) processes() bool {
	switch f.Kind {
	case StatusAfter, HangAfter, ResetAfter, EmptyAfter, TruncateAfter:
		return true
	default:
		return false
	}
}

func (s *Server) admit(r *http.Request) (f Fault, hit, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	if !s.protocol {
		r.Header.Del("Git-Protocol")
	}
	if s.user != "" || s.password != "" {
		if user, password, _ := r.BasicAuth(); user != s.user || password != s.password {
			return Fault{}, false, false
		}
	}
	for i := range s.faults {
		f := s.faults[i]
		if !strings.Contains(r.URL.RequestURI(), f.Path) || (f.Method != "" && f.Method != r.Method) {
			continue
		}
		if s.faults[i].Times--; s.faults[i].Times <= 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return f, true, true
	}
	return Fault{}, false, true
}
