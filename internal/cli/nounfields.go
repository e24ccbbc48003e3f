package cli

import (
	"maps"
	"strings"

	"github.com/spf13/pflag"
)

// text makes a field of a string flag.
func text[T any](fs *pflag.FlagSet, flag, path, usage string, set func(m T, v string)) field[T] {
	v := fs.String(flag, "", usage)
	return field[T]{flag, path, func(m T) error { set(m, *v); return nil }}
}

// reference makes a field of a string flag that names another resource.
func reference[T any](fs *pflag.FlagSet, flag, path, usage string, name func(string) (string, error), set func(m T, v string)) field[T] {
	v := fs.String(flag, "", usage)
	return field[T]{flag, path, func(m T) error {
		full, err := orEmpty(name)(*v)
		if err != nil {
			return err
		}
		set(m, full)
		return nil
	}}
}

// choice makes a field of a flag that is true or false.
func choice[T any](fs *pflag.FlagSet, flag, path, usage string, value bool, set func(m T, v bool)) field[T] {
	v := fs.Bool(flag, value, usage)
	return field[T]{flag, path, func(m T) error { set(m, *v); return nil }}
}

// number makes a field of a flag that is a whole number.
func number[T any](fs *pflag.FlagSet, flag, path, usage string, set func(m T, v int32)) field[T] {
	v := fs.Int32(flag, 0, usage)
	return field[T]{flag, path, func(m T) error { set(m, *v); return nil }}
}

// labels makes a field of a flag of key=value and key-, which changes single labels and leaves the others.
func labels[T any](fs *pflag.FlagSet, flag, path, usage string, get func(m T) map[string]string, set func(m T, v map[string]string)) field[T] {
	v := fs.StringSlice(flag, nil, usage+": key=value sets one, key- takes one away")
	return field[T]{flag, path, func(m T) error {
		out := maps.Clone(get(m))
		if out == nil {
			out = map[string]string{}
		}
		for _, pair := range *v {
			key, value, ok := strings.Cut(pair, "=")
			switch {
			case ok && key != "":
				out[key] = value
			case !ok && len(pair) > 1 && strings.HasSuffix(pair, "-"):
				delete(out, strings.TrimSuffix(pair, "-"))
			default:
				return usagef("--%s %q is neither key=value nor key-", flag, pair)
			}
		}
		set(m, out)
		return nil
	}}
}
