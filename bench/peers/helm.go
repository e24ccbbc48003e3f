package main

import (
	"errors"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
)

// helm makes a chart and does with it what helm template does: render, take apart, sort by kind: the first workload's manifests are the template of all, what is shared is a template without loops.
func helm(objects []object) (func() (string, error), error) {
	all := workloads(objects)
	if len(all) == 0 {
		return nil, errors.New("there is no workload")
	}
	const namespace = "shop-dev"
	var templates, shared strings.Builder
	values := map[string]map[string]any{}
	for _, o := range objects {
		w, own := ofWorkload(o)
		switch {
		case !own:
			shared.WriteString("---\n" + strings.ReplaceAll(text(o), "namespace: "+namespace, "namespace: {{ .Release.Namespace }}"))
		case w == all[0]:
			template := strings.NewReplacer(w, "{{ .name }}", "namespace: "+namespace, "namespace: {{ $.Release.Namespace }}", "ghcr.io/acme/api:1.2.3", "{{ $.Values.image }}",
				"value: EUR", "value: {{ $.Values.currency }}").Replace(text(o))
			if sum := checksum(o); sum != "" {
				template = strings.ReplaceAll(template, sum, "{{ .checksum }}")
			}
			templates.WriteString("---\n" + template)
		}
		if sum := checksum(o); own && sum != "" {
			values[w] = map[string]any{"name": w, "checksum": sum}
		}
	}
	list := make([]any, len(all))
	for i, w := range all {
		list[i] = values[w]
	}
	c := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: "v2", Name: "peers", Version: "1.0.0"},
		Templates: []*common.File{
			{Name: "templates/workloads.yaml", Data: []byte("{{ range .Values.workloads }}\n" + templates.String() + "{{ end }}\n")},
			{Name: "templates/shared.yaml", Data: []byte(shared.String())},
		},
	}
	return func() (string, error) {
		with, err := util.ToRenderValues(c, map[string]any{"workloads": list, "image": "ghcr.io/acme/api:1.2.3", "currency": "EUR"},
			common.ReleaseOptions{Name: "peers", Namespace: namespace, IsInstall: true}, common.DefaultCapabilities)
		if err != nil {
			return "", err
		}
		files, err := engine.Render(c, with)
		if err != nil {
			return "", err
		}
		_, sorted, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder) // as helm template and helm install do
		if err != nil {
			return "", err
		}
		var out strings.Builder
		for _, m := range sorted {
			out.WriteString("---\n")
			out.WriteString(m.Content)
			out.WriteByte('\n')
		}
		return out.String(), nil
	}, nil
}

// checksum is the annotation of a Deployment that rolls its pods.
func checksum(o object) string {
	spec, _ := o["spec"].(object)
	template, _ := spec["template"].(object)
	annotations, _ := meta(template)["annotations"].(object)
	sum, _ := annotations["towpath.dev/files-checksum"].(string)
	return sum
}
