package compare_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestWhatMeansTheSameIsNoFinding(t *testing.T) {
	tests := []struct {
		name, object string
		manager      string // who writes the edit; empty for the server itself
		edit         func(o map[string]any)
	}{
		{"only the server's defaults are added to a Deployment", deploymentYAML, "", func(map[string]any) {}},
		{"only the server's defaults and addresses are added to a Service", serviceYAML, "", func(map[string]any) {}},
		{"a ConfigMap is as declared", configMapYAML, "", func(map[string]any) {}},
		{"status changes", deploymentYAML, "", func(o map[string]any) { put(o, map[string]any{"replicas": int64(9)}, "status") }},
		{"generation and version change", deploymentYAML, "", func(o map[string]any) {
			put(o, int64(9), "metadata", "generation")
			put(o, "99", "metadata", "resourceVersion")
		}},
		{"containers and variables are reordered", deploymentYAML, "", func(o map[string]any) {
			slices.Reverse(at(o, inContainer(0, "env")...).([]any))
			slices.Reverse(at(o, containers...).([]any))
		}},
		{"quantities are spelled differently", deploymentYAML, "", func(o map[string]any) {
			put(o, "1", inContainer(0, "resources", "requests", "cpu")...)
			put(o, "512Mi", inContainer(0, "resources", "requests", "memory")...)
			put(o, "1024Mi", inContainer(0, "resources", "limits", "memory")...)
		}},
		{"an empty variable loses its empty value", deploymentYAML, "", func(o map[string]any) {
			delete(at(o, inContainer(0, "env", 1)...).(map[string]any), "value")
		}},
		{"a false that the API leaves out is left out", deploymentYAML, "", func(o map[string]any) {
			delete(at(o, inContainer(0, "volumeMounts", 0)...).(map[string]any), "readOnly")
		}},
		{"empty maps and lists appear", deploymentYAML, "", func(o map[string]any) {
			put(o, map[string]any{}, "metadata", "annotations")
			put(o, []any{}, "spec", "template", "spec", "tolerations")
			put(o, nil, "spec", "template", "spec", "affinity")
		}},
		{"a rolling update is set to its default by somebody", deploymentYAML, "kubectl-edit", func(o map[string]any) {
			put(o, int64(600), "spec", "progressDeadlineSeconds")
		}},
		{"kubectl keeps its last applied configuration", deploymentYAML, "kubectl-client-side-apply", func(o map[string]any) {
			put(o, map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "{}"}, "metadata", "annotations")
		}},
		{"the deployment controller counts revisions", deploymentYAML, "kube-controller-manager", func(o map[string]any) {
			put(o, map[string]any{"deployment.kubernetes.io/revision": "3"}, "metadata", "annotations")
		}},
		{"a whole number comes back as a float", deploymentYAML, "", func(o map[string]any) { put(o, float64(2), "spec", "replicas") }},
	}
	for _, tt := range tests {
		for _, withBaseline := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				desired := object(t, tt.object)
				c := applied(t, desired)
				in := compare.Input{Desired: desired, Self: self}
				if withBaseline {
					in.Baseline = baseline(t, desired, asStored(c))
				}
				if tt.manager != "" {
					c.update(tt.manager, tt.edit)
				}
				in.Live = asStored(c)
				if tt.manager == "" {
					tt.edit(in.Live.Object)
				}
				got := comparer().Compare(in)
				if !got.Clean() || len(got.Residue) > 0 {
					t.Errorf("with baseline %v: findings %v, unverified %v, residue %v; want none", withBaseline, paths(got.Findings), got.Unverified, paths(got.Residue))
				}
			})
		}
	}
}

// Each pair is one meaning in two spellings, as declared and as the API server stores it, without a baseline.
func TestDefaultsInsideEveryCommonKindAreNoFinding(t *testing.T) {
	tests := []struct{ name, desired, live string }{
		{"Ingress", `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a}, spec: {rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}}`,
			`{spec: {ingressClassName: nginx, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}, status: {loadBalancer: {}}}`},
		{"NetworkPolicy with protocols inside atomic lists", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: 80}]}]}}`,
			`{spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: 80, protocol: TCP}]}]}}`},
		{"RoleBinding", `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {kind: Role, name: a, apiGroup: rbac.authorization.k8s.io}, subjects: [{kind: ServiceAccount, name: a, namespace: b}, {kind: User, name: u}]}`,
			`{roleRef: {kind: Role, name: a, apiGroup: rbac.authorization.k8s.io}, subjects: [{kind: ServiceAccount, name: a, namespace: b}, {kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]}`},
		{"PersistentVolumeClaim", `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}`,
			`{metadata: {finalizers: [kubernetes.io/pvc-protection]}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Filesystem, storageClassName: standard, volumeName: pv-1}, status: {phase: Bound}}`},
		{"StatefulSet with a claim template", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {serviceName: a, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: "a:1"}]}}, volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`,
			`{spec: {replicas: 1, serviceName: a, podManagementPolicy: OrderedReady, revisionHistoryLimit: 10, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}, persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}, selector: {matchLabels: {a: b}}, template: {metadata: {creationTimestamp: null, labels: {a: b}}, spec: {restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30, containers: [{name: a, image: "a:1", imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]}}, volumeClaimTemplates: [{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {creationTimestamp: null, name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Filesystem}, status: {phase: Pending}}]}}`},
		{"DaemonSet", `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {serviceAccountName: x, containers: [{name: a, image: a, env: [{name: N, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]}]}}}}`,
			`{metadata: {annotations: {deprecated.daemonset.template.generation: "1"}}, spec: {revisionHistoryLimit: 10, updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {serviceAccountName: x, serviceAccount: x, restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, terminationGracePeriodSeconds: 30, containers: [{name: a, image: a, imagePullPolicy: Always, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, env: [{name: N, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}]}]}}}}`},
		{"CronJob", `{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "a:1"}]}}}}}}`,
			`{spec: {schedule: "* * * * *", concurrencyPolicy: Allow, suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1, jobTemplate: {metadata: {creationTimestamp: null}, spec: {template: {metadata: {creationTimestamp: null}, spec: {restartPolicy: Never, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, terminationGracePeriodSeconds: 30, containers: [{name: a, image: "a:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]}}}}}}`},
		{"Job", `{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "a@sha256:00"}]}}}}`,
			`{metadata: {labels: {batch.kubernetes.io/controller-uid: u, batch.kubernetes.io/job-name: a, controller-uid: u, job-name: a}}, spec: {parallelism: 1, completions: 1, backoffLimit: 6, completionMode: NonIndexed, suspend: false, manualSelector: false, podReplacementPolicy: TerminatingOrFailed, selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}, template: {metadata: {labels: {batch.kubernetes.io/controller-uid: u, batch.kubernetes.io/job-name: a, controller-uid: u, job-name: a}}, spec: {restartPolicy: Never, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, terminationGracePeriodSeconds: 30, containers: [{name: a, image: "a@sha256:00", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]}}}}`},
		{"HorizontalPodAutoscaler", `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}}}`,
			`{spec: {maxReplicas: 3, minReplicas: 1, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}}`},
		{"PodDisruptionBudget", `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}`,
			`{spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}, status: {currentHealthy: 0}}`},
		{"ServiceAccount with a token", `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}`, `{secrets: [{name: a-token-1}]}`},
		{"Secret from stringData", `{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: b2xk}, stringData: {k: hello}}`, `{type: Opaque, data: {k: aGVsbG8=}}`},
		{"HTTPRoute, whose schema is not known", `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, spec: {parentRefs: [{name: g}], rules: [{backendRefs: [{name: a, port: 80}]}]}}`,
			`{spec: {parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}], rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: a, port: 80, weight: 1}]}]}}`},
		{"Service of type LoadBalancer", `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: LoadBalancer, ports: [{port: 80, targetPort: http}]}}`,
			`{metadata: {finalizers: [service.kubernetes.io/load-balancer-cleanup]}, spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: true, externalTrafficPolicy: Cluster, internalTrafficPolicy: Cluster, sessionAffinity: None, healthCheckNodePort: 30001, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80, protocol: TCP, nodePort: 30000, targetPort: http}]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired, live := object(t, tt.desired), object(t, withIdentity(t, tt.desired, tt.live))
			got := comparer().Compare(compare.Input{Desired: desired, Live: live, Self: self})
			if !got.Clean() || len(got.Residue) > 0 {
				t.Errorf("findings %v, unverified %v, residue %v; want none", paths(got.Findings), got.Unverified, paths(got.Residue))
			}
		})
	}
}

// withIdentity gives a live fixture the kind and version of the declared one.
func withIdentity(tb failer, desired, live string) string {
	d := object(tb, desired)
	return "{apiVersion: " + d.GetAPIVersion() + ", kind: " + d.GetKind() + ", " + live[1:]
}

func scaled(t *testing.T, manager, subresource string, replicas int64) (desired, live *unstructured.Unstructured) {
	desired = object(t, deploymentYAML)
	c := applied(t, desired)
	c.update(manager, func(o map[string]any) { put(o, replicas, "spec", "replicas") })
	return desired, viaSubresource(deploymentLive(c), manager, subresource)
}

func TestReplicasAreDelegatedOnlyWithEvidence(t *testing.T) {
	evidence := compare.Evidence{Autoscalers: []compare.Autoscaler{{Name: "HorizontalPodAutoscaler/web", TargetKind: "Deployment", TargetName: "web", Min: 2, Max: 10}}}
	tests := []struct {
		name, manager, subresource string
		replicas                   int64
		evidence                   compare.Evidence
		delegated                  bool
	}{
		{"an autoscaler targets it and the value is in its range", "kube-controller-manager", "scale", 7, evidence, true},
		{"the value is at the end of the range", "kube-controller-manager", "scale", 10, evidence, true},
		{"the value is beyond the range", "kube-controller-manager", "scale", 11, evidence, false},
		{"the autoscaler is gone", "kube-controller-manager", "scale", 7, compare.Evidence{}, false},
		{"the autoscaler targets something else", "kube-controller-manager", "scale", 7,
			compare.Evidence{Autoscalers: []compare.Autoscaler{{TargetKind: "Deployment", TargetName: "other", Min: 1, Max: 99}}}, false},
		{"somebody scales by hand without an autoscaler", "kubectl", "scale", 7, compare.Evidence{}, false},
		{"somebody edits the object although an autoscaler is there", "kubectl-edit", "", 7, evidence, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired, live := scaled(t, tt.manager, tt.subresource, tt.replicas)
			got := comparer().Compare(compare.Input{Desired: desired, Live: live, Self: self, Evidence: tt.evidence})
			op := "Update"
			if tt.subresource != "" {
				op += "/" + tt.subresource
			}
			want, other := got.Findings, got.Delegated
			if tt.delegated {
				want, other = got.Delegated, got.Findings
			}
			if diff := cmp.Diff([]owned{{"changed", "spec.replicas", tt.manager, op}}, attributions(want)); diff != "" {
				t.Errorf("delegated %v (-want +got):\n%s", tt.delegated, diff)
			}
			if len(other) > 0 {
				t.Errorf("also in the other list: %v", paths(other))
			}
		})
	}
}

func TestReplicasThatNobodyDeclaresAreTheAutoscalersToo(t *testing.T) {
	desired := object(t, deploymentYAML)
	delete(at(desired.Object, "spec").(map[string]any), "replicas")
	c := applied(t, desired)
	first := deploymentLive(c)
	put(first.Object, int64(1), "spec", "replicas") // the server's default
	b := baseline(t, desired, first)
	c.update("kube-controller-manager", func(o map[string]any) { put(o, int64(4), "spec", "replicas") })
	in := compare.Input{Desired: desired, Baseline: b, Self: self, Live: viaSubresource(deploymentLive(c), "kube-controller-manager", "scale")}
	in.Evidence.Autoscalers = []compare.Autoscaler{{Name: "HorizontalPodAutoscaler/web", TargetKind: "Deployment", TargetName: "web", Min: 1, Max: 5}}
	if got := comparer().Compare(in); !got.Clean() || len(got.Delegated) != 1 {
		t.Errorf("findings %v, delegated %v; want replicas delegated", paths(got.Findings), paths(got.Delegated))
	}
	in.Evidence = compare.Evidence{}
	if diff := cmp.Diff([]owned{{"extra", "spec.replicas", "kube-controller-manager", "Update/scale"}}, attributions(comparer().Compare(in).Findings)); diff != "" {
		t.Errorf("after the autoscaler is gone:\n%s", diff)
	}
}

func TestControllersAreBelievedOnlyWithEvidence(t *testing.T) {
	webhook := `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: a, annotations: {%s}}, webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {service: {name: a, namespace: b}}}]}`
	asks := object(t, replace(webhook, `cert-manager.io/inject-ca-from: b/a`))
	silent := object(t, replace(webhook, ``))
	inject := func(o map[string]any) { put(o, "Q0E=", "webhooks", 0, "clientConfig", "caBundle") }
	restart := func(o map[string]any) {
		put(o, map[string]any{"kubectl.kubernetes.io/restartedAt": "now"}, "spec", "template", "metadata", "annotations")
	}
	revision := func(o map[string]any) {
		put(o, map[string]any{"deployment.kubernetes.io/revision": "3"}, "metadata", "annotations")
	}
	hold := func(o map[string]any) { put(o, []any{"example.com/hold"}, "metadata", "finalizers") }
	tests := []struct {
		name, manager string
		desired       *unstructured.Unstructured
		edit          func(o map[string]any)
		alsoStatus    bool
		findings      []string
	}{
		{"the injector writes a bundle that the object asks for", "cert-manager-cainjector", asks, inject, false, nil},
		{"the injector writes a bundle that nobody asked for", "cert-manager-cainjector", silent, inject, false, []string{"extra webhooks[name=a.example.com].clientConfig.caBundle"}},
		{"somebody else writes a bundle", "kubectl-edit", asks, inject, false, []string{"extra webhooks[name=a.example.com].clientConfig.caBundle"}},
		{"a person restarts a Deployment", "kubectl-rollout", object(t, deploymentYAML), restart, false,
			[]string{"extra spec.template.metadata.annotations[kubectl.kubernetes.io/restartedAt]"}},
		{"a person writes the controller's annotation", "kubectl-annotate", object(t, deploymentYAML), revision, false,
			[]string{"extra metadata.annotations[deployment.kubernetes.io/revision]"}},
		{"a controller that writes the status adds its finalizer", "lb-controller", object(t, serviceYAML), hold, true, nil},
		{"somebody who does not write the status adds a finalizer", "kubectl-edit", object(t, serviceYAML), hold, false,
			[]string{"extra metadata.finalizers[=example.com/hold]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := applied(t, tt.desired)
			b := baseline(t, tt.desired, asStored(c))
			c.update(tt.manager, tt.edit)
			live := asStored(c)
			if tt.alsoStatus {
				entries := live.GetManagedFields()
				last := entries[len(entries)-1]
				last.Subresource = "status"
				live.SetManagedFields(append(entries, last))
			}
			got := comparer().Compare(compare.Input{Desired: tt.desired, Live: live, Baseline: b, Self: self})
			if diff := cmp.Diff(tt.findings, paths(got.Findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s\ndelegated %v", diff, paths(got.Delegated))
			}
			if len(tt.findings) == 0 && len(got.Delegated) == 0 {
				t.Error("what an allow rule explains must be listed as delegated")
			}
		})
	}
}
