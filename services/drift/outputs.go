package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

var secretResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// attendClaims looks at claims that moved, and again at those that are not complete, and tells their outputs. It runs on the
// environment's goroutine.
func (e *environment) attendClaims(ctx context.Context) {
	e.mu.Lock()
	now := e.svc.cfg.Now()
	again := !e.claims.look.IsZero() && !now.Before(e.claims.look)
	var due []*claimed
	for _, c := range e.claims.watched {
		if c.due || again && c.told == nil {
			c.due = false
			due = append(due, c)
		}
	}
	cl := e.claims.cluster
	e.mu.Unlock()
	if cl == nil || len(due) == 0 {
		return
	}
	for _, c := range due {
		out, version, err := e.outputsOf(ctx, cl, c)
		if err != nil && ctx.Err() == nil {
			e.log.Warn("a claim could not be looked at; it is tried again", "resource", c.ref.GetResource(), "error", err)
		}
		e.mu.Lock()
		news := out != nil && !proto.Equal(out, c.told)
		if news {
			c.told = out
		}
		c.due = c.due || err != nil
		e.mu.Unlock()
		if news {
			e.tellOutputs(c, out, version)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.claims.look = time.Time{}
	for _, c := range e.claims.watched {
		if c.told == nil || c.due {
			e.claims.step = min(max(2*e.claims.step, firstClaimLook), lastClaimLook)
			e.claims.look = e.svc.cfg.Now().Add(e.claims.step)
			return
		}
	}
}

// outputsOf gives all outputs of a claim, nil while one is missing. Of the connection Secret it looks only which keys there are.
func (e *environment) outputsOf(ctx context.Context, cl *cluster, c *claimed) (*rendererv1.ResourceOutputs, string, error) {
	u, err := cl.dyn.Resource(c.gvr).Namespace(c.key.namespace).Get(ctx, c.key.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", clusterError(err, "read "+c.key.kind+" "+c.key.name)
	}
	out, secret := readOutputs(u, c.ref)
	if out == nil || len(c.ref.GetSecretOutputs()) == 0 {
		return out, u.GetResourceVersion(), nil
	}
	s, err := cl.dyn.Resource(secretResource).Namespace(c.key.namespace).Get(ctx, secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", clusterError(err, "read the connection Secret "+secret)
	}
	data, _, _ := unstructured.NestedMap(s.Object, "data")
	out.Secrets = map[string]*rendererv1.SecretReference{}
	for output, key := range c.ref.GetSecretOutputs() {
		if _, ok := data[key]; !ok {
			return nil, "", nil
		}
		out.Secrets[output] = &rendererv1.SecretReference{Name: secret, Key: key}
	}
	return out, u.GetResourceVersion(), nil
}

// readOutputs gives the outputs that a claim has in itself, and the name of its connection Secret; nil while something is missing.
func readOutputs(u *unstructured.Unstructured, ref *rendererv1.ClaimRef) (*rendererv1.ResourceOutputs, string) {
	out := &rendererv1.ResourceOutputs{Resource: ref.GetResource(), Values: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	for output, path := range ref.GetOutputs() {
		v, ok := valueAt(u.Object, path)
		if !ok || v == nil || v == "" {
			return nil, ""
		}
		value, err := structpb.NewValue(v)
		if err != nil {
			return nil, ""
		}
		out.Values.Fields[output] = value
	}
	if len(ref.GetSecretOutputs()) == 0 {
		return out, ""
	}
	name, isName := strings.CutPrefix(ref.GetSecretName(), "=")
	if !isName {
		v, _ := valueAt(u.Object, ref.GetSecretName())
		name, _ = v.(string)
	}
	if name == "" {
		return nil, ""
	}
	return out, name
}

// pathStep is one step of a path such as status.addresses[0].host or metadata.annotations['example.org/host'].
var pathStep = regexp.MustCompile(`\[(\d+)\]|\['([^'\]]*)'\]|([^.\[\]]+)`)

// valueAt gives the value at a path of an object.
func valueAt(v any, path string) (any, bool) {
	for _, step := range pathStep.FindAllStringSubmatch(path, -1) {
		if step[1] != "" {
			list, ok := v.([]any)
			i, err := strconv.Atoi(step[1])
			if !ok || err != nil || i >= len(list) {
				return nil, false
			}
			v = list[i]
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[step[2]+step[3]]; !ok {
			return nil, false
		}
	}
	return v, true
}

func stampOf(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// digestOf tells outputs apart. Maps of values are encoded in the order of their keys.
func digestOf(out *rendererv1.ResourceOutputs) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	if err != nil {
		b = slices.Clone([]byte(out.GetResource()))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
