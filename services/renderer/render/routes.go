package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/origin"
)

// routes are the ports, by name or number, that objects lead to from outside of the environment, by the name of the Service. Network
// policies have to let them in, whichever definition made the object.
type routes map[string][]string

// take looks for Services that an Ingress or a route of the Gateway API leads to.
func (r *routes) take(object map[string]any) {
	version, _ := origin.Plain(object["apiVersion"]).(string)
	group, _, _ := strings.Cut(version, "/")
	kind, _ := origin.Plain(object["kind"]).(string)
	if group == "networking.k8s.io" && kind == "Ingress" || group == "gateway.networking.k8s.io" && strings.HasSuffix(kind, "Route") {
		r.walk(object["spec"])
	}
}

func (r *routes) walk(v any) {
	switch v := origin.Plain(v).(type) {
	case map[string]any:
		if service, ok := origin.Plain(v["service"]).(map[string]any); ok { // an Ingress's backend
			port, _ := origin.Plain(service["port"]).(map[string]any)
			r.add(service["name"], port["name"], port["number"])
		}
		refs, _ := origin.Plain(v["backendRefs"]).([]any)
		for _, ref := range refs {
			if m, ok := origin.Plain(ref).(map[string]any); ok {
				r.add(m["name"], m["port"])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			r.walk(v[k])
		}
	case []any:
		for _, e := range v {
			r.walk(e)
		}
	}
}

func (r *routes) add(service any, ports ...any) {
	name, _ := origin.Plain(service).(string)
	for _, p := range ports {
		if p = origin.Plain(p); name == "" || p == nil {
			continue
		}
		if *r == nil {
			*r = routes{}
		}
		(*r)[name] = append((*r)[name], fmt.Sprint(p))
	}
}

// to gives the ports of a workload's Service that something leads to. A workload that asks for a route which no object of a known
// kind makes has all of them: nobody else could say which.
func (r routes) to(workload string, doc map[string]any) []string {
	if ports := r[kube.ServiceName(workload)]; len(ports) > 0 {
		return ports
	}
	resources, _ := doc["resources"].(map[string]any)
	for _, res := range resources {
		if m, ok := res.(map[string]any); ok && m["type"] == "route" {
			var out []string
			for _, p := range kube.Ports(doc) {
				out = append(out, p.Name)
			}
			return out
		}
	}
	return nil
}

// environment adds what there is once for all workloads. An environment without any object needs none of it.
func (r *run) environment() error {
	if len(r.files.objects) == 0 {
		return nil
	}
	for _, o := range kube.Environment(r.place, r.input.GetDefaults(), r.trace.marks()) {
		if err := r.files.put(o, "", byType); err != nil {
			return err
		}
	}
	return nil
}
