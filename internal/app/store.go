package app

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
)

// boltFile is the default store below the data folder.
func boltFile(dataDir string) string { return filepath.Join(dataDir, "catalog", "catalog.db") }

// checkStore finds what is wrong with --store, and what a store that several processes use needs beside it: these processes
// must agree on the event server and the first admin, which a single one makes up for itself.
func (c *completed) checkStore(problem func(flag, format string, args ...any)) {
	if c.Store == "" || !c.runs[Catalog] {
		return
	}
	cfg, err := parseStore(c.Store)
	if err != nil {
		if e, ok := errors.AsType[*errs.Error](err); ok {
			for _, f := range e.Fields {
				problem(f.Path, "%s", f.Problem)
			}
		}
		return
	}
	c.etcd = &cfg
	if c.NATSURL == "" {
		problem("--nats-url", "is needed with --store: the processes on one store share an event server, the embedded one belongs to one process")
	}
	if c.AdminToken == "" {
		problem("--admin-token-file", "is needed with --store: the same secret for all processes on the store")
	}
}

func parseStore(url string) (etcdkv.Config, error) {
	if !etcdkv.IsURL(url) {
		return etcdkv.Config{}, errs.InvalidField("--store", "%q is no etcd URL; write etcd://host:2379,host2:2379/prefix, or leave it out for a file in --data-dir", url)
	}
	return etcdkv.ParseURL("--store", url)
}

// openStore opens the catalog's store and has the process end when the store is broken for good.
func (p *process) openStore(ctx context.Context) (store.KV, error) {
	if p.etcd != nil {
		cfg := *p.etcd
		cfg.Logger = p.Log
		kv, err := etcdkv.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		p.closing(kv.Close)
		return kv, nil
	}
	kv, err := boltkv.Open(boltkv.Config{Path: boltFile(p.DataDir), Logger: p.Log})
	if err != nil {
		return nil, err
	}
	p.closing(kv.Close)
	p.running("store", func(ctx context.Context) error { return untilBroken(ctx, kv.Err) })
	return kv, nil
}
