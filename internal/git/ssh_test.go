package git_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// overBoth runs a test over HTTP and over SSH.
func overBoth(t *testing.T, test func(t *testing.T, s gittest.Host)) {
	t.Run("http", func(t *testing.T) { test(t, gittest.NewServer(t)) })
	t.Run("ssh", func(t *testing.T) { test(t, gittest.NewSSHServer(t)) })
}

var loginKeys sync.Map

// loginTo gives a login that the server lets in.
func loginTo(t testing.TB, s *gittest.SSHServer) git.SSHCredentials {
	t.Helper()
	key, ok := loginKeys.Load(s)
	if !ok {
		key = gittest.NewSSHKey(t)
		loginKeys.Store(s, key)
		s.Authorize(key.(gittest.SSHKey))
	}
	return login(git.SSHLogin{Name: "bot", Signers: []ssh.Signer{key.(gittest.SSHKey).Signer}, KnownHosts: []byte(s.KnownHosts())})
}

func login(l git.SSHLogin) git.SSHCredentials {
	return func(context.Context) (git.SSHLogin, error) { return l, nil }
}

func TestWhatBecameOfAPushOverSSHIsToldByTheBranch(t *testing.T) {
	post := func(k gittest.Kind) gittest.Fault { return gittest.Fault{Kind: k, Path: pushPost, Method: "POST"} }
	get := func(k gittest.Kind) gittest.Fault { return gittest.Fault{Kind: k, Path: pushPost, Method: "GET"} }
	for name, c := range map[string]struct {
		fault    gittest.Fault
		happened bool
		check    func(error) bool
	}{
		"the answer is cut off after it happened":       {post(gittest.ResetAfter), true, isNil},
		"the answer is empty after it happened":         {post(gittest.EmptyAfter), true, isNil},
		"half of the answer after it happened":          {post(gittest.TruncateAfter), true, isNil},
		"a failure of the host after it happened":       {post(gittest.StatusAfter), true, isNil},
		"silence after it happened":                     {post(gittest.HangAfter), true, isNil},
		"a cut connection before it happened":           {post(gittest.ResetBefore), false, isUnknown},
		"silence before it happened":                    {post(gittest.Hang), false, isUnknown},
		"a failure of the host before it happened":      {post(gittest.Status), false, isUnknown},
		"a host that refuses the session":               {get(gittest.Status), false, isRefused(403)},
		"a host that hangs before it tells what it can": {get(gittest.Hang), false, isKind(errs.Unavailable)},
		"a host that ends the session without a word":   {get(gittest.EmptyAfter), false, isKind(errs.Unavailable)},
		"a connection that breaks before the push":      {get(gittest.ResetBefore), true, isNil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := gittest.NewSSHServer(t)
			bare := s.Create("app")
			r := openHTTP(t, s, "app", func(c *git.Config) { c.Timeout = 3 * time.Second })
			before := mustPush(t, r, "main", "first", file("a", "1"))
			fault := c.fault
			if fault.Kind == gittest.EmptyAfter && fault.Method == "GET" {
				fault.Times = 2 // the session is opened once more on a new connection
			}
			s.Fail(fault)
			h, err := push(t, r, "main", "second", file("a", "2"))
			if !c.check(err) {
				t.Fatalf("the push gives %v", err)
			}
			want := before
			if c.happened {
				want = h
			}
			if got := bare.Tip("main"); got != want.String() {
				t.Fatalf("the branch is at %s", got)
			}
			s.Heal()
			mustPush(t, r, "main", "third", file("a", "3"))
			bare.Fsck()
		})
	}
}

func TestOneConnectionServesAllPushesUntilItDies(t *testing.T) {
	s := gittest.NewSSHServer(t)
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	for i := range 5 {
		mustPush(t, r, "main", fmt.Sprint("push ", i), file("a", fmt.Sprint(i)))
	}
	if got := s.Logins(); got != 1 {
		t.Fatalf("5 pushes took %d logins", got)
	}
	s.Drop()
	mustPush(t, r, "main", "after the cut", file("a", "6"))
	if got := s.Logins(); got != 2 {
		t.Fatalf("a push on a dead connection took %d logins", got)
	}
	s.Requests()
	tip := git.NewHash(bare.Tip("main"))
	objs := git.NewObjectSet()
	h := commit(t, r, objs, tip, "one request", file("a", "7"))
	if err := r.Push(t.Context(), "main", tip, h, objs); err != nil {
		t.Fatal(err)
	}
	if got := s.Requests(); !slices.Equal(got, []string{"POST git-receive-pack"}) {
		t.Fatalf("a push takes %v", got)
	}
	bare.Fsck()
}

func TestAChangedKeyIsUsedByTheNextRequest(t *testing.T) {
	s := gittest.NewSSHServer(t)
	s.Create("app")
	old, renewed := gittest.NewSSHKey(t), gittest.NewSSHKey(t)
	use := old
	r := openHTTP(t, s, "app", func(c *git.Config) {
		c.SSH = func(context.Context) (git.SSHLogin, error) {
			return git.SSHLogin{Name: "bot", Signers: []ssh.Signer{use.Signer}, KnownHosts: []byte(s.KnownHosts())}, nil
		}
	})
	s.Authorize(old)
	mustPush(t, r, "main", "with the old key", file("a", "1"))
	s.Authorize(renewed)
	use = renewed
	mustPush(t, r, "main", "with the new key", file("a", "2"))
	if got := s.Logins(); got != 2 {
		t.Fatalf("%d logins", got)
	}
	s.Authorize(old)
	s.Drop()
	_, err := r.Fetch(t.Context(), "main")
	if !errs.Is(err, errs.Unauthenticated) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(renewed.Signer.PublicKey())) {
		t.Fatalf("a key that the host does not know gives %v", err)
	}
}

func TestAHostIsKnownByItsKey(t *testing.T) {
	s := gittest.NewSSHServer(t)
	s.Create("app")
	key := gittest.NewSSHKey(t)
	known := s.KnownHosts()
	with := func(l git.SSHLogin) error {
		l.Name, l.Signers = "bot", []ssh.Signer{key.Signer}
		r := openHTTP(t, s, "app", func(c *git.Config) { c.SSH = login(l) })
		s.Authorize(key)
		_, err := r.Fetch(t.Context(), "main")
		return err
	}
	if err := with(git.SSHLogin{KnownHosts: []byte(known)}); err != nil {
		t.Fatalf("a known host gives %v", err)
	}
	refuses := func(name string, err error, changed bool) {
		t.Helper()
		var no *git.HostKeyError
		if !errs.Is(err, errs.Precondition) || !errors.As(err, &no) || no.Changed != changed || no.Fingerprint != s.Fingerprint() ||
			!strings.Contains(err.Error(), no.Fingerprint) || !strings.Contains(err.Error(), strings.TrimSpace(s.KnownHosts())) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	refuses("an unknown host", with(git.SSHLogin{}), false)
	if err := with(git.SSHLogin{AcceptNew: true}); err != nil {
		t.Errorf("a new host where that is allowed gives %v", err)
	}
	s.ChangeHostKey()
	refuses("a host with another key", with(git.SSHLogin{KnownHosts: []byte(known)}), true)
	refuses("another key than at first", with(git.SSHLogin{AcceptNew: true}), true)
	refuses("another key than the known one, where new ones are allowed", with(git.SSHLogin{KnownHosts: []byte(known), AcceptNew: true}), true)
	if err := with(git.SSHLogin{KnownHosts: []byte("garbage")}); !errs.Is(err, errs.Precondition) {
		t.Errorf("known hosts that are none give %v", err)
	}
	if err := with(git.SSHLogin{KnownHosts: []byte("@revoked " + s.KnownHosts())}); !errs.Is(err, errs.Precondition) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked key gives %v", err)
	}
}

func TestTheHostsWordsAboutASessionReachTheCaller(t *testing.T) {
	s := gittest.NewSSHServer(t)
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "first", file("a", "1"))
	s.Deny("ERROR: The key you are authenticating with has been marked as read only.")
	tip := git.NewHash(bare.Tip("main"))
	objs := git.NewObjectSet()
	err := r.Push(t.Context(), "main", tip, commit(t, r, objs, tip, "second", file("a", "2")), objs)
	var no *git.Refused
	if !errors.As(err, &no) || !strings.Contains(no.Words, "read only") {
		t.Errorf("a push gives %v", err)
	}
	if _, err := r.Fetch(t.Context(), "main"); !errs.Is(err, errs.Denied) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("a fetch gives %v", err)
	}
	s.Deny("")
	gone := openHTTP(t, s, "nothing", nil)
	if _, err := gone.Fetch(t.Context(), "main"); !errs.Is(err, errs.Denied) || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a repository that is not there gives %v", err)
	}
	none := openHTTP(t, s, "app", func(c *git.Config) { c.SSH = nil })
	if _, err := none.Fetch(t.Context(), "main"); !errs.Is(err, errs.Precondition) {
		t.Errorf("no login gives %v", err)
	}
}

func TestAnSSHSessionEndsWithItsContext(t *testing.T) {
	s := gittest.NewSSHServer(t)
	s.Create("app")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "first", file("a", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan struct{})
	s.Fail(gittest.Fault{Kind: gittest.Hang, Path: "upload-pack", Method: "GET", Then: func() { close(hangs) }})
	done := make(chan error)
	go func() {
		_, err := r.Fetch(ctx, "main")
		done <- err
	}()
	<-hangs
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled fetch gives %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a cancelled fetch does not end")
	}
	mustPush(t, r, "main", "second", file("a", "2"))
}
