package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift"
)

func TestAuditFeedsOfClustersAreRefusedWhereTheyCannotWork(t *testing.T) {
	tests := []struct {
		name  string
		cfg   Config
		field string
	}{
		{"a file without a target", Config{ClusterAudit: ClusterAudit{Logs: map[string]string{"": "/var/log/audit.log"}}}, "--audit-log"},
		{"a target without a file", Config{ClusterAudit: ClusterAudit{TokenFiles: map[string]string{"default": ""}}}, "--audit-webhook-token-file"},
		{"a path as a target", Config{ClusterAudit: ClusterAudit{Logs: map[string]string{"targets/a/b": "/x"}}}, "--audit-log"},
		{"a process without drift", Config{
			Targets: []Target{Catalog, Gateway}, ServiceToken: "0123456789abcdef", Addresses: map[Target]string{Renderer: "a:1", Committer: "a:1", Drift: "a:1"},
			ClusterAudit: ClusterAudit{Logs: map[string]string{"default": "/x"}},
		}, "--audit-log"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.DataDir = t.TempDir()
			_, err := tt.cfg.Complete()
			var e *errs.Error
			if !errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Path != tt.field {
				t.Errorf("refused with %v, want one problem of %s", err, tt.field)
			}
		})
	}
}

func TestTokensOfAuditWebhooksComeFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := ClusterAudit{Logs: map[string]string{"default": "/a"}, TokenFiles: map[string]string{"default": file}}
	got, err := c.drift()
	if err != nil {
		t.Fatal(err)
	}
	want := drift.AuditConfig{Files: map[string]string{"default": "/a"}, Tokens: map[string]string{"default": "0123456789abcdef"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.drift(); !errs.Is(err, errs.Invalid) {
		t.Errorf("a short token: %v", err)
	}
}
