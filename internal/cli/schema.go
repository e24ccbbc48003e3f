package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/services/renderer/score"
)

// schemaName is the file that `tow init` looks for and that `tow schema` is meant to write.
const schemaName = "score-v1b1.schema.json"

func (t *tow) schemaCmd() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of Score files, for editors", Args: noArgs,
		Long: `Prints the JSON Schema (draft 2020-12) of Score files, from which editors complete, explain and check. It is made of the rules that
Towpath itself validates with. It asks no server; a server has the same schema at ` + score.SchemaPath + ` of its HTTP address.

Editors with the YAML language server take it from a first line in the Score file, which "tow init" writes where the schema is beside it:
  # yaml-language-server: $schema=` + schemaName,
		Example: "  tow schema -o " + schemaName + "\n  tow schema | jq '.\"$defs\".container.properties | keys'",
	}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "the file to write; - for standard output")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	cmd.RunE = t.run(func(context.Context, []string) error {
		if out == "-" {
			t.printf("%s", score.Schema())
			return nil
		}
		if err := writeNew(out, string(score.Schema()), force); err != nil {
			return err
		}
		t.notef("wrote %s; a Score file names it in its first line: # yaml-language-server: $schema=%s", out, filepath.ToSlash(out))
		return nil
	})
	return cmd
}

// schemaLine gives the comment that tells editors which schema a Score file follows, nothing when there is none to name.
func schemaLine(schema, file string) (string, error) {
	if strings.ContainsAny(schema, " \t\r\n") {
		return "", usagef("--schema %q is neither an address nor a file; give one such as https://towpath.example.com%s", schema, score.SchemaPath)
	}
	if schema == "" {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), schemaName)); err != nil {
			return "", nil //nolint:nilerr // where there is no schema, none is named
		}
		schema = schemaName
	}
	return fmt.Sprintf("# yaml-language-server: $schema=%s\n", schema), nil
}
