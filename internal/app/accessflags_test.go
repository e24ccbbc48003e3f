package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/ratelimit"
)

func parseAccess(t *testing.T, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	var f accessFlags
	var cfg Config
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return cfg, f.apply(fs, func(k string) string { return env[k] }, &cfg)
}

func TestAccessIsSetUpByFlagsFileAndEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuers.yaml")
	if err := os.WriteFile(file, []byte("issuers:\n- issuer: https://kubernetes.default.svc\n  audiences: [towpath]\n  kubernetes: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f accessFlags
	var cfg Config
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.add(fs)
	if err := fs.Parse([]string{"--oidc-config", file, "--oidc-audience", "towpath,other", "--oidc-display-name", "Example", "--oidc-client-secret-file", "/etc/secret", "--rate-limit-writes", "0", "--rate-limit-reads", "10"}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"TOWPATH_OIDC_ISSUER": "https://login.example.com", "TOWPATH_OIDC_USERNAME_CLAIM": "email", "TOWPATH_OIDC_CLIENT_ID": "towpath", "TOWPATH_OIDC_SCOPES": "email,groups", "TOWPATH_RATE_LIMIT_READS": "99"}
	if err := f.apply(fs, func(k string) string { return env[k] }, &cfg); err != nil {
		t.Fatal(err)
	}
	want := []oidc.Issuer{
		{URL: "https://kubernetes.default.svc", Audiences: []string{"towpath"}, Kubernetes: true},
		{URL: "https://login.example.com", Audiences: []string{"towpath", "other"}, UsernameClaim: "email",
			ClientID: "towpath", ClientSecretFile: "/etc/secret", DisplayName: "Example", Scopes: []string{"email", "groups"}},
	}
	if d := cmp.Diff(want, cfg.Issuers, cmpopts.IgnoreUnexported(oidc.Issuer{})); d != "" {
		t.Errorf("issuers (-want +got)\n%s", d)
	}
	limits := []ratelimit.Limit{{PerSecond: 10, Burst: 50}, {PerSecond: 0, Burst: 1}, {PerSecond: 1, Burst: 20}}
	if d := cmp.Diff(limits, []ratelimit.Limit{cfg.Limits.Reads, cfg.Limits.Writes, cfg.Limits.Failures}); d != "" {
		t.Errorf("limits (-want +got)\n%s", d)
	}
}

func TestWrongAccessFlagsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"an issuer without an audience": {nil, []string{"--oidc-issuer", "https://a.example.com"}, "--oidc-audience"},
		"a claim without an issuer":     {nil, []string{"--oidc-groups-claim", "x"}, "--oidc-issuer"},
		"a client without an issuer":    {nil, []string{"--oidc-client-id", "x"}, "--oidc-issuer"},
		"no such file":                  {nil, []string{"--oidc-config", "/none"}, "--oidc-config"},
		"a negative limit":              {nil, []string{"--rate-limit-reads", "-1"}, "--rate-limit-reads"},
		"no number in the environment":  {map[string]string{"TOWPATH_RATE_LIMIT_WRITES": "many"}, nil, "$TOWPATH_RATE_LIMIT_WRITES"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAccess(t, c.env, c.args...)
			e, ok := err.(*errs.Error)
			if !ok || e.Kind != errs.Invalid || e.Fields[0].Path != c.want {
				t.Errorf("got %v, want it at %s", err, c.want)
			}
		})
	}
	if _, err := (Config{DataDir: t.TempDir(), Issuers: []oidc.Issuer{{URL: "http://login.example.com", Audiences: []string{"a"}}}}).Complete(); err == nil {
		t.Error("an issuer over plain http is taken")
	}
}

func TestThePublicAddressMustBeOne(t *testing.T) {
	for _, address := range []string{"towpath.example.com", "ftp://x", "https://", "https://x?y=1"} {
		_, err := (Config{DataDir: t.TempDir(), PublicURL: address}).Complete()
		e, ok := err.(*errs.Error)
		if !ok || e.Fields[0].Path != "--public-url" {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestSessionsAreSealedWithASecretThatLastsAndIsShared(t *testing.T) {
	dir := t.TempDir()
	key := func(c Config) string {
		t.Helper()
		a, err := c.Complete()
		if err != nil {
			t.Fatal(err)
		}
		return a.cfg.SessionKey
	}
	first := key(Config{DataDir: dir})
	if again := key(Config{DataDir: dir}); first == "" || first != again {
		t.Error("sessions end with the process")
	}
	if other := key(Config{DataDir: t.TempDir()}); first == other {
		t.Error("two installations have the same key")
	}
	if one, two := key(Config{DataDir: dir, ServiceToken: "shared"}), key(Config{DataDir: t.TempDir(), ServiceToken: "shared"}); one != two {
		t.Error("two processes of an installation have different keys")
	}
}
