package drift

import (
	"fmt"
	"math/rand/v2"
)

// replayedManifest is a workload as teams write them, another one for each number: names, images, digests and addresses differ, as they
// do between real ones, so that nothing is smaller than it would be.
func replayedManifest(i int) string {
	r := rand.New(rand.NewPCG(uint64(i), 7391))
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  namespace: team-%[2]d
  labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod, app.kubernetes.io/managed-by: towpath, team: team-%[2]d}
  annotations: {towpath.dev/commit: %[3]s}
spec:
  replicas: %[4]d
  selector: {matchLabels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod, team: team-%[2]d}
      annotations: {towpath.dev/config-checksum: %[5]s}
    spec:
      serviceAccountName: %[1]s
      containers:
      - name: main
        image: registry.example.com/team-%[2]d/%[1]s@sha256:%[6]s
        ports: [{name: http, containerPort: %[7]d}]
        env:
        - {name: LOG_LEVEL, value: info}
        - {name: DB_HOST, value: %[1]s-db.team-%[2]d.svc}
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: %[1]s-db, key: password}}}
        - {name: FEATURE_FLAGS_URL, value: "https://flags.example.com/%[8]s"}
        resources: {requests: {cpu: %[9]dm, memory: 128Mi}, limits: {memory: 512Mi}}
        readinessProbe: {httpGet: {path: /readyz, port: http}}
        livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 15}
        volumeMounts: [{name: config, mountPath: /etc/app, readOnly: true}]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, capabilities: {drop: [ALL]}}
      volumes: [{name: config, configMap: {name: %[1]s-config-%[8]s}}]
`, fmt.Sprintf("svc-%s-%d", digits(r, 4), i), i/1000, digits(r, 40), 1+r.IntN(5), digits(r, 32), digits(r, 64), 8000+r.IntN(1000), digits(r, 8), 50+r.IntN(400))
}
