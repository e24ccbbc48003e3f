package definition

import (
	"fmt"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Rendering is what the resources of one rendering share: each gets what the ones before it in the order of the graph have left. It is
// a value that may go to another process and back.
type Rendering struct {
	// Shared is the shared state of provisioners as YAML, Other the same with other secrets in it.
	Shared, Other string
	// Secrets are the random values in it that are secrets.
	Secrets []RenderingSecret
}

// RenderingSecret is a random value that is a secret, as it is and in the other world, and the Secret's key that stands for it. Nobody
// ever gets the value: the cluster makes one of its own.
type RenderingSecret struct {
	Value, Other, Function string
	At                     Secret
}

// sharing is a Rendering that is read.
type sharing struct {
	shared, other map[string]any
	secrets       []*secretValue
}

// maxShared is how large the shared state may be.
const maxShared = 256 << 10

func (r *Rendering) open() (out sharing, err error) {
	out.shared, out.other = map[string]any{}, map[string]any{}
	if r == nil {
		return out, nil
	}
	for _, s := range r.Secrets {
		out.secrets = append(out.secrets, &secretValue{value: s.Value, other: s.Other, function: s.Function, at: s.At})
	}
	if err := readMap(r.Shared, &out.shared); err != nil {
		return out, err
	}
	return out, readMap(r.Other, &out.other)
}

// close gives what later resources get. Secrets that are not shared are nobody else's.
func (s sharing) close(patch map[string]any) (*Rendering, error) {
	if len(patch) == 0 && len(s.shared) == 0 {
		return nil, nil
	}
	shared, err := yamlv3.Marshal(s.shared)
	if err != nil {
		return nil, err
	}
	other, err := yamlv3.Marshal(s.other)
	if err != nil {
		return nil, err
	}
	if len(shared) > maxShared {
		return nil, fmt.Errorf("what resources share is larger than %d bytes", maxShared)
	}
	out := &Rendering{Shared: string(shared), Other: string(other)}
	for _, v := range s.secrets {
		out.Secrets = append(out.Secrets, RenderingSecret{v.value, v.other, v.function, v.at})
	}
	return out, nil
}
