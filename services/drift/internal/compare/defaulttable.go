package compare

import "strings"

// podTemplates says where a kind keeps its pod specification.
var podTemplates = map[string]string{
	"apps/Deployment": "spec.template.spec.", "apps/StatefulSet": "spec.template.spec.", "apps/DaemonSet": "spec.template.spec.",
	"apps/ReplicaSet": "spec.template.spec.", "batch/Job": "spec.template.spec.", "batch/CronJob": "spec.jobTemplate.spec.template.spec.",
	"/Pod": "spec.", "/PodTemplate": "template.spec.", "/ReplicationController": "spec.template.spec.",
}

// kindDefaults are the defaults of each kind outside its pod specification, by "group/Kind", for every version.
var kindDefaults = map[string][]defaultRow{
	"apps/Deployment": {
		{"spec.replicas", 1},
		{"spec.strategy.type", "RollingUpdate"},
		{"spec.strategy.rollingUpdate.maxSurge", "25%"},
		{"spec.strategy.rollingUpdate.maxUnavailable", "25%"},
		{"spec.revisionHistoryLimit", 10},
		{"spec.progressDeadlineSeconds", 600},
	},
	"apps/StatefulSet": append([]defaultRow{
		{"spec.replicas", 1},
		{"spec.podManagementPolicy", "OrderedReady"},
		{"spec.updateStrategy.type", "RollingUpdate"},
		{"spec.updateStrategy.rollingUpdate.partition", 0},
		{"spec.updateStrategy.rollingUpdate.maxUnavailable", 1},
		{"spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain"},
		{"spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Retain"},
		{"spec.revisionHistoryLimit", 10},
		{"spec.volumeClaimTemplates[].apiVersion", "v1"},
		{"spec.volumeClaimTemplates[].kind", "PersistentVolumeClaim"},
		{"spec.volumeClaimTemplates[].status.phase", "Pending"},
	}, claimDefaults("spec.volumeClaimTemplates[].spec.")...),
	"apps/DaemonSet": {
		{"spec.updateStrategy.type", "RollingUpdate"},
		{"spec.updateStrategy.rollingUpdate.maxUnavailable", 1},
		{"spec.updateStrategy.rollingUpdate.maxSurge", 0},
		{"spec.revisionHistoryLimit", 10},
	},
	"apps/ReplicaSet":        {{"spec.replicas", 1}},
	"/ReplicationController": {{"spec.replicas", 1}},
	"batch/Job":              jobDefaults,
	"batch/CronJob": {
		{"spec.concurrencyPolicy", "Allow"},
		{"spec.suspend", false},
		{"spec.successfulJobsHistoryLimit", 3},
		{"spec.failedJobsHistoryLimit", 1},
	},
	"/Pod": {
		{"spec.enableServiceLinks", true},
		{"spec.preemptionPolicy", "PreemptLowerPriority"},
		{"spec.priority", 0},
	},
	"/Service": {
		{"spec.type", "ClusterIP"},
		{"spec.sessionAffinity", "None"},
		{"spec.sessionAffinityConfig?.clientIP.timeoutSeconds", 10800},
		{"spec.internalTrafficPolicy", "Cluster"},
		{"spec.externalTrafficPolicy", "Cluster"},
		{"spec.allocateLoadBalancerNodePorts", true},
		{"spec.ports[].protocol", "TCP"},
		{"spec.ports[].targetPort", sibling("port")},
	},
	"/Secret":                             {{"type", "Opaque"}},
	"/PersistentVolumeClaim":              claimDefaults("spec."),
	"/PersistentVolume":                   {{"spec.persistentVolumeReclaimPolicy", "Retain"}, {"spec.volumeMode", "Filesystem"}},
	"/Namespace":                          {{"spec.finalizers", []any{"kubernetes"}}},
	"autoscaling/HorizontalPodAutoscaler": autoscalerDefaults,
	"networking.k8s.io/NetworkPolicy": {
		{"spec.policyTypes", policyTypes},
		{"spec.ingress[].ports[].protocol", "TCP"},
		{"spec.egress[].ports[].protocol", "TCP"},
	},
	"networking.k8s.io/IngressClass":                              {{"spec.parameters?.scope", "Cluster"}},
	"rbac.authorization.k8s.io/RoleBinding":                       bindingDefaults,
	"rbac.authorization.k8s.io/ClusterRoleBinding":                bindingDefaults,
	"storage.k8s.io/StorageClass":                                 {{"reclaimPolicy", "Delete"}, {"volumeBindingMode", "Immediate"}},
	"admissionregistration.k8s.io/ValidatingWebhookConfiguration": webhookDefaults,
	"admissionregistration.k8s.io/MutatingWebhookConfiguration":   append([]defaultRow{{"webhooks[].reinvocationPolicy", "Never"}}, webhookDefaults...),
	"gateway.networking.k8s.io/HTTPRoute":                         routeDefaults,
	"gateway.networking.k8s.io/GRPCRoute":                         routeDefaults,
}

var jobDefaults = []defaultRow{
	{"spec.parallelism", 1},
	{"spec.completions", 1},
	{"spec.backoffLimit", derived(func(spec map[string]any) any {
		if spec["backoffLimitPerIndex"] != nil {
			return 2147483647
		}
		return 6
	})},
	{"spec.completionMode", "NonIndexed"},
	{"spec.suspend", false},
	{"spec.manualSelector", false},
	{"spec.podReplacementPolicy", derived(func(spec map[string]any) any {
		if spec["podFailurePolicy"] != nil {
			return "Failed"
		}
		return "TerminatingOrFailed"
	})},
	{"spec.podFailurePolicy?.rules[].onPodConditions[].status", "True"},
}

var autoscalerDefaults = []defaultRow{
	{"spec.minReplicas", 1},
	{"spec.targetCPUUtilizationPercentage", 80},
	{"spec.metrics", []any{map[string]any{"type": "Resource", "resource": map[string]any{"name": "cpu",
		"target": map[string]any{"type": "Utilization", "averageUtilization": 80}}}}},
	{"spec.behavior?.scaleUp.stabilizationWindowSeconds", 0},
	{"spec.behavior?.scaleUp.selectPolicy", "Max"},
	{"spec.behavior?.scaleUp.policies", []any{map[string]any{"type": "Pods", "value": 4, "periodSeconds": 15},
		map[string]any{"type": "Percent", "value": 100, "periodSeconds": 15}}},
	{"spec.behavior?.scaleDown.selectPolicy", "Max"},
	{"spec.behavior?.scaleDown.policies", []any{map[string]any{"type": "Percent", "value": 100, "periodSeconds": 15}}},
}

var bindingDefaults = []defaultRow{
	{"roleRef.apiGroup", "rbac.authorization.k8s.io"},
	{"subjects[].apiGroup", derived(func(subject map[string]any) any {
		if subject["kind"] == "ServiceAccount" {
			return nil
		}
		return "rbac.authorization.k8s.io"
	})},
}

var webhookDefaults = []defaultRow{
	{"webhooks[].failurePolicy", "Fail"},
	{"webhooks[].matchPolicy", "Equivalent"},
	{"webhooks[].namespaceSelector", map[string]any{}},
	{"webhooks[].objectSelector", map[string]any{}},
	{"webhooks[].timeoutSeconds", 10},
	{"webhooks[].rules[].scope", "*"},
	{"webhooks[].clientConfig.service?.port", 443},
}

// routeDefaults come from the custom resource definitions of Gateway API; their lists are compared by position.
var routeDefaults = []defaultRow{
	{"spec.parentRefs[].group", "gateway.networking.k8s.io"},
	{"spec.parentRefs[].kind", "Gateway"},
	{"spec.rules[].backendRefs[].group", ""},
	{"spec.rules[].backendRefs[].kind", "Service"},
	{"spec.rules[].backendRefs[].weight", 1},
	{"spec.rules[].matches", []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}}},
	{"spec.rules[].matches[].path.type", "PathPrefix"},
	{"spec.rules[].matches[].path.value", "/"},
	{"spec.rules[].matches[].method?.type", "Exact"},
	{"spec.rules[].matches[].headers[].type", "Exact"},
	{"spec.rules[].matches[].queryParams[].type", "Exact"},
	{"spec.rules[].filters[].requestRedirect?.statusCode", 302},
	{"spec.rules[].filters[].requestMirror?.backendRef.group", ""},
	{"spec.rules[].filters[].requestMirror?.backendRef.kind", "Service"},
}

// derived makes the type of a rule explicit in the tables.
func derived(f func(map[string]any) any) func(map[string]any) any { return f }

// sibling is a default that repeats the field beside it.
func sibling(name string) func(map[string]any) any {
	return func(around map[string]any) any { return around[name] }
}

func claimDefaults(prefix string) []defaultRow {
	return []defaultRow{{prefix + "volumeMode", "Filesystem"}}
}

// policyTypes of a NetworkPolicy follow from whether it has egress rules.
func policyTypes(spec map[string]any) any {
	if egress, ok := spec["egress"].([]any); ok && len(egress) > 0 {
		return []any{"Ingress", "Egress"}
	}
	return []any{"Ingress"}
}

// pullPolicy follows from the image's tag: latest or none at all is always pulled; a digest without a tag is not.
func pullPolicy(image string) any {
	name, _, digest := strings.Cut(image, "@")
	last := name[strings.LastIndexByte(name, '/')+1:]
	_, tag, tagged := strings.Cut(last, ":")
	if tag == "latest" || !tagged && !digest {
		return "Always"
	}
	return "IfNotPresent"
}

// podDefaults are the rows of a pod specification, relative to it.
func podDefaults() []defaultRow {
	rows := []defaultRow{
		{"dnsPolicy", "ClusterFirst"},
		{"restartPolicy", "Always"},
		{"schedulerName", "default-scheduler"},
		{"terminationGracePeriodSeconds", 30},
		{"serviceAccount", mirrorOf("serviceAccountName")}, // the deprecated name
	}
	for _, list := range []string{"containers[].", "initContainers[].", "ephemeralContainers[]."} {
		rows = append(rows, containerDefaults(list)...)
	}
	for path, value := range map[string]any{
		"configMap?.defaultMode": 420, "secret?.defaultMode": 420, "downwardAPI?.defaultMode": 420, "projected?.defaultMode": 420,
		"projected?.sources[].serviceAccountToken?.expirationSeconds":    3600,
		"projected?.sources[].downwardAPI?.items[].fieldRef?.apiVersion": "v1",
		"downwardAPI?.items[].fieldRef?.apiVersion":                      "v1",
		"ephemeral?.volumeClaimTemplate.spec.volumeMode":                 "Filesystem",
		"iscsi?.iscsiInterface":                                          "default", "rbd?.pool": "rbd", "rbd?.user": "admin", "rbd?.keyring": "/etc/ceph/keyring",
		"azureDisk?.cachingMode": "ReadWrite", "azureDisk?.kind": "Shared", "azureDisk?.fsType": "ext4", "azureDisk?.readOnly": false,
		"scaleIO?.fsType": "xfs", "scaleIO?.storageMode": "ThinProvisioned",
		"hostPath?.type": "",
		"image?.pullPolicy": derived(func(source map[string]any) any {
			reference, _ := source["reference"].(string)
			return pullPolicy(reference)
		}),
	} {
		rows = append(rows, defaultRow{"volumes[]." + path, value})
	}
	return rows
}

func containerDefaults(prefix string) []defaultRow {
	rows := []defaultRow{
		{"imagePullPolicy", derived(func(container map[string]any) any {
			image, _ := container["image"].(string)
			return pullPolicy(image)
		})},
		{"terminationMessagePath", "/dev/termination-log"},
		{"terminationMessagePolicy", "File"},
		{"ports[].protocol", "TCP"},
		{"env[].valueFrom?.fieldRef?.apiVersion", "v1"},
		{"env[].valueFrom?.resourceFieldRef?.divisor", "0"},
		{"env[].valueFrom?.fileKeyRef?.optional", false},
	}
	for _, probe := range []string{"livenessProbe?.", "readinessProbe?.", "startupProbe?."} {
		rows = append(rows,
			defaultRow{probe + "timeoutSeconds", 1}, defaultRow{probe + "periodSeconds", 10},
			defaultRow{probe + "successThreshold", 1}, defaultRow{probe + "failureThreshold", 3},
			defaultRow{probe + "httpGet?.scheme", "HTTP"}, defaultRow{probe + "httpGet?.path", "/"},
			defaultRow{probe + "grpc?.service", ""})
	}
	for _, hook := range []string{"lifecycle?.postStart?.", "lifecycle?.preStop?."} {
		rows = append(rows, defaultRow{hook + "httpGet?.scheme", "HTTP"}, defaultRow{hook + "httpGet?.path", "/"})
	}
	for i := range rows {
		rows[i].path = prefix + rows[i].path
	}
	return rows
}
