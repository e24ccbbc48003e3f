package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// noun is a kind of resource that people create, get, list, update and delete. What differs between the kinds is here, and the
// five commands are made of it.
type noun[T named] struct {
	// use is the command, "app"; title and plural are what it is called in sentences, "application".
	use, title, plural string
	// arg is what the help calls its id, and id is an example of one.
	arg, id string
	// what tells what the resource is.
	what string
	// flags are examples of flags for create and update.
	createFlags, updateFlags string
	columns                  []column[T]
	fresh                    func() T
	name                     func(string) (string, error)
	fields                   func(*pflag.FlagSet) []field[T]
	// createFields are for what can be set once only; nil for none.
	createFields func(*pflag.FlagSet) []field[T]
	create       func(ctx context.Context, c *client, name string, m T) (T, error)
	get          func(ctx context.Context, c *client, name string) (T, error)
	update       func(ctx context.Context, c *client, m T, mask *fieldmaskpb.FieldMask) (T, error)
	remove       func(ctx context.Context, c *client, name string) error
	list         func(ctx context.Context, c *client, size int32, token string) ([]T, string, error)
	listOf       func([]T) proto.Message
	// watch opens the API's watch of the list; nil where there is none.
	watch follower[T]
}

// field is one flag that sets a field of a resource.
type field[T any] struct {
	flag string
	// path is the field's place in an update mask.
	path string
	// set takes the flag's value over; old tells it what to change where a flag changes only a part.
	set func(m T) error
}

func (n noun[T]) group(t *tow, long string, more ...*cobra.Command) *cobra.Command {
	cmds := append([]*cobra.Command{n.createCmd(t), n.getCmd(t), n.listCmd(t), n.updateCmd(t), n.deleteCmd(t)}, more...)
	return n.groupOf(t, long, cmds...)
}

func (n noun[T]) groupOf(t *tow, long string, cmds ...*cobra.Command) *cobra.Command {
	g := t.group(n.use, "Create, look at and change "+n.plural, long,
		"  tow "+n.use+" list\n  tow "+n.use+" get "+n.id+" -o yaml", cmds...)
	return g
}

func (n noun[T]) article() string {
	if strings.ContainsRune("aeiou", rune(n.title[0])) {
		return "an " + n.title
	}
	return "a " + n.title
}

func (n noun[T]) createCmd(t *tow) *cobra.Command {
	var format, requestID string
	var plan bool
	cmd := &cobra.Command{
		Use: "create " + n.arg, Short: "Create " + n.article(), Args: exactArgs("the id of the new " + n.title),
		Long: "Creates " + n.article() + ". " + n.what, Example: "  tow " + n.use + " create " + n.id + n.createFlags + "\n  tow " + n.use + " create " + n.id + n.createFlags + " --plan",
	}
	fields := n.fields(cmd.Flags())
	if n.createFields != nil {
		fields = append(fields, n.createFields(cmd.Flags())...)
	}
	t.outputFlag(cmd, &format)
	cmd.Flags().StringVar(&requestID, "request-id", "", "idempotency key: a second call with the same one gets the first call's answer")
	objectPlanFlag(cmd, &plan)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := n.name(args[0])
		if err != nil {
			return err
		}
		m := n.fresh()
		for _, f := range fields {
			if err := f.set(m); err != nil {
				return err
			}
		}
		if plan {
			setName(m, name)
			return p.objectPlan(n.title, name, nil, m)
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		created, err := n.create(withRequestID(ctx, requestID), c, name, m)
		if err != nil {
			return err
		}
		if done, err := p.structured(created, created.GetName()); done {
			return err
		}
		t.printf("created %s %s\n", n.title, short(created.GetName()))
		return nil
	})
	return cmd
}

type requestIDKey struct{}

// withRequestID carries the idempotency key of a creation, made up when none is given.
func withRequestID(ctx context.Context, id string) context.Context {
	if id == "" {
		id = newRequestID()
	}
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func (n noun[T]) getCmd(t *tow) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "get " + n.arg, Short: "Show " + n.article(), Args: exactArgs("the id of " + n.article()),
		Long:    "Shows " + n.article() + " as a line of a table, or with -o yaml all of it.",
		Example: "  tow " + n.use + " get " + n.id + "\n  tow " + n.use + " get " + n.id + " -o yaml",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(n.completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		m, err := n.fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		return printOne(p, m, n.columns)
	})
	return cmd
}

func (n noun[T]) fetch(ctx context.Context, t *tow, arg string) (T, error) {
	var none T
	name, err := n.name(arg)
	if err != nil {
		return none, err
	}
	c, err := t.api()
	if err != nil {
		return none, err
	}
	return n.get(ctx, c, name)
}

func (n noun[T]) listCmd(t *tow) *cobra.Command {
	var format string
	var watch bool
	cmd := &cobra.Command{
		Use: "list", Short: "List " + n.plural, Args: noArgs, Aliases: []string{"ls"},
		Long: "Lists all " + n.plural + " by name.", Example: "  tow " + n.use + " list\n  tow " + n.use + " list -o json",
	}
	t.outputFlag(cmd, &format)
	if n.watch != nil {
		watchFlag(cmd, &watch)
		cmd.Example += "\n  tow " + n.use + " list --watch"
	}
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if watch {
			return n.watchAll(ctx, t, format, n.watch)
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		return n.printAll(ctx, t, format, func(ctx context.Context, size int32, token string) ([]T, string, error) {
			return n.list(ctx, c, size, token)
		})
	})
	return cmd
}

// listOfApp completes the command that lists what belongs to one application, or to all. of asks for one page, watch follows.
func listOfApp[T named](
	t *tow, n noun[T], cmd *cobra.Command, of func(ctx context.Context, c *client, app string, size int32, token string) ([]T, string, error),
	watch func(app string) follower[T],
) *cobra.Command {
	var format string
	var watching bool
	cmd.Use, cmd.Args, cmd.Aliases = "list [APP]", rangeArgs(0, "an application"), []string{"ls"}
	t.outputFlag(cmd, &format)
	watchFlag(cmd, &watching)
	cmd.ValidArgsFunction = t.completeApps
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		app := applications + "/-"
		if len(args) > 0 {
			var err error
			if app, err = appName(args[0]); err != nil {
				return err
			}
		}
		if watching {
			return n.watchAll(ctx, t, format, watch(app))
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		return n.printAll(ctx, t, format, func(ctx context.Context, size int32, token string) ([]T, string, error) {
			return of(ctx, c, app, size, token)
		})
	})
	return cmd
}

// watchAll shows the list and keeps on showing what changes in it.
func (n noun[T]) watchAll(ctx context.Context, t *tow, format string, open follower[T]) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	w := &listWatch[T]{t: t, p: p, columns: n.columns, none: "no " + n.plural + " yet"}
	return w.run(ctx, c, open)
}

func (n noun[T]) printAll(ctx context.Context, t *tow, format string, list func(context.Context, int32, string) ([]T, string, error)) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	items, err := pages(ctx, list)
	if err != nil {
		return err
	}
	if len(items) == 0 && (format == "table" || format == "wide") {
		t.notef("no %s yet; make one: tow %s create %s%s", n.plural, n.use, n.id, n.createFlags)
	}
	return printList(p, n.listOf(items), items, n.columns)
}

func (n noun[T]) updateCmd(t *tow) *cobra.Command {
	var format string
	var plan bool
	cmd := &cobra.Command{
		Use: "update " + n.arg, Short: "Change " + n.article(), Args: exactArgs("the id of " + n.article()),
		Long:    "Changes what the given flags name and leaves the rest as it is. A change that somebody else makes at the same moment is\nnoticed and refused with exit code 7.",
		Example: "  tow " + n.use + " update " + n.id + n.updateFlags + "\n  tow " + n.use + " update " + n.id + n.updateFlags + " --plan",
	}
	fields := n.fields(cmd.Flags())
	t.outputFlag(cmd, &format)
	objectPlanFlag(cmd, &plan)
	cmd.ValidArgsFunction = completeOnce(n.completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		changed := slices.DeleteFunc(slices.Clone(fields), func(f field[T]) bool { return !cmd.Flags().Changed(f.flag) })
		if len(changed) == 0 {
			return usagef("nothing to change; give at least one of %s", flagList(fields))
		}
		m, err := n.fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		before := proto.Clone(m)
		mask := &fieldmaskpb.FieldMask{}
		for _, f := range changed {
			if err := f.set(m); err != nil {
				return err
			}
			mask.Paths = append(mask.Paths, f.path)
		}
		if plan {
			return p.objectPlan(n.title, m.GetName(), before, m)
		}
		updated, err := n.update(ctx, t.client, m, mask) // with the etag of what was just read
		if err != nil {
			return err
		}
		if done, err := p.structured(updated, updated.GetName()); done {
			return err
		}
		t.printf("updated %s %s\n", n.title, short(updated.GetName()))
		return nil
	})
	return cmd
}

func flagList[T any](fields []field[T]) string {
	var out []string
	for _, f := range fields {
		out = append(out, "--"+f.flag)
	}
	return strings.Join(out, ", ")
}

func (n noun[T]) deleteCmd(t *tow) *cobra.Command {
	var yes, plan bool
	cmd := &cobra.Command{
		Use: "delete " + n.arg + "...", Short: "Delete " + n.plural, Args: someArgs("the id of " + n.article()),
		Long:    "Deletes what nothing uses. In a terminal it asks first; without one it needs --yes.",
		Example: "  tow " + n.use + " delete " + n.id + " --yes",
	}
	yesFlag(cmd, &yes)
	objectPlanFlag(cmd, &plan)
	cmd.ValidArgsFunction = n.completer(t)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		names, err := eachName(args, n.name)
		if err != nil {
			return err
		}
		if plan {
			return n.planDelete(ctx, t, names)
		}
		if err := t.confirm(yes, "delete the %s %s", n.title, shortList(names)); err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := n.remove(ctx, c, name); err != nil {
				return err
			}
			t.printf("deleted %s %s\n", n.title, short(name))
		}
		return nil
	})
	return cmd
}

// planDelete shows what would be deleted.
func (n noun[T]) planDelete(ctx context.Context, t *tow, names []string) error {
	p, err := t.printer("table")
	if err != nil {
		return err
	}
	for _, name := range names {
		m, err := n.fetch(ctx, t, name)
		if err != nil {
			return err
		}
		if err := p.objectPlan(n.title, name, m, nil); err != nil {
			return err
		}
	}
	return nil
}

func eachName(args []string, name func(string) (string, error)) ([]string, error) {
	var out []string
	for _, a := range args {
		full, err := name(a)
		if err != nil {
			return nil, err
		}
		out = append(out, full)
	}
	return out, nil
}

func shortList(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, short(n))
	}
	return strings.Join(out, ", ")
}
