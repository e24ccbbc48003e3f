package main

import (
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// rootLabels are the labels that the root sets on every object.
var rootLabels = []string{"app.kubernetes.io/managed-by", "towpath.dev/application", "towpath.dev/environment"}

// kustomization makes a folder for each workload and one for what is shared, and the root above them.
func kustomization(objects []object) (func() (string, error), error) {
	fs := filesys.MakeFsInMemory()
	write := func(path, content string) error { return fs.WriteFile(path, []byte(content)) }
	folders := map[string]object{}
	pairs := object{}
	for _, o := range objects {
		w, own := ofWorkload(o)
		if !own {
			w = "shared"
		}
		if folders[w] == nil {
			folders[w] = object{"resources": []any{}, "generatorOptions": object{"disableNameSuffixHash": true}}
		}
		bare, left := maps.Clone(o), maps.Clone(labels(o))
		for _, k := range rootLabels {
			pairs[k] = left[k]
			delete(left, k)
		}
		m := maps.Clone(meta(o))
		delete(m, "namespace")
		m["labels"], bare["metadata"] = left, m
		if o["kind"] == "ConfigMap" {
			folders[w]["configMapGenerator"] = []any{generator(o, left)}
			continue
		}
		file := strings.ToLower(fmt.Sprint(o["kind"])) + "-" + name(o) + ".yaml"
		folders[w]["resources"] = append(folders[w]["resources"].([]any), file)
		if err := write("/"+w+"/"+file, strings.ReplaceAll(text(bare), "ghcr.io/acme/api:1.2.3", "ghcr.io/acme/api:latest")); err != nil {
			return nil, err
		}
	}
	root := object{
		"namespace": "shop-dev", "labels": []any{object{"pairs": pairs}}, "resources": []any{},
		"images": []any{object{"name": "ghcr.io/acme/api", "newTag": "1.2.3"}},
	}
	for w, k := range folders {
		root["resources"] = append(root["resources"].([]any), w)
		if err := write("/"+w+"/kustomization.yaml", text(k)); err != nil {
			return nil, err
		}
	}
	if err := write("/kustomization.yaml", text(root)); err != nil {
		return nil, err
	}
	return func() (string, error) {
		all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, "/")
		if err != nil {
			return "", err
		}
		out, err := all.AsYaml()
		return string(out), err
	}, nil
}

func generator(o, labels object) object {
	data, _ := o["data"].(object)
	var literals []any
	for k, v := range data {
		literals = append(literals, fmt.Sprintf("%s=%s", k, v))
	}
	return object{"name": name(o), "literals": literals, "options": object{"labels": labels}}
}
