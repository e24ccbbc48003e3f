package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// secretSource are the flags that say where a secret variable's value comes from.
type secretSource struct{ reference, sealedFile, remote, remoteVersion string }

func (s *secretSource) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.reference, "secret", "", "refer to this key of a Secret, NAME/KEY, instead of giving a value")
	cmd.Flags().StringVar(&s.sealedFile, "sealed-file", "", "with --secret: a file with the value's ciphertext, - for standard input; tow secret seal makes one")
	cmd.Flags().StringVar(&s.remote, "remote", "", "with --secret: where the secret store has the value, KEY or KEY#PROPERTY")
	cmd.Flags().StringVar(&s.remoteVersion, "remote-version", "", "with --remote: the version of it; the newest when not given")
}

func (s *secretSource) given() bool { return s.reference != "" }

// read makes the reference, nil when none is given.
func (s *secretSource) read(t *tow) (*rendererv1.SecretReference, error) {
	switch {
	case s.reference == "" && s.sealedFile+s.remote+s.remoteVersion != "":
		return nil, usagef("--sealed-file and --remote say where a secret comes from; name it with --secret NAME/KEY")
	case s.reference == "":
		return nil, nil
	case s.remoteVersion != "" && s.remote == "":
		return nil, usagef("--remote-version is about --remote; give that too")
	}
	ref, err := secretReference("--secret", s.reference)
	if err != nil {
		return nil, err
	}
	if s.remote != "" {
		key, property, _ := strings.Cut(s.remote, "#")
		ref.Remote = &rendererv1.RemoteKey{Key: key, Property: property, Version: s.remoteVersion}
	}
	if s.sealedFile != "" {
		ref.Sealed, err = t.readSealed(s.sealedFile)
	}
	return ref, err
}

// readSealed reads a ciphertext and refuses what is none: a value that was taken for one never leaves this machine.
func (t *tow) readSealed(file string) (string, error) {
	text, err := []byte(nil), error(nil)
	if file == "-" {
		text, err = readAll("standard input", t.Stdin)
	} else {
		text, err = readLimited(file)
	}
	if err != nil {
		return "", err
	}
	sealed := strings.TrimSpace(string(text))
	if problem := secrets.SealedProblem(sealed); problem != "" {
		return "", usagef("what --sealed-file gives %s", problem)
	}
	return sealed, nil
}

// secretText tells a reference in a line; a ciphertext is long and told by its end.
func secretText(ref *rendererv1.SecretReference) string {
	out := "secret " + ref.GetName() + "/" + ref.GetKey()
	if r := ref.GetRemote(); r != nil {
		out += " from " + r.GetKey()
		if r.GetProperty() != "" {
			out += "#" + r.GetProperty()
		}
	}
	if ref.GetSealed() != "" {
		out += " sealed " + secrets.CutSealed(ref.GetSealed())
	}
	return out
}

var strategies = []string{"generated", "external-secrets", "sealed-secrets", "existing"}

func strategyName(s rendererv1.SecretRules_Strategy) string {
	if s == rendererv1.SecretRules_STRATEGY_UNSPECIFIED {
		return strategies[0]
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "STRATEGY_")), "_", "-")
}

func secretRulesText(r *rendererv1.SecretRules) string {
	out := strategyName(r.GetStrategy())
	if r.GetStore() != "" {
		kind := "ClusterSecretStore"
		if r.GetNamespacedStore() {
			kind = "SecretStore"
		}
		out += " from " + kind + " " + r.GetStore()
	}
	return out
}

// secretFields are the flags of an environment type that say where Secrets come from.
func secretFields(fs *pflag.FlagSet) []field[environmentType] {
	rules := func(m environmentType) *rendererv1.SecretRules {
		if m.Defaults == nil {
			m.Defaults = &rendererv1.EnvironmentDefaults{}
		}
		if m.Defaults.Secrets == nil {
			m.Defaults.Secrets = &rendererv1.SecretRules{}
		}
		return m.Defaults.Secrets
	}
	strategy := fs.String("secret-strategy", "", "where Secrets come from: "+strings.Join(strategies, ", ")+" (default generated)")
	return []field[environmentType]{
		{"secret-strategy", "defaults.secrets.strategy", func(m environmentType) error {
			i := slices.Index(strategies, *strategy)
			if *strategy != "" && i < 0 {
				return usagef("--secret-strategy %q is none; give %s", *strategy, strings.Join(strategies, ", "))
			}
			rules(m).Strategy = rendererv1.SecretRules_Strategy(i + 1) //nolint:gosec // the enum's values are those of the list, from 1; 0 is unset
			return nil
		}},
		text(fs, "secret-store", "defaults.secrets.store", "with external-secrets: the ClusterSecretStore of values that have a place in a store",
			func(m environmentType, v string) { rules(m).Store = v }),
		choice(fs, "secret-store-namespaced", "defaults.secrets.namespaced_store", "with external-secrets: the store is a SecretStore of each namespace", false,
			func(m environmentType, v bool) { rules(m).NamespacedStore = v }),
		text(fs, "secret-refresh", "defaults.secrets.refresh_interval", "with external-secrets: how often values are read from the store, such as 30m (default 1h)",
			func(m environmentType, v string) { rules(m).RefreshInterval = v }),
	}
}
