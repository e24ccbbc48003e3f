package definition

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/Masterminds/sprig/v3"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// maxArguments bounds what a function may be given, in bytes and values taken together. Values that hold themselves many
// times over (a list of a list of a list…) are counted as often as they would be written.
const maxArguments = 1 << 20

var errArguments = fmt.Errorf("a function is given more than %d bytes and values, or would make more", maxArguments)

// failure is what the template function `fail` was called with: words for the person who wrote the Score file.
type failure string

func (f failure) Error() string { return string(f) }

// allowed are the Sprig functions that are pure: the same arguments give the same result on every machine at any time, and
// the result is not much larger than the arguments. Everything else is refused.
var allowed = strings.Fields(`
	abbrev abbrevboth add add1 add1f addf adler32sum all any append b32dec b32enc b64dec b64enc base biggest camelcase cat
	ceil clean coalesce compact concat contains deepCopy deepEqual default dict dig dir div divf duration durationRound empty
	ext first float64 floor fromJson get has hasKey hasPrefix hasSuffix initial initials int int64 isAbs kebabcase
	keys kindIs kindOf last list lower max maxf merge mergeOverwrite min minf mod mul mulf mustAppend mustCompact mustFirst
	mustFromJson mustHas mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustPush mustRegexFind
	mustRegexFindAll mustRegexMatch mustRegexSplit mustRest mustReverse mustSlice mustToJson mustToPrettyJson mustToRawJson
	mustUniq mustWithout nospace omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend push quote regexFind
	regexFindAll regexMatch regexQuoteMeta regexSplit rest reverse round semver semverCompare set sha1sum sha256sum
	sha512sum slice snakecase sortAlpha split splitList splitn squote sub subf substr swapcase ternary title toDecimal toJson
	toPrettyJson toRawJson toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf
	uniq unset untitle upper urlJoin urlParse values without`)

// refused says why a function that people know from Sprig is not there.
func refused(name string) string {
	switch {
	case slices.Contains([]string{"env", "expandenv", "getHostByName"}, name):
		return "reads the machine that renders"
	case strings.HasPrefix(name, "rand") || strings.HasPrefix(name, "gen") || name == "uuidv4" || name == "shuffle" ||
		slices.Contains([]string{"bcrypt", "htpasswd", "encryptAES", "buildCustomCert"}, name):
		return "is random; for a password give a Secret the annotation towpath.dev/generate"
	case slices.Contains([]string{"now", "ago", "date", "dateInZone", "date_in_zone", "dateModify", "date_modify", "htmlDate",
		"htmlDateInZone", "mustDateModify", "must_date_modify", "toDate", "mustToDate", "unixEpoch"}, name):
		return "depends on the clock"
	case slices.Contains(slices.Collect(sprigNames), name):
		return "is not among the functions that rendering allows"
	}
	return ""
}

func sprigNames(yield func(string) bool) {
	for name := range sprig.GenericFuncMap() {
		if !yield(name) {
			return
		}
	}
}

var undefinedFunction = lazyre.New(`function "([^"]+)" not defined`)

// explainRefused says why a function is not defined where that is known: rendering must give the same bytes everywhere.
func explainRefused(err error) error {
	m := undefinedFunction.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	if why := refused(m[1]); why != "" {
		return fmt.Errorf("the function %q %s, and rendering must give the same result always and everywhere", m[1], why)
	}
	return err
}

// functions is what templates can call. They are made when the first template is compiled.
var functions = sync.OnceValue(makeFunctions)

func makeFunctions() template.FuncMap {
	all := sprig.GenericFuncMap()
	out := template.FuncMap{}
	for _, name := range allowed {
		out[name] = guarded(all[name])
	}
	for name, f := range map[string]any{
		"fail": fail, "required": required, "encodeSecretRef": EncodeSecret, "label": Label,
		"repeat": repeat, "indent": indent, "nindent": nindent, "join": join, "replace": replace,
		"until": until, "untilStep": untilStep, "seq": untilStep,
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": printf,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	} {
		out[name] = guarded(f)
	}
	return out
}

// guarded wraps a function so that it refuses arguments beyond the limit. The signature stays.
func guarded(f any) any {
	v := reflect.ValueOf(f)
	t := v.Type()
	fails := t.NumOut() == 2
	ins, outs := make([]reflect.Type, t.NumIn()), []reflect.Type{t.Out(0), reflect.TypeFor[error]()}
	for i := range ins {
		ins[i] = t.In(i)
	}
	return reflect.MakeFunc(reflect.FuncOf(ins, outs, t.IsVariadic()), func(args []reflect.Value) []reflect.Value {
		budget := maxArguments
		for _, arg := range args {
			if budget = measure(arg, budget, 0); budget < 0 {
				return []reflect.Value{reflect.Zero(t.Out(0)), reflect.ValueOf(&errArguments).Elem()}
			}
		}
		var results []reflect.Value
		if t.IsVariadic() {
			results = v.CallSlice(args)
		} else {
			results = v.Call(args)
		}
		if !fails {
			results = append(results, reflect.Zero(outs[1]))
		}
		return results
	}).Interface()
}

// measure takes the size of a value off the budget; below zero it is too large, or holds itself.
func measure(v reflect.Value, budget, depth int) int {
	if budget--; budget < 0 || depth > 200 {
		return -1
	}
	switch v.Kind() {
	case reflect.String:
		return budget - v.Len()
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			return measure(v.Elem(), budget, depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return budget - v.Len()
		}
		for i := 0; i < v.Len() && budget >= 0; i++ {
			budget = measure(v.Index(i), budget, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); budget >= 0 && it.Next(); {
			if budget = measure(it.Key(), budget, depth+1); budget >= 0 {
				budget = measure(it.Value(), budget, depth+1)
			}
		}
	}
	return budget
}

func fail(words string) (string, error) { return "", failure(words) }

func required(words string, v any) (any, error) {
	if v == nil || v == "" {
		return nil, failure(words)
	}
	return v, nil
}

func repeat(n int, s string) (string, error) {
	if n < 0 || n > 0 && len(s) > maxArguments/n {
		return "", errArguments
	}
	return strings.Repeat(s, n), nil
}

func indent(n int, s string) (string, error) {
	if n < 0 || (strings.Count(s, "\n")+1) > maxArguments/max(n, 1) {
		return "", errArguments
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
}

func nindent(n int, s string) (string, error) {
	s, err := indent(n, s)
	return "\n" + s, err
}

func join(sep string, list any) (string, error) {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(list), nil
	}
	if v.Len() > 0 && len(sep) > maxArguments/v.Len() {
		return "", errArguments
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, sep), nil
}

func replace(old, replacement, s string) (string, error) {
	if len(replacement) > maxArguments/(strings.Count(s, old)+1) {
		return "", errArguments
	}
	return strings.ReplaceAll(s, old, replacement), nil
}

func until(n int) ([]int, error) { return untilStep(0, n, 1) }

func untilStep(start, stop, step int) ([]int, error) {
	if step == 0 || (stop-start)/step > maxSteps {
		return nil, errSteps
	}
	var out []int
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		out = append(out, i)
	}
	return out, nil
}

var wide = lazyre.New(`%[-+# 0\[\]]*(?:\d*\.)?(?:\d{4}|\*)`)

func printf(format string, args ...any) (string, error) {
	if wide.MatchString(format) || len(format) > 1<<12 {
		return "", errors.New("printf takes formats up to 4096 bytes and widths up to 999")
	}
	return fmt.Sprintf(format, args...), nil
}
