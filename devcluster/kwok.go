package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/client"
)

// startKwok runs KWOK's controllers, which stand in for the kubelets: they keep nodes alive and write the pods' status.
func (c *Cluster) startKwok(ctx context.Context) error {
	cfg, err := c.kwokConfig()
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(cfg)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	c.spawn("kwok", controllerGrace, func(ctx context.Context) error {
		err := controller.Start(log.NewContext(ctx, log.NewLogger(klogWriter{}, log.LevelWarn)))
		started <- err
		if err != nil {
			return err
		}
		<-ctx.Done() // Start has returned, its goroutines live as long as ctx
		return nil
	})
	select {
	case err := <-started:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kwokConfig makes KWOK's clients. They call themselves kubelet, the manager of pod and node status in a real cluster.
func (c *Cluster) kwokConfig() (controllers.Config, error) {
	none := controllers.Config{}
	set, err := client.NewClientset("", c.kubeconfigOf(kwokIdentity))
	if err != nil {
		return none, err
	}
	cfg, err := set.ToRESTConfig() // shared by all clients that the set makes from here on
	if err != nil {
		return none, err
	}
	cfg.UserAgent = "kubelet/kwok"
	dyn, err := set.ToDynamicClient()
	if err != nil {
		return none, err
	}
	mapper, err := set.ToRESTMapper()
	if err != nil {
		return none, err
	}
	restClient, err := rest.RESTClientFor(cfg)
	if err != nil {
		return none, fmt.Errorf("REST client: %w", err)
	}
	typed, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return none, err
	}
	kwok, err := versioned.NewForConfig(cfg)
	if err != nil {
		return none, err
	}
	return controllers.Config{
		ID: "devcluster", Clock: clock.RealClock{},
		DynamicClient: dyn, RESTClient: restClient, RESTMapper: mapper, TypedClient: typed, TypedKwokClient: kwok,
		ImpersonatingDynamicClient: set.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:   set.ToImpersonatingTypedClient(),
		LocalStages:                c.stages,
		ManageAllNodes:             true,
		CIDR:                       "10.244.0.0/16", NodeIP: "10.0.0.1", // for show: nothing answers there
		NodePlayStageParallelism: 4, PodPlayStageParallelism: 8, NodeLeaseParallelism: 4, PodsOnNodeSyncParallelism: 4,
		NodeLeaseDurationSeconds:        uint((40 * time.Second).Seconds()), // kubelet's own
		EnablePodsOnNodeSyncStreamWatch: true,
	}, nil
}

// klogWriter lets KWOK's warnings go where the other components' log goes.
type klogWriter struct{}

func (klogWriter) Write(b []byte) (int, error) {
	klog.Warning("kwok: " + strings.TrimSpace(string(b)))
	return len(b), nil
}
