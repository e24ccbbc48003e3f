package definition

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// readDefinition reads a definition file.
func readDefinition(text []byte) (*definition, error) {
	d := &definition{}
	if err := yaml.UnmarshalStrict(text, &d.file); err != nil {
		return nil, fmt.Errorf("read a definition: %w", err)
	}
	if d.Type == "" {
		return nil, fmt.Errorf("a definition has no type")
	}
	return d, nil
}

// addUncompiled adds a definition file whose templates are compiled when it makes its first resource: a process that renders one
// workload needs two or three of all that there are. It is for files that a test compiles, those that are built in.
func (s *Set) addUncompiled(text []byte) error {
	d, err := readDefinition(text)
	if err != nil {
		return err
	}
	s.byType[d.Type] = d
	return nil
}

// ready compiles the templates that are not compiled yet.
func (d *definition) ready() error {
	d.compiled.Do(func() {
		for _, stage := range d.stages() {
			if *stage.to != nil {
				continue
			}
			if err := stage.compile(d.Type); err != nil {
				d.wrong = fmt.Errorf("definition %s, stage %s: %w", d.Type, stage.name, err)
				return
			}
		}
	})
	return d.wrong
}

// CompileAll compiles the templates of every definition, for a test.
func (s *Set) CompileAll() error {
	for _, typ := range s.Types() {
		if err := s.byType[typ].ready(); err != nil {
			return err
		}
	}
	return nil
}
