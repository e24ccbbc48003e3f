package drift

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

const (
	healthy     = driftv1.Health_HEALTH_HEALTHY
	progressing = driftv1.Health_HEALTH_PROGRESSING
	degraded    = driftv1.Health_HEALTH_DEGRADED
	unknown     = driftv1.Health_HEALTH_UNSPECIFIED
)

// healthRule reads the health of custom resources that kstatus does not understand: by their conditions, or by a function where they have
// a way of their own. Each row is made after the public API documentation of its kind.
type healthRule struct {
	// good are conditions that must be True, all of them.
	good []string
	// bad are conditions that must not be True.
	bad []string
	// failing are reasons of a good condition's False that do not pass by themselves. Without any, every False is a failure whose reason
	// is not among waiting.
	failing []string
	waiting []string
	// read reads what conditions do not tell; it wins.
	read func(u *unstructured.Unstructured) (driftv1.Health, string)
}

// healthRules are by kind and group.
var healthRules = map[string]healthRule{
	"Rollout.argoproj.io":     {read: rolloutHealth},
	"Application.argoproj.io": {read: applicationHealth},
	"Workflow.argoproj.io":    {read: phaseHealth([]string{"Succeeded"}, []string{"Failed", "Error"}, "status", "phase")},

	"Certificate.cert-manager.io":        {good: []string{"Ready"}, failing: []string{"Failed", "Denied", "InvalidRequest"}, read: certificateHealth},
	"CertificateRequest.cert-manager.io": {good: []string{"Ready"}, failing: []string{"Failed", "Denied"}},
	"Issuer.cert-manager.io":             {good: []string{"Ready"}, waiting: []string{"Initializing"}},
	"ClusterIssuer.cert-manager.io":      {good: []string{"Ready"}, waiting: []string{"Initializing"}},

	"ScaledObject.keda.sh": {good: []string{"Ready"}, bad: []string{"Fallback"}},
	"ScaledJob.keda.sh":    {good: []string{"Ready"}},

	"ExternalSecret.external-secrets.io":        {good: []string{"Ready"}},
	"ClusterExternalSecret.external-secrets.io": {good: []string{"Ready"}},
	"PushSecret.external-secrets.io":            {good: []string{"Ready"}},
	"SecretStore.external-secrets.io":           {good: []string{"Ready"}},
	"ClusterSecretStore.external-secrets.io":    {good: []string{"Ready"}},
	"SealedSecret.bitnami.com":                  {good: []string{"Synced"}},

	"Cluster.postgresql.cnpg.io":  {read: cnpgHealth},
	"Database.postgresql.cnpg.io": {read: appliedHealth},
	"Pooler.postgresql.cnpg.io":   {read: poolerHealth},

	"GatewayClass.gateway.networking.k8s.io": {good: []string{"Accepted"}, waiting: []string{"Pending", "Waiting"}},
	"Gateway.gateway.networking.k8s.io":      {good: []string{"Accepted", "Programmed"}, waiting: []string{"Pending", "Waiting", "AddressNotAssigned"}},
	"HTTPRoute.gateway.networking.k8s.io":    {read: routeHealth},
	"GRPCRoute.gateway.networking.k8s.io":    {read: routeHealth},
	"TLSRoute.gateway.networking.k8s.io":     {read: routeHealth},
	"TCPRoute.gateway.networking.k8s.io":     {read: routeHealth},
	"UDPRoute.gateway.networking.k8s.io":     {read: routeHealth},

	"Service.serving.knative.dev":       {good: []string{"Ready"}},
	"Route.serving.knative.dev":         {good: []string{"Ready"}},
	"Configuration.serving.knative.dev": {good: []string{"Ready"}},
	"Revision.serving.knative.dev":      {good: []string{"Ready"}, waiting: []string{"Deploying", "ContainerMissing"}},

	"Kustomization.kustomize.toolkit.fluxcd.io": {good: []string{"Ready"}, waiting: fluxWaiting},
	"HelmRelease.helm.toolkit.fluxcd.io":        {good: []string{"Ready"}, waiting: fluxWaiting},
	"GitRepository.source.toolkit.fluxcd.io":    {good: []string{"Ready"}, waiting: fluxWaiting},
	"OCIRepository.source.toolkit.fluxcd.io":    {good: []string{"Ready"}, waiting: fluxWaiting},
	"HelmRepository.source.toolkit.fluxcd.io":   {good: []string{"Ready"}, waiting: fluxWaiting},
	"HelmChart.source.toolkit.fluxcd.io":        {good: []string{"Ready"}, waiting: fluxWaiting},
	"Bucket.source.toolkit.fluxcd.io":           {good: []string{"Ready"}, waiting: fluxWaiting},
}

var fluxWaiting = []string{"Progressing", "ProgressingWithRetry", "DependencyNotReady"}

// crossplaneWaiting are what claims and composites say while they are made.
var crossplaneWaiting = []string{"Waiting", "Creating", "Unavailable", "ConfiguringComposite"}

// customHealth reads an object by our own table; false when the table does not have its kind, or it tells nothing yet.
func customHealth(u *unstructured.Unstructured) (driftv1.Health, string, bool) {
	rule, ok := healthRules[u.GroupVersionKind().GroupKind().String()]
	if !ok {
		if rule, ok = crossplaneRule(u); !ok {
			return unknown, "", false
		}
	}
	if u.GetDeletionTimestamp() != nil {
		return progressing, "is being deleted", true
	}
	if observed, has, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); has && observed < u.GetGeneration() {
		return progressing, "its controller has not looked at the latest version yet", true
	}
	if rule.read != nil {
		if health, message := rule.read(u); health != unknown || len(rule.good) == 0 {
			return health, message, true
		}
	}
	health, message := rule.byConditions(u)
	return health, message, true
}

// crossplaneRule is for claims, composites and managed resources of Crossplane, whose kinds are everybody's own: they are known by the
// conditions Synced and Ready that they have together with a reference to what they are made of.
func crossplaneRule(u *unstructured.Unstructured) (healthRule, bool) {
	has := func(path ...string) bool { _, ok, _ := unstructured.NestedFieldNoCopy(u.Object, path...); return ok }
	ours := has("spec", "resourceRef") || has("spec", "resourceRefs") || has("spec", "compositionRef") || has("spec", "compositionSelector") ||
		has("spec", "crossplane") || has("spec", "forProvider")
	if !ours {
		return healthRule{}, false
	}
	return healthRule{good: []string{"Synced", "Ready"}, waiting: crossplaneWaiting}, true
}

func (r healthRule) byConditions(u *unstructured.Unstructured) (driftv1.Health, string) {
	for _, typ := range r.bad {
		if c := condition(u, typ); c.status == "True" {
			return degraded, typ + ": " + c.text()
		}
	}
	worst, message := healthy, ""
	for _, typ := range r.good {
		health, text := r.judge(condition(u, typ), typ)
		if badness[health] > badness[worst] {
			worst, message = health, text
		}
	}
	return worst, message
}

func (r healthRule) judge(c conditionOf, typ string) (driftv1.Health, string) {
	switch {
	case c.status == "True":
		return healthy, ""
	case c.status == "":
		return progressing, "has no condition " + typ + " yet"
	case c.status == "Unknown":
		return progressing, strings.TrimSuffix(typ+" is not known yet: "+c.text(), ": ")
	case len(r.failing) > 0 && slices.Contains(r.failing, c.reason), len(r.failing) == 0 && !slices.Contains(r.waiting, c.reason):
		return degraded, strings.TrimSuffix("is not "+typ+": "+c.text(), ": ")
	}
	return progressing, strings.TrimSuffix("is not "+typ+" yet: "+c.text(), ": ")
}

// conditionOf is one condition of an object's status; the zero value when there is none.
type conditionOf struct{ status, reason, message string }

func (c conditionOf) text() string {
	return shortText(strings.Trim(c.reason+": "+c.message, ": "))
}

func condition(u *unstructured.Unstructured, typ string) conditionOf {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return conditionIn(list, typ)
}

func conditionIn(list []any, typ string) (c conditionOf) {
	for _, x := range list {
		m, _ := x.(map[string]any)
		if m["type"] == typ {
			c.status, _ = m["status"].(string)
			c.reason, _ = m["reason"].(string)
			c.message, _ = m["message"].(string)
		}
	}
	return c
}

// phaseHealth reads a phase.
func phaseHealth(good, bad []string, path ...string) func(*unstructured.Unstructured) (driftv1.Health, string) {
	return func(u *unstructured.Unstructured) (driftv1.Health, string) {
		phase, _, _ := unstructured.NestedString(u.Object, path...)
		message, _, _ := unstructured.NestedString(u.Object, "status", "message")
		text := strings.TrimSuffix(phase+": "+shortText(message), ": ")
		switch {
		case slices.Contains(good, phase):
			return healthy, ""
		case slices.Contains(bad, phase):
			return degraded, text
		case phase == "":
			return progressing, "has no status yet"
		}
		return progressing, text
	}
}

// rolloutHealth reads an Argo Rollout: it says itself how it is. One that waits in a step for a person is on its way.
func rolloutHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	observed, _, _ := unstructured.NestedString(u.Object, "status", "observedGeneration") // a text there
	if observed != "" && observed != fmt.Sprint(u.GetGeneration()) {
		return progressing, "its controller has not looked at the latest version yet"
	}
	if c := condition(u, "InvalidSpec"); c.status == "True" {
		return degraded, c.text()
	}
	return phaseHealth([]string{"Healthy"}, []string{"Degraded"}, "status", "phase")(u)
}

// applicationHealth reads an Argo CD Application.
func applicationHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	health, _, _ := unstructured.NestedString(u.Object, "status", "health", "status")
	message, _, _ := unstructured.NestedString(u.Object, "status", "health", "message")
	switch health {
	case "Healthy":
		return healthy, ""
	case "Degraded", "Missing":
		return degraded, strings.TrimSuffix(health+": "+shortText(message), ": ")
	case "":
		return progressing, "has no health yet"
	}
	return progressing, strings.TrimSuffix(health+": "+shortText(message), ": ")
}

// certificateHealth reads what of a Certificate its condition Ready does not tell: an issuance that failed, which is tried again later.
func certificateHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	if c := condition(u, "Issuing"); c.status == "False" && c.reason == "Failed" && condition(u, "Ready").status != "True" {
		return degraded, c.text()
	}
	return unknown, ""
}

// cnpgHealth reads a Cluster of CloudNativePG.
func cnpgHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	reason, _, _ := unstructured.NestedString(u.Object, "status", "phaseReason")
	text := strings.TrimSuffix(phase+": "+shortText(reason), ": ")
	ready, _, _ := unstructured.NestedInt64(u.Object, "status", "readyInstances")
	wanted, has, _ := unstructured.NestedInt64(u.Object, "spec", "instances")
	switch {
	case phase == "":
		return progressing, "has no phase yet"
	case phase == "Cluster in healthy state" && has && ready < wanted:
		return progressing, fmt.Sprintf("%d of %d instances are ready", ready, wanted)
	case phase == "Cluster in healthy state":
		return healthy, ""
	case slices.ContainsFunc([]string{"Failing over", "unrecoverable", "Unable to create", "cannot be", "Not enough disk space"},
		func(s string) bool { return strings.Contains(phase, s) }):
		return degraded, text
	}
	return progressing, text
}

// appliedHealth reads the objects of CloudNativePG that say only whether they were applied.
func appliedHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	applied, has, _ := unstructured.NestedBool(u.Object, "status", "applied")
	message, _, _ := unstructured.NestedString(u.Object, "status", "message")
	switch {
	case applied:
		return healthy, ""
	case has:
		return degraded, shortText(message)
	}
	return progressing, "is not applied yet"
}

func poolerHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	ready, _, _ := unstructured.NestedInt64(u.Object, "status", "instances")
	wanted, has, _ := unstructured.NestedInt64(u.Object, "spec", "instances")
	if !has {
		wanted = 1
	}
	if ready < wanted {
		return progressing, fmt.Sprintf("%d of %d instances are there", ready, wanted)
	}
	return healthy, ""
}

// routeHealth reads a route of the Gateway API: every Gateway that it is for must have taken it, and found what it leads to.
func routeHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	refs, _, _ := unstructured.NestedSlice(u.Object, "spec", "parentRefs")
	parents, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	if len(refs) > 0 && len(parents) == 0 {
		return progressing, "no Gateway has taken it yet"
	}
	rule := healthRule{good: []string{"Accepted", "ResolvedRefs"}, waiting: []string{"Pending"}}
	worst, message := healthy, ""
	for _, p := range parents {
		m, _ := p.(map[string]any)
		list, _, _ := unstructured.NestedSlice(m, "conditions")
		name, _, _ := unstructured.NestedString(m, "parentRef", "name")
		for _, typ := range rule.good {
			health, text := rule.judge(conditionIn(list, typ), typ)
			if badness[health] > badness[worst] {
				worst, message = health, "for Gateway "+name+" it "+text
			}
		}
	}
	return worst, message
}
