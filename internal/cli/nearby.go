package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// nearbyTime bounds how long a name that does not exist is compared with those that do: the error is what matters.
const nearbyTime = time.Second

// nearby gives a hint for a name that does not exist: the one that was probably meant, or what there is.
func (t *tow) nearby(err error) string {
	var e *errs.Error
	if t.client == nil || !errors.As(err, &e) || e.Kind != errs.NotFound {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), nearbyTime) // the command's own may be over
	defer cancel()
	t.client.retry = 0
	missing := e.Meta["resource"]
	names, list := t.siblings(ctx, missing)
	if len(names) == 0 {
		return ""
	}
	wanted := last(missing)
	best, distance := "", len(wanted)/3+2
	for _, name := range names {
		if d := editDistance(wanted, last(name)); d < distance {
			best, distance = name, d
		}
	}
	if best != "" && best != missing {
		return "did you mean " + short(best) + "? " + list + " shows all"
	}
	return list + " shows what there is"
}

// siblings gives what exists beside a name, and the command that lists it.
func (t *tow) siblings(ctx context.Context, name string) ([]string, string) {
	p := strings.Split(name, "/")
	switch {
	case len(p) == 2 && p[0] == applications:
		return namesOf(ctx, t, t.applications()), "tow app list"
	case len(p) == 2 && p[0] == environmentTypes:
		return namesOf(ctx, t, t.environmentTypes()), "tow type list"
	case len(p) == 2 && p[0] == targets:
		return namesOf(ctx, t, t.targets()), "tow target list"
	case len(p) == 2 && p[0] == repositories:
		return namesOf(ctx, t, t.repositories()), "tow repo list"
	case len(p) == 2 && p[0] == resourceDefinitions:
		return namesOf(ctx, t, t.definitions()), "tow definition list"
	case len(p) >= 4 && p[0] == applications && p[2] == environments && len(p) != 4:
		return t.siblingsIn(ctx, strings.Join(p[:4], "/"), p)
	case len(p) == 4 && p[0] == applications && p[2] == environments:
		l, _, err := listEnvironmentsPage(ctx, t.client, p[0]+"/"+p[1], 1000, "")
		if err != nil || len(l) == 0 { // perhaps the application is the one that does not exist
			return namesOf(ctx, t, t.environments()), "tow env list"
		}
		return fullNames(l), "tow env list " + p[1]
	case len(p) == 4 && p[0] == applications && p[2] == drafts:
		l, _, err := listDraftsPage(ctx, t.client, p[0]+"/"+p[1], 1000, "")
		if err != nil {
			return nil, ""
		}
		return fullNames(l), "tow draft list " + p[1]
	}
	return nil, ""
}

// siblingsIn gives what exists beside a name below an environment.
func (t *tow) siblingsIn(ctx context.Context, env string, parts []string) ([]string, string) {
	if parts[4] != "variables" {
		return nil, ""
	}
	l, err := t.client.variables().ListVariables(ctx, &catalogv1.ListVariablesRequest{Parent: env, PageSize: 1000})
	if err != nil {
		return nil, ""
	}
	return fullNames(l.GetVariables()), "tow var list -e " + short(env)
}

func namesOf[T named](ctx context.Context, t *tow, n noun[T]) []string {
	l, _, err := n.list(ctx, t.client, 1000, "")
	if err != nil {
		return nil
	}
	return fullNames(l)
}

func fullNames[T named](items []T) []string {
	var out []string
	for _, m := range items {
		out = append(out, m.GetName())
	}
	return out
}

// editDistance counts the letters to add, take away, change or swap with a neighbour to make b of a.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(y)]
}
