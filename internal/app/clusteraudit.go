package app

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/towpath-dev/towpath/services/drift"
)

// ClusterAudit says where the audit events of clusters come from, by target. They name the persons behind what drift finds.
type ClusterAudit struct {
	// Logs are audit log files that this process can read.
	Logs map[string]string
	// TokenFiles hold the tokens by which API servers send their events to drift.AuditPath.
	TokenFiles map[string]string
}

func (c *ClusterAudit) add(fs *pflag.FlagSet) {
	fs.StringToStringVar(&c.Logs, "audit-log", nil, "TARGET=FILE: audit log of the target's API server, which names who made a change; may be given several times")
	fs.StringToStringVar(&c.TokenFiles, "audit-webhook-token-file", nil,
		"TARGET=FILE: token by which the target's API server sends audit events to /hooks/audit/TARGET; may be given several times")
}

// drift reads the tokens.
func (c *ClusterAudit) drift() (drift.AuditConfig, error) {
	cfg := drift.AuditConfig{Files: c.Logs, Tokens: map[string]string{}}
	for _, target := range slices.Sorted(maps.Keys(c.TokenFiles)) {
		token, err := readSecret("--audit-webhook-token-file", c.TokenFiles[target])
		if err != nil {
			return cfg, err
		}
		cfg.Tokens[target] = token
	}
	return cfg, nil
}

// check reports what cannot work.
func (c *ClusterAudit) check(driftHere bool, problem func(flag, format string, args ...any)) {
	for flag, values := range map[string]map[string]string{"--audit-log": c.Logs, "--audit-webhook-token-file": c.TokenFiles} {
		for _, target := range slices.Sorted(maps.Keys(values)) {
			if id := strings.TrimPrefix(target, "targets/"); id == "" || strings.Contains(id, "/") || values[target] == "" {
				problem(flag, "%q is not TARGET=FILE, such as local=/var/log/kubernetes/audit.log", target+"="+values[target])
			}
		}
		if len(values) > 0 && !driftHere {
			problem(flag, "is for a process that runs drift; give it to that one")
		}
	}
}
