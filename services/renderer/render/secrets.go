package render

import "github.com/towpath-dev/towpath/services/renderer/definition"

// addManifest adds an object of a definition, or in place of a Secret what makes it by the environment type's strategy.
func (r *run) addManifest(m map[string]any, repeatable bool, res *resource) error {
	objects, err := r.secrets.Make(m, res.uid)
	if err != nil {
		return located(err, res)
	}
	for _, o := range objects {
		if err := r.files.addMade(o, repeatable, res, r.place); err != nil {
			return err
		}
	}
	return nil
}

// secretVariables adds the objects that make the Secrets of variables, and says which Secrets must be there. It comes last, when
// it is known which Secrets definitions have made.
func (r *run) secretVariables() error {
	objects, err := r.secrets.Rest(func(name string) map[string]any { return r.place.Meta(name, definition.Shorten(name, 63), "") })
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := r.files.put(o, "", byVariables); err != nil {
			return err
		}
	}
	r.warnings = append(r.warnings, r.secrets.Warnings()...)
	return nil
}
