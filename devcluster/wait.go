package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startTimeout bounds each wait of a start. An idle machine needs 3 s in all; the rest is for one that is busy compiling.
const startTimeout = 2 * time.Minute

// poll calls ready until it returns nil, a component fails, ctx ends or startTimeout passes.
func (c *Cluster) poll(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready in %s", startTimeout))
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		err := ready(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case failure := <-c.failed:
			return failure
		case <-ctx.Done():
			return fmt.Errorf("%w (at last: %w)", context.Cause(ctx), err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// apiReady asks the API server whether its start hooks are through, RBAC's default roles among them.
func (c *Cluster) apiReady(ctx context.Context) error {
	var code int
	err := c.admin.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Error()
	if code == http.StatusOK {
		return nil
	}
	return fmt.Errorf("/readyz answers %d: %w", code, err)
}

// waitUsable waits until a pod can be created (which takes a service account, made by the controller manager) and until it
// would become ready (which takes a node that KWOK has taken over).
func (c *Cluster) waitUsable(ctx context.Context) error {
	err := c.poll(ctx, func(ctx context.Context) error {
		_, err := c.admin.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("the controller manager made no default service account: %w", err)
	}
	c.opts.Logf("kube-controller-manager ready")
	if c.opts.Nodes == 0 {
		return nil
	}
	if err := c.poll(ctx, c.nodesReady); err != nil {
		return fmt.Errorf("simulated nodes: %w", err)
	}
	c.opts.Logf("%d node(s) ready", c.opts.Nodes)
	return nil
}

func (c *Cluster) nodesReady(ctx context.Context) error {
	nodes, err := c.admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready < c.opts.Nodes {
		return errors.New("not every node is ready")
	}
	return nil
}
