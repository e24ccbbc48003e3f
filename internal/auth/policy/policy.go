// Package policy decides who may do what, by Cedar policies: the built-in ones are the roles, an organisation adds its own.
//
// What belongs here: the policies, their entities and the decision. What does not: where bindings and policies are kept, and who
// a token belongs to.
package policy

import (
	_ "embed" // for the policies
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Builtin is the text of the built-in policies.
//
//go:embed builtin.cedar
var Builtin string

// Schema is the text of the Cedar schema of all entities and actions.
//
//go:embed schema.cedarschema
var Schema string

// parsed is the built-in policies and the checker of others. They are ours and constant: that they cannot be read is a fault that
// no test gets past.
var parsed = func() (p struct {
	policies cedar.PolicyList
	ids      []string
	check    *validate.Validator
}) {
	var err error
	if p.policies, err = cedar.NewPolicyListFromBytes("builtin.cedar", []byte(Builtin)); err != nil {
		panic(err)
	}
	for _, policy := range p.policies {
		p.ids = append(p.ids, "builtin/"+string(policy.Annotations()["id"]))
	}
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(Schema)); err != nil {
		panic(err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		panic(err)
	}
	p.check = validate.New(resolved)
	return p
}()

// About gives what a built-in policy is for, by its id such as builtin/developer.
func About(id string) string {
	for i, known := range parsed.ids {
		if known == id {
			return string(parsed.policies[i].Annotations()["about"])
		}
	}
	return ""
}

// Document is a named text of policies of an organisation.
type Document struct {
	// Name is its resource name, policies/{policy}.
	Name string
	Text string
}

// Check checks the text of a document. The error is errs.Invalid and names every wrong place by line and column below field. A
// policy that does not fit the schema is wrong too: one that names an action or attribute that does not exist would never
// hold, and a forbid that never holds is a hole.
func Check(field, text string) error {
	_, err := parse(field, text)
	return err
}

var position = regexp.MustCompile(`<input>:(\d+):(\d+)`)

func parse(field, text string) (cedar.PolicyList, error) {
	list, err := cedar.NewPolicyListFromBytes("<input>", []byte(text))
	if err != nil {
		line, column := 1, 1
		if m := position.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
			column, _ = strconv.Atoi(m[2])
		}
		said := strings.TrimPrefix(err.Error(), "parser error: ")
		return nil, errs.InvalidField(at(field, line, column), "is no Cedar: %s", position.ReplaceAllString(said, "this place"))
	}
	if len(list) == 0 {
		return nil, errs.InvalidField(field, "holds no policy; write at least one permit or forbid")
	}
	var bad []errs.Field
	for i, p := range list {
		for _, err := range flatten(parsed.check.Policy("policy"+strconv.Itoa(i), (*ast.Policy)(p.AST()))) {
			pos := p.Position()
			bad = append(bad, errs.Field{
				Path:    at(field, pos.Line, pos.Column),
				Problem: fmt.Sprintf("this policy does not fit: %v; docs/access.md has the entities, attributes and actions", err),
			})
		}
	}
	if len(bad) > 0 {
		return nil, errs.InvalidFields(bad...)
	}
	return list, nil
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	var many interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return slices.CompactFunc(out, func(a, b error) bool { return a.Error() == b.Error() })
	}
	return []error{err}
}

func at(field string, line, column int) string { return fmt.Sprintf("%s:%d:%d", field, line, column) }
