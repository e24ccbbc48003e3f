package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// arrived is an event with the time at which this process had it.
type arrived[T any] struct {
	event T
	at    time.Time
}

// subscription is an operator's: plain NATS, with the operator's key, as `nats sub` would have it.
type subscription struct {
	committed chan arrived[*eventsv1.DeploymentCommitted]
	synced    chan arrived[*eventsv1.EnvironmentSynced]
	drift     chan arrived[*eventsv1.DriftDetected]
}

// events more than are ever waiting: a full channel would stop the subscriber.
const buffered = 1 << 16

func (s *stack) subscribe() (*subscription, error) {
	key, err := nats.NkeyOptionFromSeed(filepath.Join(s.dir, "data", "nats", "operator.nk"))
	if err != nil {
		return nil, fmt.Errorf("operator's key: %w", err)
	}
	nc, err := nats.Connect("nats://"+s.ready["TOWPATH_NATS"], key)
	if err != nil {
		return nil, fmt.Errorf("connect to the event server: %w", err)
	}
	s.stops = append(s.stops, nc.Close)
	out := &subscription{
		committed: make(chan arrived[*eventsv1.DeploymentCommitted], buffered),
		synced:    make(chan arrived[*eventsv1.EnvironmentSynced], buffered),
		drift:     make(chan arrived[*eventsv1.DriftDetected], buffered),
	}
	for subject, handle := range map[string]nats.MsgHandler{
		"towpath.evt.bench.dev.deployment.committed": into(out.committed, func() *eventsv1.DeploymentCommitted { return &eventsv1.DeploymentCommitted{} }),
		"towpath.evt.bench.dev.environment.synced":   into(out.synced, func() *eventsv1.EnvironmentSynced { return &eventsv1.EnvironmentSynced{} }),
		"towpath.evt.bench.dev.drift.detected":       into(out.drift, func() *eventsv1.DriftDetected { return &eventsv1.DriftDetected{} }),
	} {
		if _, err := nc.Subscribe(subject, handle); err != nil {
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	return out, nc.Flush()
}

// into decodes events into a channel. One that cannot be decoded is left out, and is missed by await.
func into[T proto.Message](to chan arrived[T], fresh func() T) nats.MsgHandler {
	return func(m *nats.Msg) {
		at, e, body := time.Now(), fresh(), m.Data
		if m.Header.Get("content-encoding") == "zstd" {
			var err error
			if body, err = unzstd.DecodeAll(body, nil); err != nil {
				return
			}
		}
		if proto.Unmarshal(body, e) == nil {
			to <- arrived[T]{e, at}
		}
	}
}

// unzstd unpacks larger events. Without a reader its constructor cannot fail.
var unzstd, _ = zstd.NewReader(nil)

// await takes events until one is wanted, and gives it with the time at which it was here.
func await[T any](ctx context.Context, from <-chan arrived[T], wanted func(T) bool) (T, time.Time, error) {
	limit := time.After(30 * time.Second)
	var none T
	for {
		select {
		case a := <-from:
			if wanted(a.event) {
				return a.event, a.at, nil
			}
		case <-limit:
			return none, time.Time{}, fmt.Errorf("no %T within 30 s", none)
		case <-ctx.Done():
			return none, time.Time{}, ctx.Err()
		}
	}
}

// cluster is the API server, called without a Kubernetes client: starting kubectl takes longer than what is measured.
type cluster struct {
	url    string
	client *http.Client
}

func openCluster(kubeconfig string) (*cluster, error) {
	b, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	var k struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     string `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Certificate string `json:"client-certificate-data"`
				Key         string `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if len(k.Clusters) == 0 || len(k.Users) == 0 {
		return nil, fmt.Errorf("kubeconfig has no cluster or no user")
	}
	var pem [3][]byte
	for i, text := range []string{k.Clusters[0].Cluster.CA, k.Users[0].User.Certificate, k.Users[0].User.Key} {
		if pem[i], err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fmt.Errorf("kubeconfig: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(pem[1], pem[2])
	if err != nil {
		return nil, fmt.Errorf("kubeconfig's client certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem[0])
	return &cluster{url: k.Clusters[0].Cluster.Server, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, ForceAttemptHTTP2: true,
	}}}, nil
}

// patch sends a strategic merge patch.
func (c *cluster) patch(ctx context.Context, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, c.url+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("patch: %s: %s", resp.Status, text)
	}
	return nil
}
