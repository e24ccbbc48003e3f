package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

// readsStdin reports whether a flag names standard input.
func (f *renderFlags) readsStdin() bool { return slices.Contains(f.scores.files, "-") }

// request puts together what the server would send to the renderer: first --input, then the files, then the flags.
func (f *renderFlags) request(t *tow) (*rendererv1.RenderRequest, error) {
	if len(f.scores.files) == 0 && f.inputFile == "" {
		return nil, usagef("which Score file? give -f, such as -f score.yaml or -f FOLDER")
	}
	in := &rendererv1.RenderInput{}
	request := &rendererv1.RenderRequest{Input: in, ClaimsOnly: f.claimsOnly}
	if f.inputFile != "" {
		if err := readMessage(f.inputFile, in); err != nil {
			return nil, err
		}
	}
	if f.typeFile != "" {
		var err error
		if request.Guardrails, err = f.readType(in); err != nil {
			return nil, err
		}
		request.Facts = &rendererv1.DeploymentFacts{Kind: "CHANGE"}
	}
	for _, step := range []func(*tow, *rendererv1.RenderInput) error{
		f.place, f.defaults, f.takeVariables, f.takeDefinitions, f.takeResources, f.takeOutputs, f.takeWorkloads,
	} {
		if err := step(t, in); err != nil {
			return nil, err
		}
	}
	return request, nil
}

// readMessage reads a YAML or JSON file into a message; fields that it does not know are an error.
func readMessage(name string, into proto.Message) error {
	text, err := readLimited(name)
	if err != nil {
		return err
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err == nil {
		err = protojson.Unmarshal(asJSON, into)
	}
	if err != nil {
		return notOfForm(name, err)
	}
	return nil
}

func notOfForm(name string, err error) error {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "proto: "), "yaml: ")
	return errs.InvalidField(name, "is not of the form that belongs here: %s", text)
}

// readType reads an environment type as the API gives it.
func (f *renderFlags) readType(in *rendererv1.RenderInput) ([]*rendererv1.Guardrail, error) {
	m := &catalogv1.EnvironmentType{}
	if err := readMessage(f.typeFile, m); err != nil {
		return nil, err
	}
	if m.GetName() != "" {
		in.EnvironmentType = short(m.GetName())
	}
	if m.GetDefaults() != nil {
		in.Defaults = m.GetDefaults()
	}
	return m.GetGuardrails(), nil
}

// place says where the objects belong.
func (f *renderFlags) place(_ *tow, in *rendererv1.RenderInput) error {
	if f.env != "" || in.GetApplication() == "" || in.GetEnvironment() == "" {
		env, err := envName(firstOf(f.env, "local/dev"))
		if err != nil {
			return err
		}
		in.Application, in.Environment = splitEnv(env)
	}
	kind, err := orEmpty(typeName)(f.kind)
	if err != nil {
		return err
	}
	in.EnvironmentType = firstOf(short(kind), in.GetEnvironmentType())
	in.Namespace = firstOf(f.namespace, in.GetNamespace(), in.GetApplication()+"-"+in.GetEnvironment())
	return nil
}

// defaults are those of the type, with what flags say over them.
func (f *renderFlags) defaults(_ *tow, in *rendererv1.RenderInput) error {
	labels, err := keyValues("--label", f.labels)
	if err != nil {
		return err
	}
	if in.Defaults == nil {
		in.Defaults = &rendererv1.EnvironmentDefaults{}
	}
	d := in.GetDefaults()
	if f.given("replicas") {
		d.Replicas = f.replicas
	}
	if f.given("restricted") {
		d.Restricted = f.restricted
	}
	if f.given("domain") {
		d.Domain = f.domain
	}
	for k, v := range labels {
		if d.Labels == nil {
			d.Labels = map[string]string{}
		}
		d.Labels[k] = v
	}
	return nil
}

func (f *renderFlags) takeVariables(_ *tow, in *rendererv1.RenderInput) error {
	if in.Variables == nil {
		in.Variables = map[string]string{}
	}
	if in.SecretVariables == nil {
		in.SecretVariables = map[string]*rendererv1.SecretReference{}
	}
	for _, name := range f.variableFiles {
		if err := readVariables(name, in); err != nil {
			return err
		}
	}
	variables, err := keyValues("--variable", f.variables)
	if err != nil {
		return err
	}
	for k, v := range variables {
		setVariable(in, k, v)
	}
	secrets, err := keyValues("--secret-variable", f.secrets)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(secrets)) {
		ref, err := secretReference("--secret-variable", secrets[k])
		if err != nil {
			return err
		}
		setSecret(in, k, ref)
	}
	return nil
}

func (f *renderFlags) takeDefinitions(t *tow, in *rendererv1.RenderInput) error {
	names := slices.Clone(f.definitions)
	for _, dir := range f.definitionIn {
		found, err := filesIn(dir, isDefinitionFile)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errs.InvalidField(dir, "has no resource definitions: they are YAML files, see docs/definitions.md")
		}
		names = append(names, found...)
	}
	first := map[string]string{}
	for _, name := range names {
		id := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		if other, twice := first[id]; twice {
			return usagef("%s and %s are both called %s; a definition's name is that of its file", other, name, id)
		}
		first[id] = name
	}
	definitions, err := definitionFiles(names)
	if err != nil {
		return err
	}
	provisioned, err := t.provisionerFiles(f.provisioners)
	in.Definitions = append(append(in.Definitions, definitions...), provisioned...)
	return err
}

// isDefinitionFile reports whether a file of a folder is taken for a resource definition. Provisioner files of the Score community
// are not.
func isDefinitionFile(name string) bool {
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".") && !strings.HasSuffix(strings.TrimSuffix(name, ext), ".provisioners")
}

// takeResources reads resources that workloads share, in the form that they have in a Score file.
func (f *renderFlags) takeResources(_ *tow, in *rendererv1.RenderInput) error {
	if f.resourcesFile == "" {
		return nil
	}
	text, err := readLimited(f.resourcesFile)
	if err != nil {
		return err
	}
	var resources map[string]map[string]any
	if err := yaml.UnmarshalStrict(text, &resources); err != nil {
		return notOfForm(f.resourcesFile, err)
	}
	if in.Resources == nil {
		in.Resources = map[string]*structpb.Struct{}
	}
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		if in.Resources[name], err = structpb.NewStruct(resources[name]); err != nil {
			return errs.InvalidField(f.resourcesFile, "%s cannot be read: %s", name, err)
		}
	}
	return nil
}

// takeOutputs reads what clusters have said of claims.
func (f *renderFlags) takeOutputs(_ *tow, in *rendererv1.RenderInput) error {
	if f.outputsFile == "" {
		return nil
	}
	list := &catalogv1.ListResourceOutputsResponse{}
	if err := readMessage(f.outputsFile, list); err != nil {
		return err
	}
	if in.Outputs == nil {
		in.Outputs = map[string]*rendererv1.ResourceOutputs{}
	}
	for i, o := range list.GetOutputs() {
		if o.GetResource() == "" {
			return errs.InvalidField(f.outputsFile, "outputs[%d] has no resource, such as cloud-bucket.default#api.files", i)
		}
		in.Outputs[o.GetResource()] = o
	}
	return nil
}

func (f *renderFlags) takeWorkloads(t *tow, in *rendererv1.RenderInput) error {
	if len(f.scores.files) == 0 {
		return nil
	}
	files, err := f.scores.read(t)
	f.read = f.read[:0]
	for _, file := range files {
		for _, source := range sourcesOf(file) {
			f.read = append(f.read, filepath.Join(filepath.Dir(filepath.FromSlash(file.GetFilename())), filepath.FromSlash(source)))
		}
	}
	if err != nil {
		return err
	}
	workloads, err := score.LoadAll(files)
	if err != nil {
		return err
	}
	if in.Workloads == nil {
		in.Workloads = map[string]*structpb.Struct{}
	}
	maps.Copy(in.Workloads, workloads)
	return nil
}

func setVariable(in *rendererv1.RenderInput, key, value string) {
	delete(in.SecretVariables, key)
	in.Variables[key] = value
}

func setSecret(in *rendererv1.RenderInput, key string, ref *rendererv1.SecretReference) {
	delete(in.Variables, key)
	in.SecretVariables[key] = ref
}

// readVariables reads a file of variables: YAML or JSON by its extension, else lines KEY=VALUE. What it gives goes over what was
// there.
func readVariables(name string, in *rendererv1.RenderInput) error {
	text, err := readLimited(name)
	if err != nil {
		return err
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return yamlVariables(name, text, in)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return errs.InvalidField(fmt.Sprintf("%s:%d", name, i+1), "is not KEY=VALUE, a comment or empty")
		}
		setVariable(in, key, unquoted(strings.TrimSpace(value)))
	}
	return nil
}

// unquoted takes one pair of quotes off; nothing inside is replaced.
func unquoted(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func yamlVariables(name string, text []byte, in *rendererv1.RenderInput) error {
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return notOfForm(name, err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key].(type) {
		case string:
			setVariable(in, key, v)
		case map[string]any:
			ref, err := secretOf(v)
			if err != nil {
				return errs.InvalidField(name+": "+key, "%s", err)
			}
			setSecret(in, key, ref)
		case bool, float64:
			return errs.InvalidField(name+": "+key, "is not text: put %v in quotes", v)
		default:
			return errs.InvalidField(name+": "+key, "is not text and not {secret: NAME/KEY}")
		}
	}
	return nil
}

// secretOf reads {secret: NAME/KEY}, or {secret: {…}} with the fields of the API's SecretReference.
func secretOf(v map[string]any) (*rendererv1.SecretReference, error) {
	switch given := v["secret"].(type) {
	case string:
		if name, key, ok := strings.Cut(given, "/"); ok && name != "" && key != "" && len(v) == 1 {
			return &rendererv1.SecretReference{Name: name, Key: key}, nil
		}
	case map[string]any:
		fields, err := structpb.NewStruct(given)
		if err != nil {
			return nil, err
		}
		asJSON, err := protojson.Marshal(fields)
		if err != nil {
			return nil, err
		}
		ref := &rendererv1.SecretReference{}
		if err := protojson.Unmarshal(asJSON, ref); err == nil && len(v) == 1 {
			return ref, nil
		}
	}
	return nil, fmt.Errorf("is no reference to a secret: write {secret: NAME/KEY}")
}
