package committer_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

var outcomes = map[committerv1.DiagnosisStep_Outcome]string{
	committerv1.DiagnosisStep_OUTCOME_OK: "ok", committerv1.DiagnosisStep_OUTCOME_WARNING: "warning",
	committerv1.DiagnosisStep_OUTCOME_FAILED: "failed", committerv1.DiagnosisStep_OUTCOME_SKIPPED: "-",
}

// diagnose gives the steps by their ids, and checks what holds for every diagnosis: all steps are there, in their order, nothing in
// Git has changed, and a failed step says how to mend it.
func (w *world) diagnose(mode committerv1.WriteMode) (map[string]*committerv1.DiagnosisStep, *committerv1.Diagnosis) {
	w.t.Helper()
	before := ""
	if w.bare != nil {
		before, _ = gittest.TryGit(w.t, w.bare.Dir, "for-each-ref")
	}
	d, err := w.svc.DiagnoseRepository(w.t.Context(), &committerv1.DiagnoseRepositoryRequest{Repository: w.repo, WriteMode: mode})
	if err != nil {
		w.t.Fatal(err)
	}
	steps := map[string]*committerv1.DiagnosisStep{}
	var order []string
	healthy := true
	for _, s := range d.GetSteps() {
		steps[s.GetId()] = s
		order = append(order, s.GetId())
		failed := s.GetOutcome() == committerv1.DiagnosisStep_OUTCOME_FAILED
		healthy = healthy && !failed
		if s.GetTitle() == "" || s.GetFinding() == "" || outcomes[s.GetOutcome()] == "" || failed && s.GetRemedy() == "" {
			w.t.Errorf("the step says too little: %v", s)
		}
	}
	if got, want := strings.Join(order, " "), "url connect credentials read branch push protection signing forge webhook owners"; got != want {
		w.t.Errorf("the steps are %s", got)
	}
	if d.GetHealthy() != healthy {
		w.t.Errorf("healthy is %t", d.GetHealthy())
	}
	if w.bare != nil {
		if after, _ := gittest.TryGit(w.t, w.bare.Dir, "for-each-ref"); after != before {
			w.t.Errorf("Git has changed from %q to %q", before, after)
		}
	}
	return steps, d
}

// finding is what a test expects of one step: how it went, and some of its words.
type finding struct{ step, outcome, says, remedy string }

func (w *world) finds(mode committerv1.WriteMode, want ...finding) {
	w.t.Helper()
	steps, d := w.diagnose(mode)
	for _, f := range want {
		s := steps[f.step]
		if outcomes[s.GetOutcome()] != f.outcome || !strings.Contains(s.GetFinding(), f.says) || !strings.Contains(s.GetRemedy(), f.remedy) {
			w.t.Errorf("%s is %s: %q, remedy %q; want %v", f.step, outcomes[s.GetOutcome()], s.GetFinding(), s.GetRemedy(), f)
		}
	}
	for _, secret := range []string{"hunter2", "s3cret-token"} {
		if strings.Contains(d.String(), secret) {
			w.t.Errorf("the diagnosis shows a secret: %v", d)
		}
	}
}

const direct = committerv1.WriteMode_WRITE_MODE_UNSPECIFIED

func TestADoctorFindsNothingInAHealthyRepository(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
		w.committed(dep("dev", 1))
		_, d := w.diagnose(direct)
		if !d.GetHealthy() {
			t.Errorf("it is not healthy: %v", d)
		}
		w.finds(direct, finding{"url", "ok", "", ""}, finding{"read", "ok", "", ""}, finding{"branch", "ok", "main is at", ""}, finding{"push", "ok", "", ""},
			finding{"signing", "-", "not signed", ""}, finding{"owners", "ok", "1 environment", ""})
	})
}

func TestADoctorTellsWhatIsWrongWithARepositoryAndHowToMendIt(t *testing.T) {
	for what, tc := range map[string]struct {
		spoil func(t *testing.T, w *world, host *gittest.Server)
		want  []finding
	}{
		"a URL of an unknown scheme": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.repo.Url = "ftp://git.test/shop" },
			[]finding{{"url", "failed", `the scheme "ftp"`, "use embedded, http, https or ssh"}, {"connect", "-", "", ""}},
		},
		"a branch that no branch can be called": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.repo.Branch = "a..b" },
			[]finding{{"url", "ok", "", ""}, {"branch", "failed", "", "correct branch"}},
		},
		"a port that nobody listens at": {
			func(t *testing.T, w *world, _ *gittest.Server) { w.repo.Url = "http://" + silent(t) + "/shop.git" },
			[]finding{{"connect", "failed", "nobody listens at 127.0.0.1:", "check the port"}, {"read", "-", "", ""}, {"push", "-", "", ""}},
		},
		"https where the host speaks http": {
			func(_ *testing.T, w *world, host *gittest.Server) {
				w.repo.Url = strings.Replace(host.URL("shop"), "http://", "https://", 1)
			},
			[]finding{{"connect", "failed", "does not speak TLS", "http address"}},
		},
		"a host that wants credentials and gets none": {
			func(_ *testing.T, _ *world, host *gittest.Server) { host.RequireAuth("bot", "right") },
			[]finding{{"connect", "ok", "", ""}, {"credentials", "failed", "who are you", "name credentials"}, {"read", "-", "", ""}},
		},
		"a token that the host does not know": {
			func(_ *testing.T, w *world, host *gittest.Server) {
				host.RequireAuth("bot", "right")
				w.folder("host", map[string]string{"username": "bot", "password": "hunter2"})
				w.repo.Credentials = "host"
			},
			[]finding{{"connect", "ok", "", ""}, {"credentials", "failed", "who are you", "renew the credentials host"}},
		},
		"credentials of an unknown name": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.repo.Credentials = "nobody" },
			[]finding{{"connect", "ok", "it answers", ""}, {"credentials", "failed", `"nobody" are not among`, "put a file of that name"}, {"read", "-", "", ""}},
		},
		"a web page": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }))
				t.Cleanup(page.Close)
				w.repo.Url = page.URL + "/shop"
			},
			[]finding{{"connect", "ok", "", ""}, {"read", "failed", "no Git repository", "clone URL"}},
		},
		"a certificate that nobody knows": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				page := httptest.NewUnstartedServer(http.NotFoundHandler())
				page.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
				page.StartTLS()
				t.Cleanup(page.Close)
				w.repo.Url = page.URL + "/shop"
			},
			[]finding{{"connect", "failed", "authority that the committer does not know", "caFile"}},
		},
		"a host that is ill": {
			func(_ *testing.T, _ *world, host *gittest.Server) {
				host.Fail(gittest.Fault{Kind: gittest.Status, Status: 502, Times: 1 << 20})
			},
			[]finding{{"connect", "ok", "", ""}, {"read", "failed", "502", "look at the host"}, {"push", "-", "", ""}},
		},
		"a repository that everybody may read and nobody push to": {
			func(_ *testing.T, _ *world, host *gittest.Server) {
				host.Fail(gittest.Fault{Kind: gittest.Status, Status: 401, Method: "GET", Path: "git-receive-pack", Times: 1 << 20})
			},
			[]finding{{"read", "ok", "", ""}, {"push", "failed", "nobody may push without credentials", "tow repo update deploy --credentials"}},
		},
		"a repository that is not there": {
			func(_ *testing.T, w *world, host *gittest.Server) { w.repo.Url = host.URL("nowhere") },
			[]finding{{"connect", "ok", "", ""}, {"read", "failed", "", "check the repository's address"}},
		},
		"a repository that may only be read": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.bare.Git("config", "http.receivepack", "false") },
			[]finding{{"read", "ok", "", ""}, {"push", "failed", "the host says", "write access"}},
		},
		"a branch that is not there yet": {
			func(_ *testing.T, w *world, _ *gittest.Server) { w.repo.Branch = "next" },
			[]finding{{"branch", "warning", "there is no branch next", "correct branch"}, {"push", "ok", "", ""}},
		},
		"a key that is not there": {
			func(_ *testing.T, w *world, _ *gittest.Server) {
				w.repo.Signing = &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
			},
			[]finding{{"signing", "failed", `"signer" are not among`, "put a file"}, {"push", "ok", "", ""}},
		},
		"a key that signs": {
			func(t *testing.T, w *world, _ *gittest.Server) {
				w.folder("signer", map[string]string{"identity": gittest.NewSSHKey(t).Private})
				w.repo.Signing = &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
			},
			[]finding{{"signing", "ok", "SHA256:", ""}},
		},
		"a folder that somebody else changed": {
			func(_ *testing.T, w *world, _ *gittest.Server) {
				w.bare.Commit("main", "by hand", map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs")})
			},
			[]finding{{"owners", "warning", "shop/dev", "tow foreign"}},
		},
		"a state file that nobody can read": {
			func(_ *testing.T, w *world, _ *gittest.Server) {
				for _, f := range w.bare.Files("main") {
					if strings.HasPrefix(f, ".towpath/state/") {
						w.bare.Commit("main", "by hand", map[string][]byte{f: []byte("{")})
					}
				}
			},
			[]finding{{"owners", "warning", ".towpath/", "restore"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, host := remote(t, func(w *world) { w.cfg.CredentialsDir = t.TempDir() })
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
			w.committed(dep("dev", 1))
			tc.spoil(t, w, host)
			w.finds(direct, tc.want...)
		})
	}
}

// silent gives an address that nobody listens at.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func TestADoctorTellsWhatIsWrongOverSSH(t *testing.T) {
	for what, tc := range map[string]struct {
		spoil func(w *world, srv *gittest.SSHServer)
		want  []finding
	}{
		"nothing": {func(*world, *gittest.SSHServer) {}, []finding{{"connect", "ok", "", ""}, {"credentials", "ok", "SHA256:", ""}, {"push", "ok", "", ""}}},
		"a host that nobody knows": {
			func(w *world, srv *gittest.SSHServer) {
				key := gittest.NewSSHKey(w.t)
				srv.Authorize(key)
				w.folder("host", map[string]string{"identity": key.Private})
			},
			[]finding{{"connect", "failed", "known_hosts", "add the line"}, {"read", "-", "", ""}},
		},
		"a key that the host does not know": {
			func(_ *world, srv *gittest.SSHServer) { srv.Authorize() },
			[]finding{{"connect", "ok", "", ""}, {"credentials", "failed", "SHA256:", "add its public key"}, {"read", "-", "", ""}},
		},
		"no credentials": {
			func(w *world, _ *gittest.SSHServer) { w.repo.Credentials = "" },
			[]finding{{"credentials", "failed", "names no credentials", "known_hosts"}, {"connect", "-", "", ""}},
		},
		"a repository that the key may not see": {
			func(_ *world, srv *gittest.SSHServer) { srv.Deny("ERROR: Repository not found.") },
			[]finding{{"connect", "ok", "", ""}, {"read", "failed", "Repository not found", "check the repository's address"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, srv := overSSH(t)
			tc.spoil(w, srv)
			w.finds(direct, tc.want...)
		})
	}
}

func TestADoctorMakesNoEmbeddedRepository(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.bare, w.repo.Url = nil, "embedded:///new"
	w.finds(direct, finding{"read", "ok", "does not exist yet", ""}, finding{"push", "ok", "can be written", ""}, finding{"branch", "-", "", ""})
	w.repo.Url = "embedded:///new"
	names, err := w.cfg.Repos.Names()
	if err != nil || len(names) != 0 {
		t.Errorf("there are %v, %v", names, err)
	}
}

func TestADoctorTellsADiskThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(dep("dev", 1))
	objects := filepath.Join(w.bare.Dir, "objects", "pack")
	if err := os.Rename(objects, objects+".away"); err != nil {
		t.Fatal(err)
	}
	w.finds(direct, finding{"push", "failed", "cannot be written", "make room"})
	if err := os.Rename(objects+".away", objects); err != nil {
		t.Fatal(err)
	}
}
