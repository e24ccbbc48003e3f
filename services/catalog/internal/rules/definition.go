package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Definitions is the collection of resource definitions.
const Definitions = "resourceDefinitions"

// BuiltinDefinition begins the names of definitions that are part of Towpath; they have no rows.
const BuiltinDefinition = "builtin/"

// DefinitionVersion is a version of a resource definition.
type DefinitionVersion struct {
	ID     string
	Number int64
}

// Name gives resourceDefinitions/{id}/versions/{number}.
func (v DefinitionVersion) Name() string {
	return Definitions + "/" + v.ID + "/versions/" + strconv.FormatInt(v.Number, 10)
}

// ParseDefinitionVersion takes a version's name apart. The last part may be the word "active" or "latest"; then the number is 0.
func ParseDefinitionVersion(field, name string) (v DefinitionVersion, word string, err error) {
	const form = Definitions + "/{id}/versions/{number}"
	parent, last, ok := strings.Cut(name, "/versions/")
	if !ok {
		return v, "", badName(field, name, form)
	}
	if v.ID, err = ParseName(field, Definitions, parent); err != nil {
		return v, "", badName(field, name, form)
	}
	if last == "active" || last == "latest" {
		return v, last, nil
	}
	if v.Number, ok = ParseGeneration(last); !ok {
		return v, "", badName(field, name, form)
	}
	return v, "", nil
}

// DefinitionHash gives the SHA-256 of a definition's content in hex; its name does not count.
func DefinitionHash(d *rendererv1.ResourceDefinition) string {
	d = proto.CloneOf(d)
	d.Name = ""
	return fingerprint(d)
}

// SameCriteria refuses two definitions that would both answer the same request equally well: of one type and class, with equal
// criteria.
func SameCriteria(d, other *rendererv1.ResourceDefinition) error {
	if d.GetType() != other.GetType() || classOf(d) != classOf(other) {
		return nil
	}
	theirs := map[string]bool{}
	for _, c := range criteriaOf(other) {
		theirs[criteriaText(c)] = true
	}
	for _, c := range criteriaOf(d) {
		if text := criteriaText(c); theirs[text] {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION,
				"%s answers %s.%s for %s already; give this one other criteria or another class, or archive that one first",
				other.GetName(), d.GetType(), classOf(d), text).With("other", other.GetName())
		}
	}
	return nil
}

func classOf(d *rendererv1.ResourceDefinition) string {
	if d.GetClass() == "" {
		return "default"
	}
	return d.GetClass()
}

func criteriaOf(d *rendererv1.ResourceDefinition) []*rendererv1.Criteria {
	if len(d.GetCriteria()) == 0 {
		return []*rendererv1.Criteria{{}}
	}
	return d.GetCriteria()
}

func criteriaText(c *rendererv1.Criteria) string {
	var parts []string
	for _, f := range []struct{ name, value string }{{"res_id", c.GetResId()}, {"env", c.GetEnv()}, {"app", c.GetApp()}, {"env_type", c.GetEnvType()}} {
		if f.value != "" {
			parts = append(parts, f.name+"="+f.value)
		}
	}
	if len(parts) == 0 {
		return "every request"
	}
	return strings.Join(parts, ", ")
}

// Activated notes that a version is used from now on.
func Activated(v *catalogv1.DefinitionVersion, actor string, at *timestamppb.Timestamp) {
	v.State, v.ActivateTime, v.ActivateActor, v.UpdateTime = catalogv1.DefinitionVersion_STATE_ACTIVE, at, actor, at
}

// Archived notes that a version is no longer used.
func Archived(v *catalogv1.DefinitionVersion, at *timestamppb.Timestamp) {
	v.State, v.UpdateTime = catalogv1.DefinitionVersion_STATE_ARCHIVED, at
}

// Impact gives what changes for an environment between two renderings: the resources that another definition answers, and the
// files that differ.
func Impact(before, after *rendererv1.RenderResponse) (resources, files []string) {
	return differing(before.GetAnswers(), after.GetAnswers(), func(a, b string) bool { return a == b }),
		differing(before.GetBundle().GetFiles(), after.GetBundle().GetFiles(), func(a, b []byte) bool { return string(a) == string(b) })
}

// differing gives the keys whose values differ or that only one has, sorted.
func differing[V any](a, b map[string]V, same func(V, V) bool) (out []string) {
	for k, v := range a {
		if w, ok := b[k]; !ok || !same(v, w) {
			out = append(out, k)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// PlanDigest adds up a blast radius. It holds what a person was shown of each environment, and not the environments' own
// versions: a deployment in between that changes nothing about it does not move the plan.
type PlanDigest struct{ text strings.Builder }

// Add takes one environment in.
func (d *PlanDigest) Add(r *catalogv1.PlanDefinitionResponse) {
	fmt.Fprintf(&d.text, "%q %q %q %q\n", r.GetEnvironment(), r.GetResources(), r.GetFiles(), r.GetError())
	if d.text.Len() > 1<<20 { // bounded memory: the hash so far stands for what was added
		sum := d.Sum()
		d.text.Reset()
		d.text.WriteString(sum + "\n")
	}
}

// Sum gives the hash in hex.
func (d *PlanDigest) Sum() string {
	sum := sha256.Sum256([]byte(d.text.String()))
	return hex.EncodeToString(sum[:])
}

// InDefinition renames the fields of the renderer's request as they are called in the catalog's.
func InDefinition(err error, from, to string) error {
	var e *errs.Error
	if errors.As(err, &e) {
		for i, f := range e.Fields {
			if rest, ok := strings.CutPrefix(f.Path, from); ok {
				e.Fields[i].Path = to + rest
			}
		}
	}
	return err
}
