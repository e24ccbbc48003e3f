package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// Limits of variables. A deployment writes two rows for each variable that becomes different, and a rollback may replace all of
// them at once: all that must fit into one transaction.
const (
	MaxVariables     = 200
	maxVariableKey   = 253
	maxVariableValue = 64 << 10
)

var (
	// newVariableKey is what a new key must be, variableKey what one may be: earlier versions took more.
	newVariableKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	variableKey    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	secretRefName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	secretRefKey   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// Scope is who has variables: an application, or with Env one of its environments.
type Scope struct{ App, Env string }

// Name gives the resource name of the owner.
func (s Scope) Name() string {
	if s.Env == "" {
		return "applications/" + s.App
	}
	return Env{App: s.App, ID: s.Env}.Name()
}

// Variable gives the resource name of one of its variables.
func (s Scope) Variable(key string) string { return s.Name() + "/variables/" + key }

// ParseScope takes the name of an application or environment apart.
func ParseScope(field, name string) (Scope, error) {
	if strings.Contains(name, "/environments/") {
		e, err := ParseEnv(field, name)
		return Scope{App: e.App, Env: e.ID}, err
	}
	app, err := ParseName(field, "applications", name)
	return Scope{App: app}, err
}

// ParseVariable takes a variable's name apart.
func ParseVariable(field, name string) (Scope, string, error) {
	owner, key, ok := strings.Cut(name, "/variables/")
	s, err := ParseScope(field, owner)
	if !ok || err != nil || !variableKey.MatchString(key) || len(key) > maxVariableKey {
		return Scope{}, "", badName(field, name, "applications/{application}/variables/{KEY} or applications/{application}/environments/{environment}/variables/{KEY}")
	}
	return s, key, nil
}

// CheckVariable checks what somebody wants a variable to be. Errors name the fields below field.
func CheckVariable(field, key string, v *catalogv1.Variable) error {
	if err := checkNewKey(field+".name", key); err != nil {
		return err
	}
	if v.GetSecret() != nil {
		if v.GetValue() != "" {
			return errs.InvalidField(field+".secret", "is given beside a value; a variable has one of them")
		}
		return CheckSecretRef(field+".secret", v.GetSecret())
	}
	if n := len(v.GetValue()); n > maxVariableValue {
		return tooLong(field+".value", n)
	}
	if what := looksSecretNamed(key, v.GetValue()); what != "" {
		return &errs.Error{
			Kind: errs.Precondition, Reason: errorsv1.Reason_REASON_PLAINTEXT_SECRET,
			Msg: "a plaintext secret would have reached Git; nothing was changed",
			Fields: []errs.Field{{Path: field + ".value", Problem: "looks like " + what +
				"; put it into a Secret in the environment's namespace and refer to it, as with `tow var set " + key + " --secret NAME/KEY`"}},
		}
	}
	return nil
}

func checkNewKey(field, key string) error {
	if !newVariableKey.MatchString(key) || len(key) > maxVariableKey {
		return errs.InvalidField(field, "%s is no name for a variable; use letters, digits and \"_\", not beginning with a digit, at most %d", quote(key), maxVariableKey)
	}
	return nil
}

func tooLong(field string, n int) error {
	return errs.InvalidField(field, "has %d bytes; a variable has at most %d, put more into a file of the workload", n, maxVariableValue)
}

// CheckSecretRef checks the reference to one key of a Secret in the environment's namespace.
func CheckSecretRef(field string, r *rendererv1.SecretReference) error {
	switch {
	case !secretRefName.MatchString(r.GetName()) || strings.Contains(r.GetName(), "..") || len(r.GetName()) > maxVariableKey:
		return errs.InvalidField(field+".name", "%s is no name of a Secret; use lower-case letters, digits, \"-\" and \".\"", quote(r.GetName()))
	case !secretRefKey.MatchString(r.GetKey()) || len(r.GetKey()) > maxVariableKey:
		return errs.InvalidField(field+".key", "%s is no key of a Secret; use letters, digits, \"-\", \"_\" and \".\"", quote(r.GetKey()))
	}
	return checkSecretSource(field, r)
}

// changeVariables gives an environment's variables after a change. A variable is plain or secret: the newer word counts.
func changeVariables(intent *catalogv1.Intent, change *catalogv1.Change) (map[string]string, map[string]*rendererv1.SecretReference, error) {
	plain, secret := maps.Clone(intent.GetVariables()), maps.Clone(intent.GetSecretVariables())
	if plain == nil {
		plain = map[string]string{}
	}
	if secret == nil {
		secret = map[string]*rendererv1.SecretReference{}
	}
	before := len(plain) + len(secret)
	for _, key := range slices.Sorted(maps.Keys(change.GetVariables())) {
		field := fmt.Sprintf("change.variables[%q]", key)
		if err := checkNewKey(field, key); err != nil {
			return nil, nil, err
		}
		value := change.GetVariables()[key]
		if len(value) > maxVariableValue {
			return nil, nil, tooLong(field, len(value))
		}
		delete(secret, key)
		plain[key] = value
	}
	for _, key := range slices.Sorted(maps.Keys(change.GetSecretVariables())) {
		field, ref := fmt.Sprintf("change.secret_variables[%q]", key), change.GetSecretVariables()[key]
		if _, both := change.GetVariables()[key]; both {
			return nil, nil, errs.InvalidField(field, "is given in variables too; a variable is plain or secret")
		}
		if err := checkNewKey(field, key); err != nil {
			return nil, nil, err
		}
		if err := CheckSecretRef(field, ref); err != nil {
			return nil, nil, err
		}
		delete(plain, key)
		secret[key] = proto.CloneOf(ref)
	}
	for i, key := range change.GetVariableDrops() {
		_, isPlain := plain[key]
		_, isSecret := secret[key]
		if !isPlain && !isSecret {
			return nil, nil, errs.InvalidField(fmt.Sprintf("change.variable_drops[%d]", i), "the environment has no variable %s", quote(key))
		}
		delete(plain, key)
		delete(secret, key)
	}
	if n := len(plain) + len(secret); n > MaxVariables && n > before {
		return nil, nil, errs.InvalidField("change.variables", "the environment would have %d variables, at most %d are possible; put settings that belong together into a file of the workload", n, MaxVariables)
	}
	if len(plain) == 0 {
		plain = nil
	}
	if len(secret) == 0 {
		secret = nil
	}
	return plain, secret, nil
}

// Variables gives what workloads read: the application's values, the environment's winning. A name is in one of the maps.
func Variables(intent *catalogv1.Intent) (map[string]string, map[string]*rendererv1.SecretReference) {
	plain, secret := map[string]string{}, map[string]*rendererv1.SecretReference{}
	maps.Copy(plain, intent.GetApplicationVariables())
	for key, ref := range intent.GetApplicationSecretVariables() {
		delete(plain, key)
		secret[key] = ref
	}
	for key, value := range intent.GetVariables() {
		delete(secret, key)
		plain[key] = value
	}
	for key, ref := range intent.GetSecretVariables() {
		delete(plain, key)
		secret[key] = ref
	}
	return plain, secret
}

// VariableChange is one variable of an environment that becomes different. To is nil when it is taken away.
type VariableChange struct {
	Key string
	// To has value or secret alone.
	To *catalogv1.Variable
}

// VariableChanges compares what the rows say of an environment's variables with its intent, by key. Rows of variables that were
// taken away count as absent. describe has new descriptions.
func VariableChanges(rows map[string]*catalogv1.Variable, intent *catalogv1.Intent, describe map[string]string) []VariableChange {
	want := map[string]*catalogv1.Variable{}
	for key, value := range intent.GetVariables() {
		want[key] = &catalogv1.Variable{Value: value}
	}
	for key, ref := range intent.GetSecretVariables() {
		want[key] = &catalogv1.Variable{Secret: ref}
	}
	var out []VariableChange
	for key, row := range rows {
		if want[key] == nil && !row.GetDeleted() {
			out = append(out, VariableChange{Key: key})
		}
	}
	for key, to := range want {
		row := rows[key]
		to.Description = row.GetDescription()
		if d := describe[key]; d != "" {
			to.Description = d
		}
		if row == nil || row.GetDeleted() || !SameVariable(row, to) {
			out = append(out, VariableChange{Key: key, To: to})
		}
	}
	slices.SortFunc(out, func(a, b VariableChange) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// SameVariable reports whether two variables say the same.
func SameVariable(a, b *catalogv1.Variable) bool {
	return a.GetValue() == b.GetValue() && a.GetDescription() == b.GetDescription() && proto.Equal(a.GetSecret(), b.GetSecret())
}

// ApplicationSummary gives the differences in what two intents have pinned of the application's variables, for people. What
// the environment hides is left out: it makes no difference there.
func ApplicationSummary(before, after *catalogv1.Intent) []string {
	var s summary
	hidden := func(key string) bool {
		_, plain := after.GetVariables()[key]
		_, secret := after.GetSecretVariables()[key]
		return plain || secret
	}
	for _, line := range variableLines(before.GetApplicationVariables(), before.GetApplicationSecretVariables(),
		after.GetApplicationVariables(), after.GetApplicationSecretVariables(), hidden) {
		s.add("%s (application)", line)
	}
	return s.done()
}

// variableLines tells how variables differ, by key.
func variableLines(plainA map[string]string, secretA map[string]*rendererv1.SecretReference,
	plainB map[string]string, secretB map[string]*rendererv1.SecretReference, skip func(string) bool,
) []string {
	a, b := shownVariables(plainA, secretA), shownVariables(plainB, secretB)
	var out []string
	for _, key := range unionKeys(a, b) {
		old, inA := a[key]
		now, inB := b[key]
		switch {
		case skip != nil && skip(key):
		case !inA:
			out = append(out, fmt.Sprintf("%s set to %s", key, now))
		case !inB:
			out = append(out, fmt.Sprintf("%s unset (was %s)", key, old))
		case old != now:
			out = append(out, fmt.Sprintf("%s %s -> %s", key, old, now))
		}
	}
	return out
}

func shownVariables(plain map[string]string, secret map[string]*rendererv1.SecretReference) map[string]string {
	out := map[string]string{}
	for key, value := range plain {
		out[key] = show(value)
	}
	for key, ref := range secret {
		out[key] = shownSecret(ref)
	}
	return out
}

// VariableUse is one place where a document reads a variable.
type VariableUse struct {
	// Workload is empty for a shared resource.
	Workload string
	// Paths are JSON Pointers into the document, sorted.
	Paths []string
}

// VariableUses finds who reads a variable, by workload: every placeholder of a resource of type environment with that key, in
// the places where Score expands placeholders.
func VariableUses(doc Document, key string) []VariableUse {
	var out []VariableUse
	found := func(workload string, paths []string) {
		if len(paths) > 0 {
			slices.Sort(paths)
			out = append(out, VariableUse{Workload: workload, Paths: paths})
		}
	}
	resources := doc.part(resourcesKey)
	reads := readerOf(resources, key)
	var shared []string
	for name, r := range resources {
		shared = append(shared, reads.in([]string{resourcesKey, name, "params"}, member(r, "params"))...)
	}
	found("", shared)
	workloads := doc.Workloads()
	for _, name := range slices.Sorted(maps.Keys(workloads)) {
		found(name, usesIn(name, workloads[name], key))
	}
	return out
}

func usesIn(workload string, doc any, key string) []string {
	own, _ := member(doc, resourcesKey).(map[string]any)
	reads := readerOf(own, key)
	base := []string{workloadsKey, workload}
	var paths []string
	for name, r := range own {
		paths = append(paths, reads.in(append(slices.Clone(base), resourcesKey, name, "params"), member(r, "params"))...)
	}
	containers, _ := member(doc, "containers").(map[string]any)
	for name, c := range containers {
		in := append(slices.Clone(base), "containers", name)
		paths = append(paths, reads.in(append(slices.Clone(in), "variables"), member(c, "variables"))...)
		files, _ := member(c, "files").(map[string]any)
		for target, f := range files {
			if member(f, "noExpand") != true {
				paths = append(paths, reads.in(append(slices.Clone(in), "files", target, "content"), member(f, "content"))...)
			}
		}
		volumes, _ := member(c, "volumes").(map[string]any)
		for target, v := range volumes {
			paths = append(paths, reads.in(append(slices.Clone(in), "volumes", target, "source"), member(v, "source"))...)
		}
	}
	return paths
}

func member(v any, key string) any {
	m, _ := v.(map[string]any)
	return m[key]
}

// reader knows the names under which a scope has the environment's variables.
type reader struct {
	names map[string]bool
	key   string
}

func readerOf(resources map[string]any, key string) reader {
	r := reader{names: map[string]bool{}, key: key}
	for name, res := range resources {
		if member(res, "type") == "environment" {
			r.names[name] = true
		}
	}
	return r
}

// in gives the pointers of the texts below a value that read the variable.
func (r reader) in(path []string, v any) []string {
	if len(r.names) == 0 {
		return nil
	}
	var out []string
	switch v := v.(type) {
	case string:
		if r.reads(v) {
			out = append(out, jsonptr.Join(path...))
		}
	case map[string]any:
		for key, e := range v {
			out = append(out, r.in(append(slices.Clone(path), key), e)...)
		}
	case []any:
		for i, e := range v {
			out = append(out, r.in(append(slices.Clone(path), strconv.Itoa(i)), e)...)
		}
	}
	return out
}

// placeholderToken is how Score finds placeholders: ${ref} expands, $${ref} and $$ do not.
var placeholderToken = regexp.MustCompile(`\$((?:\$?{([^}]*)})|\$)`)

func (r reader) reads(text string) bool {
	if !strings.Contains(text, "${") {
		return false
	}
	for _, m := range placeholderToken.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[0], "${") {
			continue
		}
		// Resource names have no dots; a key may, written escaped or not.
		p := strings.SplitN(m[2], ".", 3)
		if len(p) == 3 && p[0] == "resources" && r.names[p[1]] && strings.ReplaceAll(p[2], `\.`, ".") == r.key {
			return true
		}
	}
	return false
}

// PinApplicationVariables notes an application's variables in an intent; those that were taken away are left out.
func PinApplicationVariables(intent *catalogv1.Intent, variables []*catalogv1.Variable) {
	for _, v := range variables {
		_, key, err := ParseVariable("", v.GetName())
		if err != nil || v.GetDeleted() {
			continue
		}
		if v.GetSecret() != nil {
			if intent.ApplicationSecretVariables == nil {
				intent.ApplicationSecretVariables = map[string]*rendererv1.SecretReference{}
			}
			intent.ApplicationSecretVariables[key] = proto.CloneOf(v.GetSecret())
		} else {
			if intent.ApplicationVariables == nil {
				intent.ApplicationVariables = map[string]string{}
			}
			intent.ApplicationVariables[key] = v.GetValue()
		}
		PinVersion(intent, v.GetName(), v.GetVersion())
	}
}

// PinVersion notes a variable's version in an intent.
func PinVersion(intent *catalogv1.Intent, variable string, version int64) {
	if intent.VariableVersions == nil {
		intent.VariableVersions = map[string]int64{}
	}
	intent.VariableVersions[variable] = version
}

// ReplaceApplicationVariable gives an intent one of the application's variables as it is to be.
func ReplaceApplicationVariable(intent *catalogv1.Intent, key string, v *catalogv1.Variable) {
	delete(intent.GetApplicationVariables(), key)
	delete(intent.GetApplicationSecretVariables(), key)
	PinApplicationVariables(intent, []*catalogv1.Variable{v})
}
