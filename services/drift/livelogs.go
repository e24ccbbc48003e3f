package drift

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	defaultTail = 1000
	// logChunk is the size from which lines are sent even if more are there already.
	logChunk = 32 << 10
	// maxLine is the longest line that is sent as one; a longer one comes in pieces.
	maxLine = 256 << 10
	// logRate bounds one stream, in bytes a second, and logBurst what comes at once: a thousand lines do, a whole disk does not.
	logRate  = 2 << 20
	logBurst = 4 << 20
	// maxLogStreams bounds all streams of this process together: each holds a connection to an API server and a kubelet.
	maxLogStreams = 100
	// defaultContainer is the annotation by which a pod says which container people mean.
	defaultContainer = "kubectl.kubernetes.io/default-container"
)

// newStreams makes a client without a time limit, for what is read as long as somebody listens.
func newStreams(cfg *rest.Config) (rest.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = 0
	cfg.APIPath, cfg.GroupVersion, cfg.NegotiatedSerializer = "/api", &schema.GroupVersion{Version: "v1"}, scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(cfg)
}

// logStreams counts the streams that are open.
var logStreams atomic.Int32

// StreamLogs streams what a container has written.
func (l liveServer) StreamLogs(req *driftv1.StreamLogsRequest, out grpc.ServerStreamingServer[driftv1.LogChunk]) error {
	if (req.GetPod() == "") == (req.GetWorkload() == "") {
		return errs.InvalidField("pod", "and workload are both set or both empty; name one of them")
	}
	if logStreams.Add(1) > maxLogStreams {
		logStreams.Add(-1)
		return errs.New(errs.Exhausted, errorsv1.Reason_REASON_RATE_LIMITED, "%d logs are being read already; close one, or try again later", maxLogStreams).With("retry_after", "5")
	}
	defer logStreams.Add(-1)
	sc, err := l.s.scene(req.GetParent())
	if err != nil {
		return err
	}
	pod, err := sc.podFor(out.Context(), req)
	if err != nil {
		return err
	}
	container, err := containerOf(pod, req.GetContainer())
	if err != nil {
		return err
	}
	body, err := sc.openLog(out.Context(), pod, container, req)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // only read
	err = copyLines(out.Context(), body, rate.NewLimiter(logRate, logBurst), firstChunk(pod.Name, container, out.Send))
	if out.Context().Err() != nil {
		return nil // nobody listens any more
	}
	if err != nil {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_LOGS_UNAVAILABLE, "the log of container %s of pod %s broke off; ask again", container, pod.Name).Because(err)
	}
	return nil
}

// firstChunk adds to the first chunk whose log it is. An empty log has a first chunk too, which copyLines sends at its end.
func firstChunk(pod, container string, send func(*driftv1.LogChunk) error) func([]byte) error {
	sent := false
	return func(text []byte) error {
		c := &driftv1.LogChunk{Text: text}
		if !sent {
			sent = true
			c.Pod, c.Container = pod, container
		} else if len(text) == 0 {
			return nil
		}
		return send(c)
	}
}

// podFor finds the pod: a named one, which must belong to the environment, or the newest one of a workload.
func (sc *scene) podFor(ctx context.Context, req *driftv1.StreamLogsRequest) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if req.GetPod() != "" {
		ref := &driftv1.ObjectRef{ApiVersion: "v1", Kind: "Pod", Name: req.GetPod()}
		p := spot{gvr: pods, key: objectKey{kind: "Pod", namespace: sc.namespace, name: req.GetPod()}}
		u, err := sc.read(ctx, p, sc.declared[p.key] != nil)
		if err != nil {
			return nil, err
		}
		if u == nil {
			return nil, sc.notOfIt(ref)
		}
		return toPod(u)
	}
	t, err := sc.grow(ctx)
	if err != nil {
		return nil, err
	}
	return sc.newestPod(t, req.GetWorkload())
}

// runsPods are the kinds that a workload may be.
var runsPods = []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet"}

// newestPod gives the newest pod below a declared object of the workload's name, which may have its kind in front: job/migrate.
func (sc *scene) newestPod(t *tree, workload string) (*corev1.Pod, error) {
	kind, name, qualified := strings.Cut(workload, "/")
	if !qualified {
		kind, name = "", workload
	}
	below := map[string]bool{}
	var newest *driftv1.ObjectNode
	found := false
	for _, n := range t.nodes { // owners stand before what they own
		root := n.GetDeclared() && n.GetObject().GetName() == name &&
			(kind == "" && (slices.Contains(runsPods, n.GetObject().GetKind()) || customKind(n)) || strings.EqualFold(kind, n.GetObject().GetKind()))
		if !root && !below[n.GetOwnerUid()] {
			continue
		}
		found = true
		below[cmp.Or(n.GetUid(), "-")] = true
		if n.GetPod() != nil && (newest == nil || n.GetCreateTime().AsTime().After(newest.GetCreateTime().AsTime())) {
			newest = n
		}
	}
	switch {
	case !found:
		return nil, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "%s has no workload %s; %s", sc.e.name, workload, workloadsIn(t)).With("resource", workload)
	case newest == nil:
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_LOGS_UNAVAILABLE, "workload %s has no pod now, so that there is no log; its events may say why", workload)
	}
	for _, u := range t.objects {
		if string(u.GetUID()) == newest.GetUid() {
			return toPod(u)
		}
	}
	return nil, sc.notOfIt(newest.GetObject())
}

// customKind tells a custom resource, whose controller may run pods.
func customKind(n *driftv1.ObjectNode) bool {
	group, _, _ := groupOf(n.GetObject().GetApiVersion())
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

func workloadsIn(t *tree) string {
	var names []string
	for _, n := range t.nodes {
		if n.GetDeclared() && slices.Contains(runsPods, n.GetObject().GetKind()) {
			names = append(names, n.GetObject().GetName())
		}
	}
	if len(names) == 0 {
		return "it has no workloads"
	}
	return "there are " + summarise(names)
}

func toPod(u *unstructured.Unstructured) (*corev1.Pod, error) {
	var p corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		return nil, fmt.Errorf("read pod %s: %w", u.GetName(), err)
	}
	return &p, nil
}

// containerOf checks the container's name, or chooses the one that people mean.
func containerOf(p *corev1.Pod, asked string) (string, error) {
	var names []string
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		names = append(names, c.Name)
	}
	for _, c := range p.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	if asked == "" {
		if name := p.Annotations[defaultContainer]; slices.Contains(names, name) {
			return name, nil
		}
		return names[0], nil // a pod has at least one
	}
	if !slices.Contains(names, asked) {
		return "", errs.InvalidField("container", "%q is none of pod %s; it has %s", asked, p.Name, strings.Join(names, ", "))
	}
	return asked, nil
}

// openLog asks the cluster for a log. Its refusal is told in its own words: it knows whether the container has not started yet, the
// node is away, or there are no logs at all.
func (sc *scene) openLog(ctx context.Context, p *corev1.Pod, container string, req *driftv1.StreamLogsRequest) (io.ReadCloser, error) {
	query := url.Values{"container": {container}, "tailLines": {strconv.Itoa(int(cmp.Or(req.GetTailLines(), defaultTail)))}}
	if req.GetFollow() {
		query.Set("follow", "true")
	}
	if req.GetPrevious() {
		query.Set("previous", "true")
	}
	if req.GetSinceTime() != nil {
		query.Set("sinceTime", req.GetSinceTime().AsTime().Format(time.RFC3339))
	}
	r := sc.c.streams.Get().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("log")
	for k, v := range query {
		r = r.Param(k, v[0])
	}
	body, err := r.Stream(ctx)
	if err == nil {
		return body, nil
	}
	var st apierrors.APIStatus
	if ctx.Err() == nil && errors.As(err, &st) && !apierrors.IsUnauthorized(err) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_LOGS_UNAVAILABLE, "the cluster has no log of container %s of pod %s: %s",
			container, p.Name, shortText(st.Status().Message)).Because(err)
	}
	return nil, clusterError(err, "read the log of pod "+p.Name)
}

// copyLines hands on whole lines as they come, a few at a time, not faster than the limit. Its last piece may be empty, or a line
// without an end.
func copyLines(ctx context.Context, from io.Reader, limit *rate.Limiter, send func([]byte) error) error {
	r := bufio.NewReaderSize(from, logChunk)
	var chunk []byte
	flush := func() error {
		if err := limit.WaitN(ctx, len(chunk)); err != nil {
			return err
		}
		err := send(chunk)
		chunk = nil // the message may be on its way still
		return err
	}
	for {
		piece, err := r.ReadSlice('\n')
		chunk = append(chunk, piece...)
		switch {
		case errors.Is(err, io.EOF):
			return flush()
		case errors.Is(err, bufio.ErrBufferFull) && len(chunk) < maxLine:
			continue
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return errors.Join(flush(), err)
		}
		waiting, _ := r.Peek(r.Buffered())
		if len(chunk) >= logChunk || bytes.IndexByte(waiting, '\n') < 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}
