// Package score loads Score v1b1 documents: parse, merge overrides, upgrade older spellings, validate, take in files. What it
// gives is a canonical document of plain maps that needs no environment. All problems of a document are reported at once,
// each with file, line, column and path. It knows nothing of Kubernetes and touches no disk.
package score

import (
	"encoding/base64"
	"fmt"
	"maps"
	slashpath "path"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// DefaultFilename is how errors call a file without a name.
const DefaultFilename = "score.yaml"

// MaxTotal is the largest sum of all contents that one call loads or renders, in bytes.
const MaxTotal = 8 << 20

// Load makes the canonical document of one Score file: overrides document, property overrides, upgrades, image for ".",
// validation, contents of source files. Its error lists all problems (REASON_INVALID_SCORE), or says which content is too
// large (REASON_TOO_LARGE).
func Load(file *rendererv1.ScoreFile) (map[string]any, error) {
	doc, fields, err := load(file)
	if err == nil {
		err = Invalid(fields)
	}
	if err != nil {
		return nil, err
	}
	return doc.plain().(map[string]any), nil
}

// load gives the document with its positions, and what is wrong with it. It gives as much of a wrong document as can be read, nil
// when that is nothing.
func load(file *rendererv1.ScoreFile) (*node, []errs.Field, error) {
	name := file.GetFilename()
	if name == "" {
		name = DefaultFilename
	}
	if err := checkSizes(name, file); err != nil {
		return nil, nil, err
	}
	var p problems
	doc := parse(pos{file: name, line: 1, col: 1}, file.GetContent(), true, &p)
	over := parse(pos{file: name + " (overrides)", line: 1, col: 1}, file.GetOverrides(), false, &p)
	properties := parseProperties(file.GetProperties(), &p)
	if doc == nil {
		return nil, p.fields(), nil
	}
	if over != nil && !over.broken {
		doc = merge(doc, over)
	}
	for _, prop := range properties {
		doc = prop.override(doc, &p)
	}
	upgrade(doc, &p)
	takeImage(doc, file.GetImage(), &p)
	takeSources(doc, file.GetSources(), slashpath.Dir(name), &p)
	validate(doc, &p)
	return doc, p.fields(), nil
}

// LoadAll loads several files whose workloads must have different names. The problems of all files are reported at once.
func LoadAll(files []*rendererv1.ScoreFile) (map[string]*structpb.Struct, error) {
	workloads, _, err := LoadPlaced(files)
	return workloads, err
}

// LoadPlaced is LoadAll, and tells where everything in the files stands. The places are there beside an error, too, as far as the
// files can be read.
func LoadPlaced(files []*rendererv1.ScoreFile) (map[string]*structpb.Struct, *Places, error) {
	places := &Places{documents: map[string]*node{}}
	total := 0
	for i, f := range files {
		if total += sizeOf(f); total > MaxTotal {
			return nil, places, tooLarge(fmt.Sprintf("files[%d]", i), total, MaxTotal)
		}
	}
	out := map[string]*structpb.Struct{}
	var fields []errs.Field
	for i, f := range files {
		if f.GetFilename() == "" && len(files) > 1 {
			f = &rendererv1.ScoreFile{Filename: fmt.Sprintf("files[%d]", i), Content: f.GetContent(), Overrides: f.GetOverrides(),
				Properties: f.GetProperties(), Image: f.GetImage(), Sources: f.GetSources()}
		}
		doc, found, err := load(f)
		if err != nil {
			return nil, places, err
		}
		fields = append(fields, found...)
		name, named := doc.get("metadata").get("name").text()
		if !named {
			continue
		}
		if first := places.documents[name]; first != nil {
			fields = append(fields, errs.Field{Path: doc.get("metadata").get("name").pos.String() + " metadata.name",
				Problem: fmt.Sprintf("the workload %s is in %s already: expected another name", quote(name), first.get("metadata").get("name").pos)})
			continue
		}
		places.documents[name] = doc
		if len(fields) > 0 {
			continue
		}
		if out[name], err = structpb.NewStruct(doc.plain().(map[string]any)); err != nil {
			return nil, places, errs.New(errs.Internal, 0, "the document of %s cannot be encoded", name).Because(err)
		}
	}
	if err := Invalid(fields); err != nil {
		return nil, places, err
	}
	return out, places, nil
}

// Check gives everything that is wrong with a document that is canonical already, such as one after an overlay. The paths of
// the problems begin with prefix.
func Check(doc map[string]any, prefix string) []errs.Field {
	var p problems
	n := fromPlain(doc, pos{file: prefix})
	utf8Valid(n, "", &p)
	validate(n, &p)
	containers := n.get("containers")
	for _, name := range containers.names() {
		where := path("containers").field(name)
		if image, _ := containers.get(name).get("image").text(); image == "." {
			p.add(n.pos, where.field("image"), `is ".", which is replaced when the Score file is loaded: expected an image; set an image`)
		}
		files := containers.get(name).get("files")
		for _, target := range files.names() {
			if files.get(target).get("source") != nil {
				p.add(n.pos, where.field("files").field(target).field("source"), "is replaced by the file's content when the Score file is loaded: expected content or binaryContent; give content or binaryContent")
			}
		}
	}
	return p.fields()
}

// Name gives metadata.name of a canonical document.
func Name(doc map[string]any) string {
	metadata, _ := doc["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

func checkSizes(name string, file *rendererv1.ScoreFile) error {
	for _, part := range []struct {
		field string
		size  int
	}{{"content", len(file.GetContent())}, {"overrides", len(file.GetOverrides())}} {
		if part.size > MaxFile {
			return tooLarge(name+" "+part.field, part.size, MaxFile)
		}
	}
	for _, source := range slices.Sorted(maps.Keys(file.GetSources())) {
		if size := len(file.GetSources()[source]); size > MaxFile {
			return tooLarge(fmt.Sprintf("%s sources[%q]", name, source), size, MaxFile)
		}
	}
	if size := sizeOf(file); size > MaxTotal {
		return tooLarge(name, size, MaxTotal)
	}
	return nil
}

func sizeOf(file *rendererv1.ScoreFile) int {
	size := len(file.GetContent()) + len(file.GetOverrides())
	for _, s := range file.GetProperties() {
		size += len(s)
	}
	for name, s := range file.GetSources() {
		size += len(name) + len(s)
	}
	return size
}

// takeImage puts the image of the deployment in place of ".".
func takeImage(doc *node, image string, p *problems) {
	containers := doc.get("containers")
	for _, name := range containers.names() {
		container := containers.get(name)
		if given, _ := container.get("image").text(); given != "." {
			continue
		}
		at := container.get("image").pos
		if !utf8.ValidString(image) {
			p.add(at, path("containers").field(name).field("image"), "the image that is given when deploying is not UTF-8: expected text")
			continue
		}
		if strings.Trim(image, ". ") == "" {
			p.add(at, path("containers").field(name).field("image"), `is ".", so the image must be given when deploying: expected --image registry/name:tag, got none`)
			continue
		}
		container.fields["image"] = newString(image, at)
	}
}

// takeSources puts the contents of source files in place of their names: text as content, anything else as binaryContent.
func takeSources(doc *node, sources map[string][]byte, dir string, p *problems) {
	containers := doc.get("containers")
	for _, name := range containers.names() {
		files := containers.get(name).get("files")
		for _, target := range files.names() {
			file, where := files.get(target), path("containers").field(name).field("files").field(target).field("source")
			source, ok := file.get("source").text()
			if !ok || source == "" || file.get("content") != nil || file.get("binaryContent") != nil {
				continue // validation has something to say about it, or there is none
			}
			at := file.get("source").pos
			content, known := sources[source]
			if !known {
				content, known = sources[slashpath.Clean(source)]
			}
			switch {
			case strings.HasPrefix(source, "/"):
				p.add(at, where, "%s is an absolute path: expected the name of the file relative to the Score file", quote(source))
			case !known:
				p.add(at, where, "the file %s was not sent with the Score file%s: expected it beside the Score file", quote(source), suggest(source, slices.Sorted(maps.Keys(sources))))
			case utf8.Valid(content):
				delete(file.fields, "source")
				file.set("content", newString(string(content), p.readSource(slashpath.Join(dir, source), content)))
			default:
				delete(file.fields, "source")
				file.set("binaryContent", newString(base64.StdEncoding.EncodeToString(content), at))
			}
		}
	}
}

// CheckResources gives everything that is wrong with resources that stand outside of a Score document, those of a set. Their
// params can refer to each other, not to metadata.
func CheckResources(resources map[string]map[string]any, prefix string) []errs.Field {
	if len(resources) == 0 {
		return nil
	}
	all := map[string]any{}
	for name, r := range resources {
		all[name] = r
	}
	var p problems
	doc := fromPlain(map[string]any{"resources": all}, pos{file: prefix})
	utf8Valid(doc, "", &p)
	c := checker{&p}
	c.shape(doc, setShape, "")
	c.references(doc)
	return p.fields()
}
