package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

// scoreFlags name Score files and what is to be changed in them before they are used.
type scoreFlags struct {
	files, properties, overrides []string
	image                        string
}

func (f *scoreFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "a Score file, a folder of them (*.score.yaml and score.yaml), or - for standard input; repeat it for several workloads")
	cmd.Flags().StringArrayVar(&f.properties, "set", nil, "change a property of the Score file, path=value, such as containers.main.image=nginx:1.29")
	cmd.Flags().StringArrayVar(&f.overrides, "overrides", nil, "a file that is merged into the Score file: null takes away; WORKLOAD=FILE where there are several")
	cmd.Flags().StringVar(&f.image, "image", "", "the image of every container whose image is \".\"")
}

// read reads the Score files with all that they need from the disk, so that the server need not see this machine.
func (f *scoreFlags) read(t *tow) ([]*rendererv1.ScoreFile, error) {
	if len(f.files) == 0 && (len(f.properties) > 0 || len(f.overrides) > 0 || f.image != "") {
		return nil, usagef("--set, --overrides and --image change a Score file; name it with -f")
	}
	names, err := expandFolders(f.files)
	if err != nil {
		return nil, err
	}
	if len(names) > 1 && len(f.properties) > 0 {
		return nil, usagef("--set changes one Score file, but %d are given; give the workload's own --overrides WORKLOAD=FILE instead", len(names))
	}
	overrides, err := readOverrides(f.overrides, len(names))
	if err != nil {
		return nil, err
	}
	var out []*rendererv1.ScoreFile
	for _, name := range names {
		file := &rendererv1.ScoreFile{Filename: filepath.ToSlash(name), Properties: f.properties, Image: f.image}
		dir := filepath.Dir(name)
		if name == "-" {
			file.Filename = "stdin"
			file.Content, err = readAll("standard input", t.Stdin)
		} else {
			file.Content, err = readLimited(name)
		}
		if err != nil {
			return nil, err
		}
		if len(file.GetContent()) == 0 {
			return nil, errs.InvalidField(file.GetFilename(), "is empty: expected a Score document; `tow init` writes one")
		}
		overrides.give(file)
		if file.Sources, err = readSources(dir, file); err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	t.scores = out
	return out, overrides.unused()
}

// located gives an error with the lines and columns of the Score files that were read, in the fields that name only the workload:
// what a server, or the rendering, finds wrong long after the files were taken apart.
func (t *tow) located(err error) error {
	if len(t.scores) == 0 {
		return err
	}
	_, places, _ := score.LoadPlaced(t.scores) // what is wrong with them is not what is asked here
	return places.Locate(err)
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "there is no file %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	return readAll(name, f)
}

// readAll reads no more than a Score file may have, so that a wrong file name cannot fill the memory.
func readAll(name string, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, score.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > score.MaxFile {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "%s is larger than %d bytes", name, score.MaxFile)
	}
	return b, nil
}

// readSources reads the files that the document names as `source`, relative to the Score file. One that is not there is left
// out: the loader then says where in the document it is named. What is no YAML names nothing; the loader has better words for it.
func readSources(dir string, file *rendererv1.ScoreFile) (map[string][]byte, error) {
	sources := map[string][]byte{}
	for _, source := range sourcesOf(file) {
		if filepath.IsAbs(source) {
			continue // the loader refuses it
		}
		b, err := readLimited(filepath.Join(dir, filepath.FromSlash(source)))
		var missing *errs.Error
		if errors.As(err, &missing) && missing.Reason == errorsv1.Reason_REASON_INVALID_FIELD {
			continue
		}
		if err != nil {
			return nil, err
		}
		sources[source] = b
	}
	return sources, nil
}

// sourcesOf gives every text under a key `source` below `files`, of the document, the overrides and the properties.
func sourcesOf(file *rendererv1.ScoreFile) []string {
	var out []string
	for _, content := range [][]byte{file.GetContent(), file.GetOverrides()} {
		var doc struct {
			Containers map[string]struct {
				Files yaml.Node `yaml:"files"`
			} `yaml:"containers"`
		}
		if yaml.Unmarshal(content, &doc) != nil {
			continue
		}
		for _, c := range doc.Containers {
			out = append(out, sourcesIn(&c.Files)...)
		}
	}
	for _, p := range file.GetProperties() {
		if path, value, ok := strings.Cut(p, "="); ok && strings.HasSuffix(path, ".source") {
			out = append(out, strings.Trim(value, `"'`))
		}
	}
	return out
}

func sourcesIn(n *yaml.Node) []string {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var out []string
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "source" && c.Kind == yaml.ScalarNode {
			out = append(out, c.Value)
			continue
		}
		out = append(out, sourcesIn(c)...)
	}
	return out
}
