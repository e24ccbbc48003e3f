package cli

import (
	"fmt"
	"io"

	udiff "github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// objectPlanFlag adds --plan to commands that change a resource without deploying anything.
func objectPlanFlag(cmd *cobra.Command, plan *bool) {
	cmd.Flags().BoolVar(plan, "plan", false, "show what would change, and change nothing")
}

// objectPlan shows what would become of a resource: its documents before and after, as a difference. One of them is nil where it is
// made or goes. For programs it is the resource as it would be.
func (p *printer) objectPlan(title, name string, before, after proto.Message) error {
	if p.format != "table" && p.format != "wide" && after != nil {
		_, err := p.structured(after, name)
		return err
	}
	texts := [2]string{}
	for i, m := range []proto.Message{before, after} {
		if m == nil {
			continue
		}
		text, err := jsonCompact(m)
		if err == nil {
			text, err = yamlOf(text)
		}
		if err != nil {
			return err
		}
		texts[i] = string(text)
	}
	what := "change"
	switch {
	case before == nil:
		what = "create"
	case after == nil:
		what = "delete"
	}
	head := p.paint(bold, fmt.Sprintf("plan: %s the %s %s", what, title, short(name))) + "\n"
	if texts[0] == texts[1] {
		head += "no difference\n"
	}
	_, err := io.WriteString(p.out, head+p.diff(udiff.Unified("before", "after", texts[0], texts[1]))+"nothing was changed\n")
	if err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return nil
}

// setName gives a resource that is not made yet its name, for a plan.
func setName(m proto.Message, name string) {
	r := m.ProtoReflect()
	r.Set(r.Descriptor().Fields().ByName("name"), protoreflect.ValueOfString(name))
}
