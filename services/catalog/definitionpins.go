package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// activeVersions is the row of all active definitions: one read for each decision instead of a scan.
type activeVersions struct {
	// Versions are numbers by the definition's id.
	Versions map[string]int64 `json:"versions"`
	rev      int64
	// changed says that it is not what is stored at rev.
	changed bool
}

func (s *Service) activeDefinitions(ctx context.Context) (activeVersions, error) {
	var a activeVersions
	e, err := s.cfg.KV.Get(ctx, keyActiveDefinitions)
	if errors.Is(err, store.ErrNotFound) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(e.Value, &a); err != nil {
		return a, fmt.Errorf("row %q is damaged: %w", keyActiveDefinitions, err)
	}
	a.rev = e.Rev
	return a, nil
}

func (a activeVersions) with(v rules.DefinitionVersion) activeVersions {
	a.Versions = maps.Clone(a.Versions)
	if a.Versions == nil {
		a.Versions = map[string]int64{}
	}
	a.Versions[v.ID], a.changed = v.Number, true
	return a
}

func (a activeVersions) without(id string) activeVersions {
	a.Versions = maps.Clone(a.Versions)
	delete(a.Versions, id)
	a.changed = true
	return a
}

// pinned gives the versions that an environment with these pins chooses from.
func (a activeVersions) pinned(pins map[string]string) (activeVersions, error) {
	for _, key := range slices.Sorted(maps.Keys(pins)) {
		v, _, err := rules.ParseDefinitionVersion("environment.definition_pins", pins[key])
		if err != nil {
			return a, err
		}
		a = a.with(v)
	}
	return a, nil
}

func (a activeVersions) sorted() []rules.DefinitionVersion {
	var out []rules.DefinitionVersion
	for _, id := range slices.Sorted(maps.Keys(a.Versions)) {
		out = append(out, rules.DefinitionVersion{ID: id, Number: a.Versions[id]})
	}
	return out
}

func (a activeVersions) names() []string {
	var out []string
	for _, v := range a.sorted() {
		out = append(out, v.Name())
	}
	return out
}

func (a activeVersions) put(tx *store.Tx) error {
	value, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode %q: %w", keyActiveDefinitions, err)
	}
	tx.If(store.IfRev(keyActiveDefinitions, a.rev)).Put(keyActiveDefinitions, value)
	return nil
}

// pinDefinitions notes in an intent the versions that the environment may use now. Rendering it leaves those that it did use, see
// keepUsed.
func (s *Service) pinDefinitions(ctx context.Context, c current, state rules.State, intent *catalogv1.Intent) error {
	active, err := s.activeDefinitions(ctx)
	if err != nil {
		return err
	}
	if active, err = active.pinned(c.row.Msg.GetDefinitionPins()); err != nil {
		return err
	}
	intent.Definitions, err = s.reachable(ctx, active, state)
	return err
}

// keepUsed leaves in an intent the definitions that its rendering used. The same input with these alone gives the same bytes.
func keepUsed(intent *catalogv1.Intent, resp *rendererv1.RenderResponse) {
	if intent != nil {
		intent.Definitions = resp.GetDefinitionsUsed()
	}
}

// reachable gives the names of those versions that a state can use at all: of the types that it asks for, and of those that
// definitions of these types mention. An organisation has many more, and every rendering would carry them all.
func (s *Service) reachable(ctx context.Context, active activeVersions, state rules.State) ([]string, error) {
	if len(active.Versions) == 0 {
		return nil, nil
	}
	byType, err := s.loadedByType(ctx, active)
	if err != nil {
		return nil, err
	}
	todo, err := rules.ResourceTypes(state)
	if err != nil {
		return nil, err
	}
	var out []string
	for seen := map[string]bool{}; len(todo) > 0; {
		typ := todo[0]
		if todo = todo[1:]; seen[typ] {
			continue
		}
		seen[typ] = true
		for _, d := range byType[typ] {
			out = append(out, d.content.GetName())
			todo = append(todo, d.mentions...)
		}
	}
	slices.Sort(out)
	return out, nil
}

// loadedByType reads all definitions of a list. That of what is stored is kept, because every decision needs it.
func (s *Service) loadedByType(ctx context.Context, active activeVersions) (map[string][]*loadedDefinition, error) {
	c := &s.definitions
	c.mu.Lock()
	kept, rev := c.byType, c.rev
	c.mu.Unlock()
	if kept != nil && rev == active.rev && !active.changed {
		return kept, nil
	}
	byType := map[string][]*loadedDefinition{}
	for _, name := range active.names() {
		d, err := s.loaded(ctx, name)
		if err != nil {
			return nil, err
		}
		byType[d.content.GetType()] = append(byType[d.content.GetType()], d)
	}
	if !active.changed {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.byType, c.rev = byType, active.rev
	}
	return byType, nil
}

// loadedDefinition is the content of a version, which never changes, and the types that it mentions.
type loadedDefinition struct {
	content  *rendererv1.ResourceDefinition
	mentions []string
}

// definitionCache keeps contents of versions by name.
type definitionCache struct {
	mu     sync.Mutex
	byName map[string]*loadedDefinition
	// byType are the active definitions at revision rev of their row. Nobody changes it.
	byType map[string][]*loadedDefinition
	rev    int64
	// archives are those that were needed last.
	archives archiveCache
}

const maxLoadedDefinitions = 5000

func (s *Service) loaded(ctx context.Context, name string) (*loadedDefinition, error) {
	c := &s.definitions
	c.mu.Lock()
	d := c.byName[name]
	c.mu.Unlock()
	if d != nil {
		return d, nil
	}
	row, err := s.version(ctx, "definition", name)
	if err != nil {
		return nil, err
	}
	d = &loadedDefinition{content: row.Msg.GetContent(), mentions: rules.MentionedTypes(row.Msg.GetContent())}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil || len(c.byName) >= maxLoadedDefinitions {
		c.byName = map[string]*loadedDefinition{}
	}
	c.byName[name] = d
	return d, nil
}

// content reads the content of a version; nobody may change it.
func (s *Service) content(ctx context.Context, name string) (*rendererv1.ResourceDefinition, error) {
	d, err := s.loaded(ctx, name)
	if err != nil {
		return nil, err
	}
	return d.content, nil
}

// contents reads the versions that an intent has pinned, with their archives. Those that are part of Towpath come with the renderer.
func (s *Service) contents(ctx context.Context, names []string) ([]*rendererv1.ResourceDefinition, error) {
	var out []*rendererv1.ResourceDefinition
	for _, name := range names {
		if strings.HasPrefix(name, rules.BuiltinDefinition) {
			continue
		}
		d, err := s.content(ctx, name)
		if err == nil {
			d, err = s.withArchive(ctx, d)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// typesOf gives the resource types that a list of used definitions answers.
func (s *Service) typesOf(ctx context.Context, names []string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, name := range names {
		if typ, ok := strings.CutPrefix(name, rules.BuiltinDefinition); ok {
			out[typ] = true
			continue
		}
		d, err := s.content(ctx, name)
		if err != nil {
			return nil, err
		}
		out[d.GetType()] = true
	}
	return out, nil
}

// checkPins checks the pins that an environment gets, and adds to tx that their definitions stay.
func (s *Service) checkPins(ctx context.Context, tx *store.Tx, old, next *catalogv1.Environment) error {
	if maps.Equal(old.GetDefinitionPins(), next.GetDefinitionPins()) {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(next.GetDefinitionPins())) {
		if err := s.checkPin(ctx, tx, key, next.GetDefinitionPins()[key], old.GetDefinitionPins()[key]); err != nil {
			return err
		}
	}
	active, err := s.activeDefinitions(ctx)
	if err != nil {
		return err
	}
	if active, err = active.pinned(next.GetDefinitionPins()); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(next.GetDefinitionPins())) {
		content, err := s.content(ctx, next.GetDefinitionPins()[key])
		if err != nil {
			return err
		}
		if err := s.unambiguous(ctx, active, content); err != nil {
			return ambiguousPin(pinField(key), err)
		}
	}
	return nil
}

func pinField(key string) string { return fmt.Sprintf("environment.definition_pins[%q]", key) }

func (s *Service) checkPin(ctx context.Context, tx *store.Tx, key, name, before string) error {
	field := pinField(key)
	if _, err := refer(ctx, s, tx, resourceDefinitions, rules.Definitions, field, key); err != nil {
		return err
	}
	v, word, err := rules.ParseDefinitionVersion(field, name)
	if err != nil {
		return err
	}
	if word != "" || rules.Definitions+"/"+v.ID != key {
		return errs.InvalidField(field, "%s is no version of %s; give %s/versions/{number}", name, key, key)
	}
	row, err := s.version(ctx, field, name)
	if errs.Is(err, errs.NotFound) {
		return errs.InvalidField(field, "%s does not exist; see `tow definition versions %s`", name, v.ID)
	}
	if err != nil {
		return err
	}
	if row.Msg.GetState() == catalogv1.DefinitionVersion_STATE_PROPOSED && name != before {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s is only proposed, and nothing uses a version before it was active; activate it first with `tow definition activate %s %d`", name, v.ID, v.Number).
			With("state", "PROPOSED")
	}
	tx.If(store.IfRev(definitionVersions.Key(row.ID), row.Rev))
	return nil
}
