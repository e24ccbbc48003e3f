package compare

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"sync"

	fastflate "github.com/klauspost/compress/flate"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Baseline is what the server made of a declared object beyond the declaration: defaults and effects of webhooks. The zero
// value means that none is known. A Baseline is immutable and safe for concurrent use.
type Baseline struct {
	// DesiredHash is Prepared.Hash of the declaration it was made for. A baseline of another declaration still explains
	// what it holds, but new conditional defaults are missing in it: make a new one after every apply.
	DesiredHash string
	root        *baseNode
}

// IsZero says that no baseline is known.
func (b Baseline) IsZero() bool { return b.root == nil }

// baseNode is a sparse tree of undeclared leaves.
type baseNode struct {
	has    bool
	val    any
	fields map[string]*baseNode // names, without "f:"
	others map[string]*baseNode // k:, v: and i: as managedFields spell them
}

func (n *baseNode) field(name string) *baseNode {
	if n == nil {
		return nil
	}
	return n.fields[name]
}

func (n *baseNode) item(list *typ, item any) *baseNode {
	if n == nil || n.others == nil {
		return nil
	}
	return n.others[itemKey(list, item)]
}

func (n *baseNode) member(v any) *baseNode {
	if n == nil || n.others == nil {
		return nil
	}
	return n.others["v:"+marshal(v)]
}

func (n *baseNode) index(i int) *baseNode {
	if n == nil || n.others == nil {
		return nil
	}
	s := step{kind: indexStep, index: i}
	return n.others[s.owned()]
}

// grow gives the child for a key as managedFields spell it, and makes it.
func (n *baseNode) grow(key string) *baseNode {
	name, isField := strings.CutPrefix(key, "f:")
	children := &n.others
	if isField {
		children, key = &n.fields, name
	}
	if *children == nil {
		*children = map[string]*baseNode{}
	}
	if (*children)[key] == nil {
		(*children)[key] = &baseNode{}
	}
	return (*children)[key]
}

// MakeBaseline learns from the server's answer to our apply (or to a dry run of it) what it adds to desired. self and
// ourManagers are as in Input.
//
// A leaf enters only when it is not declared and either nobody owns it or we alone do. What somebody else added, even
// while nobody watched, is owned by them and stays out, together with the defaults that came with it; so it is still a
// finding afterwards. Owners from before server-side apply (kubectl-client-side-apply) count as somebody else. Values of
// a Secret enter as keyed digests. It fails with errs.Invalid when the two are not of the same kind and version.
func (c *Comparer) MakeBaseline(desired, applied *unstructured.Unstructured, self string, ourManagers ...string) (Baseline, error) {
	return c.makeBaseline(desired, applied, false, self, ourManagers)
}

// MakeDryRunBaseline learns the same from the answer to a dry-run create of desired under another name. What the server
// allocates anew for each object (addresses, names made of the object's own) is left out.
func (c *Comparer) MakeDryRunBaseline(desired, answer *unstructured.Unstructured, self string, ourManagers ...string) (Baseline, error) {
	return c.makeBaseline(desired, answer, true, self, ourManagers)
}

func (c *Comparer) makeBaseline(desired, applied *unstructured.Unstructured, dryRun bool, self string, ourManagers []string) (Baseline, error) {
	p, err := c.Prepare(desired, Baseline{})
	if err != nil {
		return Baseline{}, err
	}
	if applied == nil || applied.GroupVersionKind() != p.kind.gvk {
		return Baseline{}, errs.InvalidField("applied", "is not the server's answer for a %s: pass what the apply returned", p.kind.gvk)
	}
	w := c.walker(p, applied)
	w.self, w.alsoOurs, w.recording, w.dryRun = self, ourManagers, true, dryRun
	w.root(p.desired, nil)
	b := Baseline{DesiredHash: p.Hash(), root: &baseNode{}}
	for _, o := range w.out {
		if o.kind == Extra {
			continue
		}
		n := b.root
		for _, key := range o.spelled {
			n = n.grow(key)
		}
		n.has, n.val = true, o.after
	}
	return b, nil
}

// recordLeaf notes an undeclared leaf of an apply's answer, as Extra when it must stay out of the baseline.
func (w *walker) recordLeaf(l any, s *defaultNode, t *typ, parent map[string]any) {
	if s != nil && s.ignored {
		return
	}
	if s.matches(l, parent, t) {
		w.explainedByTable++
	}
	own := w.ownership(w.path)
	if len(own.foreign)+len(own.era) > 0 {
		w.out = append(w.out, outcome{kind: Extra})
		return
	}
	if w.dryRun && w.isAllocated(render(w.path), own) {
		return
	}
	w.record(l, t)
}

// record notes a leaf for the baseline.
func (w *walker) record(l any, t *typ) {
	o := outcome{kind: Residue, after: clone(l)}
	if t.secret {
		o.after = w.c.digest(l)
	}
	for i := range w.path {
		o.spelled = append(o.spelled, w.path[i].owned())
	}
	w.out = append(w.out, o)
}

const (
	// baselineFormat is followed by the hash of the declaration and the deflated tree, so that objects of which the server makes the same
	// have the same bytes behind the hash.
	baselineFormat = 2
	// firstBaselineFormat deflated both; inventories of before have it.
	firstBaselineFormat = 1
)

// decoders are several times as fast as encoding/json, and a sweep reads a baseline for every object.
var decoders = sync.Pool{New: func() any { return wire.NewDecoder() }}

// baselineWords primes the compressor with what nearly every baseline holds, so that a typical one takes 100 to 200 bytes.
var baselineWords = []byte(`{"d":"","t":{"f:spec":{"f:clusterIP":["10.96.0.1"],"f:clusterIPs":[["10.96.0.1"]],"f:internalTrafficPolicy":["Cluster"],` +
	`"f:ipFamilies":[["IPv4"]],"f:ipFamilyPolicy":["SingleStack"],"f:sessionAffinity":["None"],"f:type":["ClusterIP"],"f:ports":{` +
	`"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:protocol":["TCP"],"f:targetPort":[80]}},` +
	`"f:podManagementPolicy":["OrderedReady"],"f:updateStrategy":{"f:rollingUpdate":{"f:partition":[0]},"f:type":["RollingUpdate"]},` +
	`"f:progressDeadlineSeconds":[600],"f:replicas":[1],"f:revisionHistoryLimit":[10],"f:strategy":{"f:rollingUpdate":{"f:maxSurge":["25%"],` +
	`"f:maxUnavailable":["25%"]},"f:type":["RollingUpdate"]},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{` +
	`"f:imagePullPolicy":["IfNotPresent"],"f:livenessProbe":{"f:failureThreshold":[3],"f:httpGet":{"f:scheme":["HTTP"]},"f:periodSeconds":[10],` +
	`"f:successThreshold":[1],"f:timeoutSeconds":[1]},"f:ports":{"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{"f:protocol":["TCP"]}},` +
	`"f:terminationMessagePath":["/dev/termination-log"],"f:terminationMessagePolicy":["File"]}},"f:dnsPolicy":["ClusterFirst"],` +
	`"f:restartPolicy":["Always"],"f:schedulerName":["default-scheduler"],"f:terminationGracePeriodSeconds":[30],"f:volumes":{` +
	`"k:{\"name\":\"config\"}":{"f:configMap":{"f:defaultMode":[420]},"f:secret":{"f:defaultMode":[420]}}}}}}}}`)

// MarshalBinary gives the compact, compressed, deterministic form; empty for the zero value. It holds no secrets.
func (b Baseline) MarshalBinary() ([]byte, error) {
	if b.IsZero() {
		return nil, nil
	}
	hash, err := hex.DecodeString(b.DesiredHash)
	if err != nil || len(hash) != sha256.Size {
		hash = make([]byte, sha256.Size) // of no declaration
	}
	text, err := json.Marshal(b.root.document())
	if err != nil {
		return nil, errs.InvalidField("baseline", "holds a value that is no JSON: make it from the server's answer").Because(err)
	}
	out, err := deflate(append([]byte{baselineFormat}, hash...), text)
	if err != nil {
		return nil, (&errs.Error{Kind: errs.Internal, Msg: "the drift baseline could not be compressed"}).Because(err)
	}
	return out, nil
}

// UnmarshalBinary reads what MarshalBinary wrote, also in earlier versions. It fails with errs.Invalid for anything else; then make a
// new baseline.
func (b *Baseline) UnmarshalBinary(data []byte) error {
	*b = Baseline{}
	if len(data) == 0 {
		return nil
	}
	var err error
	switch {
	case data[0] == baselineFormat && len(data) > sha256.Size:
		b.DesiredHash = hex.EncodeToString(data[1 : 1+sha256.Size])
		b.root, err = trees.read(data[1+sha256.Size:])
	case data[0] == firstBaselineFormat:
		err = b.readFirst(data[1:])
	default:
		return errs.InvalidField("baseline", "has format %d, this version reads %d: take a new baseline", data[0], baselineFormat)
	}
	if err != nil {
		*b = Baseline{}
		return errs.InvalidField("baseline", "is damaged: take a new baseline").Because(err)
	}
	return nil
}

func (b *Baseline) readFirst(data []byte) error {
	doc, err := inflate(data)
	if err != nil {
		return err
	}
	b.DesiredHash, _ = doc["d"].(string)
	tree, _ := doc["t"].(map[string]any)
	b.root = baseNodeOf(tree)
	return nil
}

// trees are the trees of baselines that were read last. What a server adds is the same for most objects of a kind, whatever they are
// called, so a sweep of a great many reads few trees.
var trees treeCache

// treeBytes bounds the deflated bytes of what is kept; a tree takes some fifty times as much.
const treeBytes = 64 << 10

type treeCache struct {
	mu   sync.RWMutex
	by   map[string]*baseNode
	used int
}

// read gives a deflated tree, which nobody changes.
func (c *treeCache) read(deflated []byte) (*baseNode, error) {
	c.mu.RLock()
	n := c.by[string(deflated)]
	c.mu.RUnlock()
	if n != nil {
		return n, nil
	}
	tree, err := inflate(deflated)
	if err != nil {
		return nil, err
	}
	n = baseNodeOf(tree)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used += len(deflated); c.by == nil || c.used > treeBytes {
		c.by, c.used = map[string]*baseNode{}, len(deflated)
	}
	c.by[string(deflated)] = n
	return n, nil
}

// deflaters are kept because one takes more than a megabyte.
var deflaters = sync.Pool{New: func() any {
	z, err := flate.NewWriterDict(io.Discard, flate.BestCompression, baselineWords)
	if err != nil {
		panic(err) // only a level that does not exist is refused
	}
	return z
}}

// deflate appends a text to head.
func deflate(head, text []byte) ([]byte, error) {
	out := bytes.NewBuffer(append(make([]byte, 0, 256), head...))
	z := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(z)
	z.Reset(out) // keeps the dictionary
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// inflaters are kept because one takes 40 KB and a sweep needs one for every object.
var inflaters = sync.Pool{New: func() any { return &inflater{z: fastflate.NewReaderDict(bytes.NewReader(nil), baselineWords)} }}

type inflater struct {
	in  bytes.Reader
	z   io.ReadCloser
	out bytes.Buffer
}

// maxBaseline bounds what a damaged baseline can make us read; real ones take a few kilobytes.
const maxBaseline = 8 << 20

// inflate reads a deflated document.
func inflate(data []byte) (map[string]any, error) {
	r := inflaters.Get().(*inflater)
	defer inflaters.Put(r)
	r.in.Reset(data)
	r.out.Reset()
	if err := r.z.(fastflate.Resetter).Reset(&r.in, baselineWords); err != nil {
		return nil, err
	}
	if _, err := r.out.ReadFrom(io.LimitReader(r.z, maxBaseline)); err != nil {
		return nil, err
	}
	dec := decoders.Get().(*wire.Decoder)
	defer decoders.Put(dec)
	return dec.Decode(r.out.Bytes())
}

// document gives the tree with leaves as one-element lists, so that they cannot be mistaken for branches.
func (n *baseNode) document() map[string]any {
	out := make(map[string]any, len(n.fields)+len(n.others))
	add := func(key string, c *baseNode) {
		if c.has {
			out[key] = []any{c.val}
		} else {
			out[key] = c.document()
		}
	}
	for name, c := range n.fields {
		add("f:"+name, c)
	}
	for key, c := range n.others {
		add(key, c)
	}
	return out
}

func baseNodeOf(doc map[string]any) *baseNode {
	n := &baseNode{}
	for key, v := range doc {
		c := n.grow(key)
		switch v := v.(type) {
		case []any:
			if len(v) == 1 {
				c.has, c.val = true, v[0]
			}
		case map[string]any:
			*c = *baseNodeOf(v)
		}
	}
	return n
}
