package drift

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

const (
	// pageSize is how many objects one request asks for. API servers since 1.34 serve all pages of a list from one snapshot of their
	// cache, older ones from etcd; either way neither side ever holds a large list at once.
	pageSize = 500
	// listsAtOnce bounds the lists of one cluster that are under way, of watches and of sweeps together.
	listsAtOnce = 2
	// A watch that cannot be kept is tried again after firstWatchRetry, then after twice as long each time, up to lastWatchRetry.
	firstWatchRetry = 200 * time.Millisecond
	lastWatchRetry  = 5 * time.Second
	// A server ends watches after a random time, so that they do not all come back at once; until then bookmarks keep them fresh.
	shortestWatch = 5 * time.Minute
	// stormGap is over how long the watches of a cluster come back after an outage.
	stormGap = 300 * time.Millisecond
)

// rawClient makes a client that gives bytes. Without a time limit: a watch has none.
func rawClient(cfg *rest.Config) (rest.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = 0
	cfg.ContentType, cfg.AcceptContentTypes = "application/json", "application/json"
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.UnversionedRESTClientFor(cfg)
}

func resourcePath(r schema.GroupVersionResource, namespace string) []string {
	path := []string{"/apis", r.Group, r.Version}
	if r.Group == "" {
		path = []string{"/api", r.Version}
	}
	if namespace != "" {
		path = append(path, "namespaces", namespace)
	}
	return append(path, r.Resource)
}

// pages lists a kind, in all namespaces with "", and calls each with every object as it comes; its bytes are valid only during the call.
// It gives the version of the list. An error that expired knows means that the server lost the list on the way: begin again, with no
// limit then.
func (c *cluster) pages(ctx context.Context, r schema.GroupVersionResource, namespace string, limit int, each func(p *wire.Page, h *wire.Head, object []byte) error) (string, error) {
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	for token := ""; ; {
		req := c.raw.Get().AbsPath(resourcePath(r, namespace)...)
		if limit > 0 {
			req.Param("limit", strconv.Itoa(limit))
		} else {
			req.Param("resourceVersion", "0") // all at once only from the server's cache
		}
		if token != "" {
			req.Param("continue", token)
		}
		body.Reset()
		if err := read(ctx, req, body); err != nil {
			return "", err
		}
		p, err := wire.PageOf(body.Bytes())
		if err == nil {
			err = p.Each(func(h *wire.Head, object []byte) error { return each(&p, h, object) })
		}
		if err != nil {
			return "", fmt.Errorf("list %s: %w", r.Resource, err)
		}
		if token = p.Continue; token == "" {
			return p.Version, nil
		}
	}
}

// bodies are kept because a page of a list may take some megabytes, and most environments have one.
var bodies = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// read reads a whole answer.
func read(ctx context.Context, req *rest.Request, into *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := req.Stream(ctx)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = into.ReadFrom(answer)
	return err
}

// expired reports whether the server no longer has what is asked for, so that only a new list helps.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// turn waits until this cluster may be asked for one more list.
func (c *cluster) turn(ctx context.Context) (done func(), err error) {
	select {
	case c.lists <- struct{}{}:
		return func() { <-c.lists }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// follow lists a kind and watches it from there, until ctx ends. A watch that breaks goes on where it was, without a list; one that
// the server no longer has the events of, as after a compaction of etcd, costs one list.
func (w *kindWatch) follow(ctx context.Context) {
	version, failures := "", 0
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		if version == "" {
			version, err = w.list(ctx)
		}
		if err == nil {
			version, err = w.watch(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastWatchRetry {
			failures = 0 // it went well for a while
		}
		switch {
		case err == nil && failures == 0 && time.Since(began) > firstWatchRetry:
			continue // the server ended the watch in its time
		case expired(err):
			version = ""
			w.c.log.Info("the events of a kind since the last one are gone from the cluster; it is listed again", "kind", w.gvr.String())
		case err != nil:
			w.c.log.Warn("a kind cannot be watched now; it is tried again", "kind", w.gvr.String(), "error", err)
			w.c.suspect()
		}
		failures++
		pause(ctx, spread(min(firstWatchRetry<<min(failures-1, 10), lastWatchRetry)))
	}
}

// spread gives between three quarters and five quarters of a time.
func spread(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// list reads the kind in all namespaces and gives the version to watch from.
func (w *kindWatch) list(ctx context.Context) (string, error) {
	if !isEvidence(w.gvr) {
		// Evidence first, or what an autoscaler did during an outage would be told as somebody's edit.
		w.c.awaitEvidence(ctx)
	}
	version, err := w.listBy(ctx, pageSize)
	if expired(err) {
		version, err = w.listBy(ctx, 0)
	}
	return version, err
}

func (w *kindWatch) listBy(ctx context.Context, limit int) (string, error) {
	done, err := w.c.turn(ctx)
	if err != nil {
		return "", err
	}
	release := sync.OnceFunc(done)
	defer release()
	if !streamed[w.gvr] {
		var all []any
		version, err := w.c.pages(ctx, w.gvr, "", limit, func(p *wire.Page, _ *wire.Head, object []byte) error {
			u, err := w.dec.item(p, object)
			all = append(all, u)
			return err
		})
		if err != nil {
			return "", err
		}
		release() // what follows may wait for others' lists
		return version, w.Replace(all, version)
	}
	l := newListing(w)
	version, err := w.c.pages(ctx, w.gvr, "", limit, l.see)
	if err != nil {
		return "", err
	}
	l.finish(version)
	return version, nil
}

// watch follows the kind from a version until the server or the connection ends it, and gives the version to go on from.
func (w *kindWatch) watch(ctx context.Context, version string) (string, error) {
	seconds := int64((shortestWatch + rand.N(shortestWatch)).Seconds())
	answer, err := w.c.raw.Get().AbsPath(resourcePath(w.gvr, "")...).Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersion", version).Param("timeoutSeconds", strconv.FormatInt(seconds, 10)).Stream(ctx)
	if err != nil {
		return version, err
	}
	defer answer.Close()
	in := frames{r: bufio.NewReaderSize(answer, 64<<10)}
	for {
		kind, object, err := in.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return version, err
		}
		if kind == "ERROR" {
			return version, statusOf(object)
		}
		head, err := wire.HeadOf(object)
		if err != nil {
			return version, fmt.Errorf("watch %s: %w", w.gvr.Resource, err)
		}
		if kind != "BOOKMARK" {
			if err := w.event(kind, &head, object); err != nil {
				return version, err
			}
		}
		if len(head.Version) > 0 {
			version = string(head.Version)
		}
	}
}

// statusOf makes an error of what a watch sent as one.
func statusOf(object []byte) error {
	var st metav1.Status
	if err := json.Unmarshal(object, &st); err != nil {
		return fmt.Errorf("the watch ended with an error that cannot be read: %w", err)
	}
	if st.Code == http.StatusGone && st.Reason == "" {
		st.Reason = metav1.StatusReasonExpired
	}
	return &apierrors.StatusError{ErrStatus: st}
}

// frames cuts the stream of a watch: a JSON text per line.
type frames struct {
	r   *bufio.Reader
	buf []byte
}

// next gives the next frame, valid until the call after it.
func (f *frames) next() (kind string, object []byte, err error) {
	for f.buf = f.buf[:0]; ; {
		line, err := f.r.ReadSlice('\n')
		f.buf = append(f.buf, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return "", nil, err // half a frame is none: its event comes again
		case len(bytes.TrimSpace(f.buf)) == 0:
			f.buf = f.buf[:0]
			continue
		}
		kind, object, err := wire.EventOf(f.buf)
		if !errors.Is(err, wire.ErrShort) {
			return kind, object, err
		}
	}
}

// event takes one event. One that changes nothing, which most do, is dropped without being decoded.
func (w *kindWatch) event(kind string, head *wire.Head, object []byte) error {
	w.c.svc.stats.events.Add(1)
	if streamed[w.gvr] {
		e := w.c.ownerOfHead(w.gvr.Group, head)
		if e == nil || kind != "DELETED" && e.unmoved(w.gvr.Group, head.Kind, head) {
			w.c.svc.stats.dropped.Add(1)
			return nil
		}
	}
	u, err := w.dec.object(object)
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.gvr.Resource, err)
	}
	if kind == "DELETED" {
		return w.Delete(u)
	}
	if err := w.Update(u); err != nil {
		return err
	}
	if e := w.c.ownerOf(u); e != nil {
		e.remember(w.gvr.Group, head)
	}
	return nil
}

// decoder makes objects of bytes.
type decoder struct{ d *wire.Decoder }

func (d decoder) object(object []byte) (*unstructured.Unstructured, error) {
	m, err := d.d.DecodeLive(object)
	return &unstructured.Unstructured{Object: m}, err
}

// item decodes an item of a list, which may leave out what all of them share.
func (d decoder) item(p *wire.Page, object []byte) (*unstructured.Unstructured, error) {
	u, err := d.object(object)
	if err != nil {
		return nil, err
	}
	if u.Object["kind"] == nil {
		u.Object["kind"] = p.Kind
	}
	if u.Object["apiVersion"] == nil {
		u.Object["apiVersion"] = p.APIVersion
	}
	return u, nil
}
