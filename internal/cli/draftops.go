package cli

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// operationFlags are the operations that a command line adds to a draft.
type operationFlags struct{ set, setJSON, unset []string }

func (f *operationFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "write a text, PATH=TEXT; repeat it for several")
	cmd.Flags().StringArrayVar(&f.setJSON, "set-json", nil, "write any value, PATH=JSON; a whole workload is /workloads/NAME")
	cmd.Flags().StringArrayVar(&f.unset, "unset", nil, "remove what is at this path")
}

func (f *operationFlags) operations() ([]*rendererv1.Operation, error) {
	var out []*rendererv1.Operation
	for _, path := range f.unset {
		if !strings.HasPrefix(path, "/") {
			return nil, usagef("--unset %q is no path; give one such as /workloads/api/containers/main/variables/LOG_LEVEL", path)
		}
		out = append(out, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: path})
	}
	add := func(flag, pair string, value func(string) (*structpb.Value, error)) error {
		path, text, ok := strings.Cut(pair, "=")
		if !ok || !strings.HasPrefix(path, "/") {
			return usagef("%s %q is not PATH=VALUE; a path is such as /workloads/api/containers/main/image", flag, pair)
		}
		v, err := value(text)
		if err != nil {
			return usagef("%s %s: the value is no JSON: %v", flag, path, err)
		}
		out = append(out, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: v})
		return nil
	}
	for _, pair := range f.setJSON {
		err := add("--set-json", pair, func(text string) (*structpb.Value, error) {
			var v any
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				return nil, err
			}
			return structpb.NewValue(v)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, pair := range f.set {
		if err := add("--set", pair, func(text string) (*structpb.Value, error) { return structpb.NewStringValue(text), nil }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// editOperations adds operations, each in the place of an earlier one on its path, and takes some away.
func editOperations(ops, added []*rendererv1.Operation, drop []string) ([]*rendererv1.Operation, error) {
	for _, path := range drop {
		n := len(ops)
		ops = slices.DeleteFunc(ops, func(op *rendererv1.Operation) bool { return op.GetPath() == path })
		if len(ops) == n {
			return nil, usagef("the draft has no operation on %s to drop", path)
		}
	}
	for _, op := range added {
		if i := slices.IndexFunc(ops, func(o *rendererv1.Operation) bool { return o.GetPath() == op.GetPath() }); i >= 0 {
			ops[i] = op
		} else {
			ops = append(ops, op)
		}
	}
	return ops, nil
}
