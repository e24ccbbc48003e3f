package rules

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// replicasAnnotation is how a Score document says its number of replicas to the renderer.
const replicasAnnotation = "towpath.dev/replicas"

// Images gives the images of what would be rendered by workload and container, "api/main".
func Images(s State) map[string]string {
	doc, err := Effective(s)
	if err != nil {
		doc = DocumentOf(s.Set)
	}
	out := map[string]string{}
	for name, w := range doc.Workloads() {
		for container, c := range containersOf(w) {
			if m, ok := c.(map[string]any); ok && text(m["image"]) != "" {
				out[name+"/"+container] = text(m["image"])
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func containersOf(workload any) map[string]any {
	w, _ := workload.(map[string]any)
	containers, _ := w["containers"].(map[string]any)
	return containers
}

// SetImage gives the change that makes a container run another image. It changes the set, which is what promotion copies; an
// image of its own that the environment's overlay has would win and is dropped. container may be empty where there is one only.
func SetImage(from State, workload, container, image string) (*catalogv1.Change, error) {
	if image == "." || strings.ContainsFunc(image, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return nil, errs.InvalidField("image", "%s is no image; give a reference such as registry.example.com/shop/api:1.4.2", quote(image))
	}
	doc, err := Effective(from)
	if err != nil {
		return nil, err
	}
	w, err := workloadOf(doc, workload)
	if err != nil {
		return nil, err
	}
	containers := containersOf(w)
	switch _, ok := containers[container]; {
	case container == "" && len(containers) == 1:
		container = slices.Collect(maps.Keys(containers))[0]
	case container == "":
		return nil, errs.InvalidField("container", "is empty and the workload %s has several containers; %s", workload, thereAre(containers))
	case !ok:
		return nil, errs.InvalidField("container", "the workload %s has no container %s; %s", workload, quote(container), thereAre(containers))
	}
	path := jsonptr.Join(workloadsKey, workload, "containers", container, "image")
	op := &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: structpb.NewStringValue(image)}
	if _, ok := containersOf(DocumentOf(from.Set).Workloads()[workload])[container].(map[string]any); !ok {
		return &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{op}}, nil // only the overlay has it
	}
	change := &catalogv1.Change{SetOperations: []*rendererv1.Operation{op}}
	for _, own := range from.Intent.GetOverlay() {
		switch {
		case own.GetPath() == path:
			change.OverlayDrops = append(change.OverlayDrops, path)
		case strings.HasPrefix(path, own.GetPath()+"/"): // the overlay replaces what is around it
			change.OverlayOperations = []*rendererv1.Operation{op}
		}
	}
	if len(change.GetOverlayOperations()) > 0 {
		change.OverlayDrops = nil // the operation takes the earlier one's place
	}
	return change, nil
}

// Scale gives the change that makes a workload run so many replicas in this environment.
func Scale(from State, workload string, replicas int32) (*catalogv1.Change, error) {
	doc, err := Effective(from)
	if err != nil {
		return nil, err
	}
	if _, err := workloadOf(doc, workload); err != nil {
		return nil, err
	}
	return &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: jsonptr.Join(workloadsKey, workload, "metadata", "annotations", replicasAnnotation),
		Value: structpb.NewStringValue(strconv.Itoa(int(replicas))),
	}}}, nil
}

func workloadOf(doc Document, name string) (any, error) {
	w, ok := doc.Workloads()[name]
	if !ok {
		return nil, errs.InvalidField("workload", "there is no workload %s; %s", quote(name), thereAre(doc.Workloads()))
	}
	return w, nil
}
