package app

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/ratelimit"
)

// DefaultLimits let through whatever people and pipelines do, and stop programs that run wild.
func DefaultLimits() *ratelimit.Config {
	return &ratelimit.Config{
		Reads:    ratelimit.Limit{PerSecond: 1000, Burst: 5000},
		Writes:   ratelimit.Limit{PerSecond: 100, Burst: 1000},
		Failures: ratelimit.Limit{PerSecond: 1, Burst: 20},
	}
}

// accessFlags are how access is set up on the command line. Each can be given in the environment too, for containers.
type accessFlags struct {
	file, issuer, audience, username, groups string
	client, secretFile, scopes, displayName  string
	reads, writes, failures                  float64
}

// accessEnv names the variable of the environment of each flag.
var accessEnv = map[string]string{
	"oidc-config": "TOWPATH_OIDC_CONFIG", "oidc-issuer": "TOWPATH_OIDC_ISSUER", "oidc-audience": "TOWPATH_OIDC_AUDIENCE",
	"oidc-username-claim": "TOWPATH_OIDC_USERNAME_CLAIM", "oidc-groups-claim": "TOWPATH_OIDC_GROUPS_CLAIM",
	"oidc-client-id": "TOWPATH_OIDC_CLIENT_ID", "oidc-client-secret-file": "TOWPATH_OIDC_CLIENT_SECRET_FILE",
	"oidc-scopes": "TOWPATH_OIDC_SCOPES", "oidc-display-name": "TOWPATH_OIDC_DISPLAY_NAME",
	"rate-limit-reads": "TOWPATH_RATE_LIMIT_READS", "rate-limit-writes": "TOWPATH_RATE_LIMIT_WRITES",
	"rate-limit-failures": "TOWPATH_RATE_LIMIT_FAILURES",
}

func (f *accessFlags) add(fs *pflag.FlagSet) {
	env := func(flag, usage string) (string, string) { return flag, usage + " ($" + accessEnv[flag] + ")" }
	text := func(p *string, flag, usage string) {
		name, usage := env(flag, usage)
		fs.StringVar(p, name, "", usage)
	}
	number := func(p *float64, flag, usage string, def float64) {
		name, usage := env(flag, usage)
		fs.Float64Var(p, name, def, usage)
	}
	text(&f.file, "oidc-config", "YAML file of identity providers whose tokens are taken: issuers: [{issuer, audiences, usernameClaim, groupsClaim,\n"+
		"usernamePrefix, groupsPrefix, kubernetes, keysURL, caFile, tokenFile, clientID, clientSecretFile, scopes, displayName}];\n"+
		"kubernetes is for service accounts of a cluster, clientID for signing in to the portal")
	text(&f.issuer, "oidc-issuer", "one more identity provider, such as https://login.example.com")
	text(&f.audience, "oidc-audience", "audiences of --oidc-issuer, separated by commas; one must be in a token")
	text(&f.username, "oidc-username-claim", "claim of --oidc-issuer with the name of users/{name} (default sub)")
	text(&f.groups, "oidc-groups-claim", "claim of --oidc-issuer with the groups (default groups)")
	text(&f.client, "oidc-client-id", "what the portal is registered as at --oidc-issuer, for signing in with a browser; its redirect address is\n"+
		"/session/oidc/callback below --public-url, or below the address that the browser asks")
	text(&f.secretFile, "oidc-client-secret-file", "file with the secret of --oidc-client-id (default: a public client, with PKCE alone)")
	text(&f.scopes, "oidc-scopes", "scopes to ask --oidc-issuer for, separated by commas (default: profile, email, groups and offline_access, as it offers them)")
	text(&f.displayName, "oidc-display-name", "what the sign-in page calls --oidc-issuer (default: its host)")
	d := DefaultLimits()
	number(&f.reads, "rate-limit-reads", "reads a second of one user, token or service account, five times as many at once; 0 for no limit", d.Reads.PerSecond)
	number(&f.writes, "rate-limit-writes", "changes a second of one user, token or service account, ten times as many at once; 0 for no limit", d.Writes.PerSecond)
	number(&f.failures, "rate-limit-failures", "calls a second without a valid token from one address, twenty times as many at once; 0 for no limit", d.Failures.PerSecond)
}

// apply takes the flags over, and what of them only the environment has.
func (f *accessFlags) apply(fs *pflag.FlagSet, getenv func(string) string, cfg *Config) error {
	for flag, name := range accessEnv {
		if v := getenv(name); v != "" && !fs.Changed(flag) {
			if err := fs.Set(flag, v); err != nil {
				return errs.InvalidField("$"+name, "%v", err)
			}
		}
	}
	if f.file != "" {
		b, err := os.ReadFile(f.file)
		if err != nil {
			return errs.InvalidField("--oidc-config", "%v", err)
		}
		if cfg.Issuers, err = oidc.Parse(b); err != nil {
			return err
		}
	}
	switch {
	case f.issuer != "" && f.audience == "":
		return errs.InvalidField("--oidc-audience", "is needed with --oidc-issuer: without it a token for any other program would open Towpath")
	case f.issuer != "":
		i := oidc.Issuer{
			URL: f.issuer, Audiences: strings.Split(f.audience, ","), UsernameClaim: f.username, GroupsClaim: f.groups,
			ClientID: f.client, ClientSecretFile: f.secretFile, DisplayName: f.displayName,
		}
		if f.scopes != "" {
			i.Scopes = strings.Split(f.scopes, ",")
		}
		cfg.Issuers = append(cfg.Issuers, i)
	case f.audience+f.username+f.groups+f.client+f.secretFile+f.scopes+f.displayName != "":
		return errs.InvalidField("--oidc-issuer", "is needed for the other --oidc flags; several issuers go into --oidc-config")
	}
	limits := DefaultLimits()
	for _, l := range []struct {
		flag  string
		value float64
		limit *ratelimit.Limit
	}{{"--rate-limit-reads", f.reads, &limits.Reads}, {"--rate-limit-writes", f.writes, &limits.Writes}, {"--rate-limit-failures", f.failures, &limits.Failures}} {
		if l.value < 0 {
			return errs.InvalidField(l.flag, "%s is negative; give calls a second, or 0 for no limit", strconv.FormatFloat(l.value, 'g', -1, 64))
		}
		l.limit.Burst = int(max(1, l.value*float64(l.limit.Burst)/l.limit.PerSecond))
		l.limit.PerSecond = l.value
	}
	cfg.Limits = limits
	return nil
}
