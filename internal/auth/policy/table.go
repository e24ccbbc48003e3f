package policy

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/towpath-dev/towpath/internal/auth"
)

// Services are all gRPC services of Towpath, in the order of the documentation. Their packages must be linked in.
var Services = []protoreflect.FullName{
	"towpath.catalog.v1.CatalogService", "towpath.catalog.v1.DraftService", "towpath.catalog.v1.ManifestService", "towpath.catalog.v1.GitService", "towpath.catalog.v1.VariableService",
	"towpath.catalog.v1.FindingService", "towpath.catalog.v1.AdoptionService",
	"towpath.catalog.v1.DefinitionService", "towpath.catalog.v1.AccessService", "towpath.events.v1.EventService",
	"towpath.drift.v1.DriftService", "towpath.drift.v1.LiveService", "towpath.drift.v1.InspectService", "towpath.renderer.v1.RendererService", "towpath.committer.v1.CommitterService",
}

// Permits reports whether a role that holds everywhere permits the action, by the built-in policies; Nobody is who has no role.
func Permits(r auth.Role, a auth.Action) bool {
	c := auth.Caller{Subject: "users/somebody", Role: r}
	return BuiltinOnly().Decide(c, a, auth.Everything).Allowed
}

// Table writes the generated part of docs/access.md: which role includes which action, and every RPC with its action, its
// resource and the roles that may call it.
func Table() (string, error) {
	var b strings.Builder
	b.WriteString("### Actions and roles\n\n| Action | without a role | viewer | deployer | developer | operator | admin |\n|---|:-:|:-:|:-:|:-:|:-:|:-:|\n")
	for _, a := range auth.Actions {
		fmt.Fprintf(&b, "| `%s` |%s\n", a, marks(a))
	}
	b.WriteString("\n### RPCs\n")
	for _, name := range Services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			return "", fmt.Errorf("service %s: %w", name, err)
		}
		fmt.Fprintf(&b, "\n#### %s\n\n| RPC | REST | Action | On | without a role | viewer | deployer | developer | operator | admin |\n", name)
		b.WriteString("|---|---|---|---|:-:|:-:|:-:|:-:|:-:|:-:|\n")
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			rule, ok := auth.MethodRule("/" + string(name) + "/" + string(m.Name()))
			if !ok {
				return "", fmt.Errorf("%s.%s has no access rule: add it to internal/auth/methods.go", name, m.Name())
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |%s\n", m.Name(), rest(m), rule.Action, place(rule), marks(rule.Action))
		}
	}
	return b.String(), nil
}

func marks(a auth.Action) string {
	var b strings.Builder
	for _, r := range append([]auth.Role{auth.Nobody}, auth.Roles...) {
		if Permits(r, a) {
			b.WriteString(" yes |")
		} else {
			b.WriteString(" |")
		}
	}
	return b.String()
}

// place says what a rule is about, with what the call may need beside.
func place(r auth.Rule) string {
	out := r.On.Doc
	if r.Rows != "" {
		out += "; rows that may not be read are left out"
	}
	for _, c := range r.Also {
		out += fmt.Sprintf("; also `%s` on %s", c.Action, c.On.Doc)
	}
	return out
}

func rest(m protoreflect.MethodDescriptor) string {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return ""
	}
	verb, path := Route(rule)
	return "`" + verb + " " + path + "`"
}

// Route gives the verb and path of an RPC over REST, "" where it has none.
func Route(r *annotations.HttpRule) (verb, path string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	}
	return "", ""
}
