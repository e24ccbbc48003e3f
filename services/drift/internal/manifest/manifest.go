// Package manifest reads Kubernetes manifests. It is pure: bytes in, objects out.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Parse reads the objects of one file. Files that are not YAML or JSON by their name hold none. A file that cannot be read
// whole is errs.Precondition: applying the part that can would prune the rest.
func Parse(file string, content []byte) ([]*unstructured.Unstructured, error) {
	switch path.Ext(file) {
	case ".yaml", ".yml", ".json":
	default:
		return nil, nil
	}
	var out []*unstructured.Unstructured
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := dec.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, refuse(file, "is not YAML: %v", err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if u.GetAPIVersion() == "" || u.GetKind() == "" || u.GetName() == "" {
			return nil, refuse(file, "holds a document without apiVersion, kind or metadata.name")
		}
		if u.IsList() {
			return nil, refuse(file, "holds a list; write its objects as documents of their own")
		}
		out = append(out, u)
	}
}

func refuse(file, format string, args ...any) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "%s in Git %s; put the file right or deploy again",
		file, fmt.Sprintf(format, args...))
}
