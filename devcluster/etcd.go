package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// startEtcd runs a single etcd member inside this process. As in a real cluster only the holder of etcd's own client
// certificate may talk to it: whoever can write to etcd owns the cluster, and loopback is shared by all users of a machine.
func (c *Cluster) startEtcd(ctx context.Context) error {
	wal.SegmentSizeBytes = 4 << 20 // the default is 64 MiB, and two are preallocated per start
	member, err := embed.StartEtcd(c.etcdConfig())
	if err != nil {
		return err
	}
	c.onStop(member.Close)
	select {
	case <-member.Server.ReadyNotify():
	case err := <-member.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startTimeout):
		return errors.New("not ready in time; its log is " + c.dir.file(etcdLogName))
	}
	c.etcdURL = "https://" + member.Clients[0].Addr().String()
	c.opts.Logf("etcd ready on %s", c.etcdURL)
	return nil
}

func (c *Cluster) etcdConfig() *embed.Config {
	// Port 0: the kernel picks, so two clusters that start at once cannot take each other's port.
	any := []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	tls := transport.TLSInfo{
		CertFile: c.pki.path(etcdIdentity + ".crt"), KeyFile: c.pki.path(etcdIdentity + ".key"),
		TrustedCAFile: c.pki.path("ca.crt"), ClientCertAuth: true, AllowedCNs: []string{etcdIdentity},
	}
	e := embed.NewConfig()
	e.Dir = c.dir.file(etcdName)
	e.ListenClientUrls, e.AdvertiseClientUrls, e.ClientTLSInfo = any, any, tls
	e.ListenPeerUrls, e.AdvertisePeerUrls, e.PeerTLSInfo = any, any, tls
	e.InitialCluster = e.InitialClusterFromName(e.Name)
	e.UnsafeNoFsync = true // a killed process loses nothing, a power failure may: fine for development, and much faster
	e.EnableGRPCGateway = false
	e.LogLevel = "error"
	e.LogOutputs = []string{c.dir.file(etcdLogName)}
	e.TickMs, e.ElectionMs = 10, 100 // a single member elects itself after one election timeout: make it short
	return e
}
