package drift_test

import (
	"strings"
	"testing"
)

// An environment that other hands take over, and back again, keeps its data: also what Git stops declaring with the very move, while the
// engine of before prunes and cascades as it is used to.
func TestAMoveBetweenEnginesLosesNoData(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	newFakeArgo(t, e).start()
	e.engine = "native"
	claim := "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
	other := strings.ReplaceAll(claim, "name: data", "name: more")
	claims := func() string {
		return e.kubectl("get", "pvc", "data", "more", "-o", "jsonpath={range .items[*]}{.metadata.uid}{.metadata.deletionTimestamp}{\"\\n\"}{end}")
	}
	e.bring(config + claim + other)
	before := claims()
	for _, move := range []struct{ to, manifests string }{
		{"argocd", config + claim + other},
		{"argocd", config + other},
		{"native", config + other},
		{"native", config},
		{"argocd", config},
	} {
		e.engine = move.to
		e.bring(move.manifests)
		if now := claims(); now != before {
			t.Fatalf("with %s at work the claims are\n%swere\n%s", move.to, now, before)
		}
		e.staysClean("configmap/web-config")
	}
}
