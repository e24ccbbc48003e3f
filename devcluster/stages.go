package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"

	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/yaml"
)

// brokenImage is the one stage of our own: without it every rollout succeeds, and a failing one could not be shown.
//
//go:embed stages/broken-image.yaml
var brokenImage string

// stageSet is what KWOK plays: for each kind of object, the stages that its objects can go through.
type stageSet map[internalversion.StageResourceRef][]*internalversion.Stage

// readStages comes first of all: a mistake in a person's file should not take three seconds to be told.
func (c *Cluster) readStages(context.Context) (err error) {
	c.stages, err = loadStages(c.opts.Stages)
	return err
}

// loadStages gives the built-in stages and those of a file, if one is named.
func loadStages(file string) (stageSet, error) {
	set := stageSet{}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--stages: %w", err)
		}
		if err := set.add(string(b)); err != nil {
			return nil, fmt.Errorf("--stages %s: %w", file, err)
		}
	}
	for _, doc := range []string{
		brokenImage, nodefast.DefaultNodeInit, nodeheartbeat.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete,
	} {
		if err := set.add(doc); err != nil {
			return nil, fmt.Errorf("built-in stage: %w", err)
		}
	}
	return set, nil
}

// add reads the Stage documents of a YAML stream.
func (s stageSet) add(stream string) error {
	for i, doc := range strings.Split("\n"+stream, "\n---") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var stage v1alpha1.Stage
		if err := yaml.UnmarshalStrict([]byte(doc), &stage); err != nil {
			return fmt.Errorf("document %d is not a KWOK Stage: %w", i+1, err)
		}
		if stage.Kind != v1alpha1.StageKind {
			return fmt.Errorf("document %d has kind %q; only Stage is understood", i+1, stage.Kind)
		}
		if stage.Spec.ResourceRef.APIGroup == "" {
			stage.Spec.ResourceRef.APIGroup = "v1" // the default that the CRD would set, were there one
		}
		internal, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return fmt.Errorf("document %d, stage %q: %w", i+1, stage.Name, err)
		}
		s[internal.Spec.ResourceRef] = append(s[internal.Spec.ResourceRef], internal)
	}
	return nil
}
