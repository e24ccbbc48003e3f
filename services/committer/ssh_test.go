package committer_test

import (
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// overSSH gives a world whose repository is behind a real Git server, reached over SSH.
func overSSH(t testing.TB, opts ...option) (*world, *gittest.SSHServer) {
	t.Helper()
	srv := gittest.NewSSHServer(t)
	key := gittest.NewSSHKey(t)
	srv.Authorize(key)
	use := func(w *world) {
		w.bare = srv.Create("shop")
		w.repo.Url, w.repo.Credentials = srv.URL("shop"), "host"
		w.folder("host", map[string]string{"identity": key.Private, "identity.pub": key.Public, "known_hosts": srv.KnownHosts()})
	}
	return newWorld(t, append([]option{use}, opts...)), srv
}

// onHosts runs a test against a real Git server, over HTTP and over SSH.
func onHosts(t *testing.T, what string, test func(t *testing.T, w *world, srv gittest.Host)) {
	t.Run(what, func(t *testing.T) {
		t.Parallel()
		w, srv := remote(t)
		test(t, w, srv)
	})
	t.Run(what+", over SSH", func(t *testing.T) {
		t.Parallel()
		w, srv := overSSH(t)
		test(t, w, srv)
	})
}

func TestAnSSHHostThatDoesNotLetUsInIsToldWithTheRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *world, srv *gittest.SSHServer)
		says  []string
	}{
		"a key that the host does not know": {
			func(_ *world, srv *gittest.SSHServer) { srv.Authorize(); srv.Drop() }, []string{`"host"`, "public key", "SHA256:"},
		},
		"a host with another key": {
			func(_ *world, srv *gittest.SSHServer) { srv.ChangeHostKey(); srv.Drop() }, []string{`"host"`, "another one", "known_hosts", "SHA256:"},
		},
		"a host that nobody knows": {
			func(w *world, srv *gittest.SSHServer) {
				key := gittest.NewSSHKey(w.t)
				srv.Authorize(key)
				w.folder("host", map[string]string{"identity": key.Private})
			}, []string{`"host"`, "add the line", "ssh-ed25519", "SHA256:"},
		},
		"a key that may only read": {
			func(_ *world, srv *gittest.SSHServer) {
				srv.Deny("ERROR: The key you are authenticating with has been marked as read only.")
			},
			[]string{"marked as read only"},
		},
		"credentials that are a token": {
			func(w *world, _ *gittest.SSHServer) { w.folder("host", map[string]string{"token": "tok"}) }, []string{`"host"`, `"identity"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, srv := overSSH(t)
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
			w.committed(dep("dev", 1))
			c.spoil(w, srv)
			w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
			got := w.failed(dep("dev", 2))
			if got.GetReason() != "PUSH_REFUSED" {
				t.Errorf("it ended as %v", got)
			}
			for _, say := range c.says {
				if !strings.Contains(got.GetMessage(), say) {
					t.Errorf("the message does not say %s: %s", say, got.GetMessage())
				}
			}
			if w.commits() != 1 {
				t.Errorf("there are %d commits", w.commits())
			}
		})
	}
}
