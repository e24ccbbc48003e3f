package drift

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
)

// aim changes how the cluster is reached. It takes effect soon, and before the next change of an environment.
func (c *cluster) aim(t *eventsv1.TargetRef) {
	c.mu.Lock()
	same := proto.Equal(c.ref, t)
	c.ref = t
	c.mu.Unlock()
	if !same {
		poke(c.aimed)
	}
}

// keepAccess reads how the cluster is reached again and again, so that a renewed token counts without a restart. What was
// read last stays in use while a new reading fails once: a folder may be looked at in the middle of its change.
func (c *cluster) keepAccess() {
	tick := time.NewTicker(accessEvery)
	defer tick.Stop()
	for failures := 0; ; {
		select {
		case <-c.ctx.Done():
			return
		case <-c.aimed:
		case <-tick.C:
		}
		err := c.resolve(c.ctx)
		switch {
		case c.ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		case failures+1 >= downAfter || !c.settled():
			c.mislead(err)
		default:
			failures++
			c.log.Warn("how the cluster is reached cannot be read now; what was read last is used", "error", errs.Message(err))
		}
	}
}

// settled reports whether the link follows the target as it is now.
func (c *cluster) settled() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return proto.Equal(c.resolved, c.ref)
}

// mislead notes that the target does not say how the cluster is reached: what stood there before does not count any more.
func (c *cluster) mislead(err error) {
	c.link.cut()
	c.mu.Lock()
	c.wrong = err
	c.mu.Unlock()
	c.suspect()
}

// misled gives why nothing can be sent to the cluster at all.
func (c *cluster) misled() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.wrong
}

// open makes sure that the link follows the target as it is now, and gives why the cluster is of no use at the moment.
func (c *cluster) open(ctx context.Context) error {
	c.used.Store(c.svc.cfg.Now().Unix())
	if !c.settled() {
		if err := c.resolve(ctx); err != nil {
			c.mislead(err)
			return err
		}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.wrong != nil {
		return c.wrong
	}
	return c.down
}

// resolve reads how the cluster is reached.
func (c *cluster) resolve(ctx context.Context) error {
	c.resolving.Lock()
	defer c.resolving.Unlock()
	c.mu.RLock()
	ref := c.ref
	c.mu.RUnlock()
	before := c.link.address()
	cfg, sum, err := c.svc.access.of(ctx, ref)
	if err != nil {
		return err
	}
	other, err := c.link.lead(cfg, sum)
	if err != nil {
		return unusableAccess(ref, "no connection can be made of its access; check its server, and certificates and keys of its credentials").Because(err)
	}
	c.link.pace(ref)
	c.mu.Lock()
	c.resolved, c.wrong = ref, nil
	c.mu.Unlock()
	if !other {
		return nil
	}
	c.log.Info("the cluster is reached anew", "server", c.link.address())
	c.suspect()
	if now := c.link.address(); before != "" && now != before { // perhaps not even the same cluster
		c.mapper.Reset()
		c.restart()
		for _, e := range c.owners() {
			e.lookAgain()
		}
	}
	return nil
}

// why says what a probe's error means and what to do.
func (c *cluster) why(err error) error {
	c.mu.RLock()
	ref := c.ref
	c.mu.RUnlock()
	var ours *errs.Error
	var trust x509.UnknownAuthorityError
	var host x509.HostnameError
	var cert x509.CertificateInvalidError
	var dns *net.DNSError
	var u *url.Error
	server := c.link.address()
	unavailable := func(format string, args ...any) error {
		return unusableAccess(ref, format, args...).Because(err)
	}
	switch {
	case errors.As(err, &ours):
		return ours
	case apierrors.IsUnauthorized(err):
		return unavailable("its API server %s does not accept our credentials; renew %s", server, accessOf(ref))
	case errors.As(err, &trust):
		return unavailable("the certificate of its API server %s is not signed by an authority that we trust; correct the one in %s", server, accessOf(ref))
	case errors.As(err, &host), errors.As(err, &cert):
		return unavailable("the certificate of its API server %s is not valid for that address or time; correct the address, or renew the certificate", server)
	case errors.As(err, &dns):
		return unavailable("there is no address for its API server %s; check the name", server)
	case errors.As(err, &u) && u.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return unavailable("its API server %s does not answer in time; it is tried again by itself", server)
	case errors.As(err, &u):
		return unavailable("its API server %s cannot be reached; it is tried again by itself", server)
	}
	return unavailable("its API server %s is not ready; it is tried again by itself", server)
}

// accessOf names where a target's credentials are.
func accessOf(t *eventsv1.TargetRef) string {
	switch {
	case t.GetCredentials() != "":
		return "the credentials " + t.GetCredentials()
	case t.GetKubeconfig() != "":
		return "the kubeconfig " + t.GetKubeconfig()
	default:
		return "the kubeconfig or service account of drift itself"
	}
}

// unusedAfter is how long a cluster is watched that no environment of this process is on.
const unusedAfter = time.Minute

// targets is what the service knows of targets.
type targets struct {
	// refs is how each target is reached; told says that its catalog said so, and not only a deployment.
	refs map[string]*eventsv1.TargetRef
	told map[string]bool
}

// learn takes how a target is reached: from the catalog, whose word is the last, else from desired states, which come in the
// order in which they were made. It needs the service's mutex.
func (s *Service) learn(t *eventsv1.TargetRef, told bool) {
	name := t.GetName()
	if name == "" || s.targets.told[name] && !told {
		return
	}
	s.targets.told[name] = told
	s.targets.refs[name] = t
	if c := s.clusters[name]; c != nil {
		c.aim(t)
	}
}

// cluster gives the connection to a target, made at its first use; an error when it is of no use now.
func (s *Service) cluster(t *eventsv1.TargetRef) (*cluster, error) {
	c, err := s.clusterOf(t)
	if err != nil {
		return nil, err
	}
	if err := c.open(c.ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (s *Service) clusterOf(t *eventsv1.TargetRef) (*cluster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "drift is starting or ending; try again")
	}
	if s.targets.refs[t.GetName()] == nil {
		s.learn(t, false)
	}
	if c := s.clusters[t.GetName()]; c != nil {
		c.used.Store(s.cfg.Now().Unix())
		return c, nil
	}
	ref := s.targets.refs[t.GetName()]
	if ref == nil {
		ref = t
	}
	c, err := newCluster(s.ctx, ref, s)
	if err != nil {
		return nil, unusableAccess(t, "no connection can be made of its access; check it").Because(err)
	}
	c.used.Store(s.cfg.Now().Unix())
	s.clusters[t.GetName()] = c
	s.wg.Go(c.run)
	s.wg.Go(c.keepAccess)
	return c, nil
}

// dropUnused ends the connection to a cluster that no environment of this process is on any more.
func (s *Service) dropUnused(c *cluster) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Now().Sub(time.Unix(c.used.Load(), 0)) < unusedAfter {
		return false
	}
	for name := range s.envs {
		if s.known[name].GetTarget().GetName() == c.name {
			return false
		}
	}
	if s.clusters[c.name] == c {
		delete(s.clusters, c.name)
	}
	c.end()
	return true
}

// environmentsOf gives the environments of this process that are on a target.
func (s *Service) environmentsOf(target string) []*environment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*environment
	for name, e := range s.envs {
		if s.known[name].GetTarget().GetName() == target {
			out = append(out, e)
		}
	}
	return out
}

// followTargets hears from the catalog how targets are reached, until ctx ends.
func (s *Service) followTargets(ctx context.Context) error {
	cfg := events.TailConfig{Stream: events.StreamPolicies, Filter: []string{events.TargetFilter}, LastPerSubject: true}
	for d, err := range s.cfg.Bus.Tail(ctx, cfg) {
		if err != nil && d.Subject == "" {
			return fmt.Errorf("follow targets: %w", err)
		}
		t := &eventsv1.TargetRef{}
		if err == nil {
			err = d.Decode(t)
		}
		if err != nil {
			s.cfg.Log.Error("a target cannot be read and is left out", "subject", d.Subject, "error", err)
			continue
		}
		s.mu.Lock()
		if t.GetEngine() == "" { // it was removed; what is still on it keeps its way
			delete(s.targets.told, t.GetName())
		} else {
			s.learn(t, true)
		}
		s.mu.Unlock()
	}
	return nil
}
