package committer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
)

func TestOnlySoManyBranchesAreRemembered(t *testing.T) {
	s := &Service{clock: wallClock, credentials: newCredentials(Config{})}
	l := func(n int) *lane {
		ref := &committerv1.RepositoryRef{Name: "repositories/deploy", Url: "embedded:///deploy", Branch: fmt.Sprintf("b-%d", n)}
		return &lane{svc: s, key: laneKey(ref), ref: ref, shard: events.Shard(ref.GetUrl(), ref.GetBranch())}
	}
	first := l(0)
	for n := range maxHealth {
		s.health.asked(t.Context(), l(n), nil)
	}
	s.health.asked(t.Context(), first, nil) // used again, so that another one is the oldest
	s.health.asked(t.Context(), l(maxHealth), nil)
	if len(s.health.byKey) != maxHealth || s.health.used.Len() != maxHealth {
		t.Errorf("%d are remembered", len(s.health.byKey))
	}
	if s.health.byKey[first.key] == nil || s.health.byKey[l(1).key] != nil {
		t.Error("it was not the one forgotten that was used least lately")
	}
}

func TestADeploymentWaitsForAllOfItsBranchesUntilItIsServedOrTheShardIsLeft(t *testing.T) {
	ref := func(name string) *committerv1.RepositoryRef {
		return &committerv1.RepositoryRef{Name: "repositories/" + name, Url: "embedded:///" + name, Branch: "main"}
	}
	s := &Service{clock: wallClock, credentials: newCredentials(Config{})}
	s.pulls = newPulls(s)
	start := time.Now().Add(-time.Minute)
	task := func(n int) *task {
		return &task{cmd: &eventsv1.DeploymentRequested{
			Deployment: fmt.Sprintf("applications/shop/environments/dev/deployments/%d", n), Repository: ref("main"),
			Parts: []*committerv1.Part{{Repository: ref("part")}, {Repository: ref("part")}},
		}}
	}
	health := func(name string) *committerv1.RepositoryHealth {
		h, err := s.GetRepositoryHealth(t.Context(), &committerv1.GetRepositoryHealthRequest{Repository: ref(name)})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	s.health.waiting(task(1), start)
	s.health.waiting(task(1), time.Now()) // it comes again, and waits as long as before
	s.health.waiting(task(2), start.Add(time.Second))
	for _, name := range []string{"main", "part"} {
		if h := health(name); h.GetQueued() != 2 || h.GetLag().AsDuration() < time.Minute {
			t.Errorf("%s has %v", name, h)
		}
	}
	s.health.served(task(1).cmd.GetDeployment())
	if h := health("part"); h.GetQueued() != 1 {
		t.Errorf("one was served, and there are %v", h)
	}
	s.health.leave(events.Shard("embedded:///main", "main"))
	if h := health("main"); h.GetQueued() != 0 || h.GetLag() != nil {
		t.Errorf("the branch is another replica's, and there are %v", h)
	}
}

func TestTheWayToAHostIsToldByTheErrorsType(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: err}
	}
	for what, tc := range map[string]struct {
		err  error
		says string
	}{
		"a name that nobody has":       {dial(&net.DNSError{Name: "git.test", IsNotFound: true}), "the name git.test of the host is not known"},
		"a DNS that is away":           {dial(&net.DNSError{Name: "git.test", IsTimeout: true}), "could not be looked up"},
		"a closed port":                {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "nobody listens at 10.0.0.1:443"},
		"a cut connection":             {dial(syscall.ECONNRESET), "was cut"},
		"no way":                       {dial(syscall.EHOSTUNREACH), "no way in the network to 10.0.0.1:443"},
		"no answer":                    {fmt.Errorf("fetch: %w", context.DeadlineExceeded), "does not answer in time"},
		"http instead of https":        {http.ErrSchemeMismatch, "does not speak TLS"},
		"an unknown authority":         {x509.UnknownAuthorityError{}, "an authority that the committer does not know"},
		"another name":                 {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "git.test"}, "for another name than git.test"},
		"an old certificate":           {x509.CertificateInvalidError{Reason: x509.Expired}, "has expired"},
		"a wrong certificate":          {x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "cannot be used"},
		"a host that answers":          {errors.Join(&git.Refused{Status: 403}, syscall.ECONNRESET), ""},
		"words that only look like it": {errors.New("connection refused"), ""},
	} {
		finding, remedy := onTheWay(tc.err)
		if !strings.Contains(finding, tc.says) || (finding == "") != (tc.says == "") || (finding == "") != (remedy == "") {
			t.Errorf("%s: %q, %q", what, finding, remedy)
		}
	}
}
