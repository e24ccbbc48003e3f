package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) pinCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pin APP/ENV DEFINITION VERSION", Short: "Keep an environment to a version of a resource definition",
		Args: exactArgs("an environment such as shop/dev", "the id of a resource definition", "a version"),
		Long: `Keeps an environment to one version of a resource definition, whatever is active: from its next deployment on, until it is
unpinned. Only a version that is or was active can be pinned.`,
		Example: "  tow env pin shop/prod postgres-rds 2",
	}
	cmd.ValidArgsFunction = t.completePin
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		version, err := versionName(args[1], args[2], false)
		if err != nil {
			return err
		}
		definition, number, _ := strings.Cut(version, "/versions/")
		env, err := t.repin(ctx, args[0], func(_ string, pins map[string]string) error {
			pins[definition] = version
			return nil
		})
		if err != nil {
			return err
		}
		t.printf("pinned %s to version %s of %s; it takes effect with the next deployment\n", env, number, last(definition))
		return nil
	})
	return cmd
}

func (t *tow) unpinCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "unpin APP/ENV DEFINITION", Short: "Let an environment follow a resource definition again",
		Args:    exactArgs("an environment such as shop/dev", "the id of a resource definition"),
		Long:    "Takes a pin away: from its next deployment on, the environment uses the active version again.",
		Example: "  tow env unpin shop/prod postgres-rds",
	}
	cmd.ValidArgsFunction = t.completePin
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		definition, err := definitionName(args[1])
		if err != nil {
			return err
		}
		env, err := t.repin(ctx, args[0], func(env string, pins map[string]string) error {
			if pins[definition] == "" {
				return usagef("%s is not pinned to a version of %s", env, last(definition))
			}
			delete(pins, definition)
			return nil
		})
		if err != nil {
			return err
		}
		t.printf("unpinned %s from %s; it takes effect with the next deployment\n", env, last(definition))
		return nil
	})
	return cmd
}

// repin changes the pins of an environment, and gives its short name.
func (t *tow) repin(ctx context.Context, arg string, change func(env string, pins map[string]string) error) (string, error) {
	name, err := envName(arg)
	if err != nil {
		return "", err
	}
	c, err := t.api()
	if err != nil {
		return "", err
	}
	e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
	if err != nil {
		return "", err
	}
	if e.DefinitionPins == nil {
		e.DefinitionPins = map[string]string{}
	}
	if err := change(short(name), e.GetDefinitionPins()); err != nil {
		return "", err
	}
	_, err = c.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: name, Etag: e.GetEtag(), DefinitionPins: e.GetDefinitionPins()},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"definition_pins"}},
	})
	return short(name), err
}

// completePin completes an environment, then a definition, then its version.
func (t *tow) completePin(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return t.completeEnvs(cmd, args, prefix)
	}
	return t.completeVersions(cmd, args[1:], prefix)
}
