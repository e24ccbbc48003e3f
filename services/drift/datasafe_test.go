package drift_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// database is what a resource of the type postgres becomes: a StatefulSet with a claim per pod, and a Secret that is made in the cluster.
const database = `---
apiVersion: v1
kind: Secret
metadata: {name: db, annotations: {towpath.dev/generate: "password:32"}}
` + stateful

// operated is a database that an operator makes.
const operated = `---
apiVersion: %[1]s.example.com/v1
kind: Database
metadata: {name: orders, annotations: {towpath.dev/on-removal: keep}}
spec: {size: 3}
`

// precious is all that holds data in the tests, by kind and name.
type precious struct {
	*env
	group string
	was   map[string]types.UID
}

func (p *precious) objects() []string {
	return []string{"persistentvolumeclaim/data", "persistentvolumeclaim/files-db-0", "secret/db", "databases." + p.group + ".example.com/orders"}
}

func (p *precious) uid(object string) types.UID {
	return types.UID(devclustertest.Kubectl(p.t, "-n", p.ns, "get", object, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"))
}

// everything is what the environment declares while it has its data.
func (p *precious) everything() string {
	return config + claim("data", "") + database + fmt.Sprintf(operated, p.group)
}

// safe fails when one of the objects is gone, is being deleted, or is another one than it was.
func (p *precious) safe(after string) {
	p.t.Helper()
	for _, o := range p.objects() {
		if now := p.uid(o); now == "" || now != p.was[o] {
			p.t.Errorf("after %s %s is lost: uid %q, was %q", after, o, now, p.was[o])
		}
		if at := devclustertest.Kubectl(p.t, "-n", p.ns, "get", o, "--ignore-not-found", "-o", "jsonpath={.metadata.deletionTimestamp}"); at != "" {
			p.t.Errorf("after %s %s is being deleted since %s", after, o, at)
		}
	}
}

func (p *precious) password() string {
	return devclustertest.Kubectl(p.t, "-n", p.ns, "get", "secret/db", "-o", "jsonpath={.data.password}")
}

func TestDataIsNotLostInAnyWayThatASyncOrARemovalCanGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := client(t)
	ns := "precious-" + fmt.Sprint(time.Now().UnixNano())
	p := &precious{env: w.envIn(t, ns), group: "g" + fmt.Sprint(time.Now().UnixNano()), was: map[string]types.UID{}}
	t.Cleanup(func() {
		err := c.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	defineDatabase(t, p.group)
	p.policy = &driftv1.SyncPolicy{MaxPrunePercent: 100} // the guard is another protection
	p.deploy(p.everything())
	eventually(t, func() string {
		for _, o := range p.objects() {
			if p.was[o] = p.uid(o); p.was[o] == "" {
				return o + " is not there yet"
			}
		}
		return ""
	})
	password := p.password()

	// Prune: no manifest of it is left in Git.
	p.deploy(config)
	p.safe("a prune")
	// Again: nothing remembers it any more, so nothing may take it for left over.
	p.deploy(config + configMap("other", "x"))
	p.safe("a second prune")
	if fs := p.findings(); len(fs) > 0 {
		t.Errorf("what is kept on purpose is told as drift: %v", fs)
	}
	// Rollback: the earlier tree comes back and finds its data and its password.
	p.deploy(p.everything())
	p.safe("a rollback to it")
	p.deploy(config)
	p.safe("a rollback from it")
	if now := p.password(); now != password {
		t.Error("the password of a database that kept its data is another one")
	}
	// Rename: the workload gets another name, and the old one goes.
	p.deploy(strings.NewReplacer("name: db", "name: db2", "app: db", "app: db2", "serviceName: db", "serviceName: db2").Replace(p.everything()))
	p.safe("a rename")
	// A revert of orphans, by name and of all there are.
	p.deploy(config)
	p.revert()
	p.safe("a revert")
	// The inventory is lost, or somebody wrote into it.
	p.deploy(p.everything())
	devclustertest.Kubectl(t, "-n", ns, "patch", "configmap", "towpath-inventory", "--type=merge", "-p", `{"data":{"objects":"broken"}}`)
	p.deploy(config)
	p.safe("a broken inventory")
	devclustertest.Kubectl(t, "-n", ns, "delete", "configmap", "towpath-inventory")
	p.deploy(p.everything())
	p.safe("a lost inventory")
	// The process ends in the middle of a prune and of a removal, at whatever step it is.
	for i := range 4 {
		p.want(config)
		time.Sleep(time.Duration(i*15) * time.Millisecond)
		w.stop()
		w.start()
		p.awaitSynced()
		p.safe("a prune that was cut off")
		p.deploy(p.everything())
	}
	for i := range 3 {
		p.remove()
		time.Sleep(time.Duration(i*40) * time.Millisecond)
		w.stop()
		w.start()
	}
	done := await(p.env, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == p.generation })
	p.safe("the removal of the environment")
	for _, want := range []string{"PersistentVolumeClaim data", "PersistentVolumeClaim files-db-0", "Secret db", "Database orders"} {
		if !slices.ContainsFunc(done.GetRetained(), func(s string) bool { return strings.HasPrefix(s, want+" ") }) {
			t.Errorf("the removal does not name %s: %v", want, done.GetRetained())
		}
	}
	// Another environment of the same name finds its data again.
	p.deploy(p.everything())
	p.safe("a new environment in its place")
	if now := p.password(); now != password {
		t.Error("the password of a database that kept its data is another one")
	}
}

func defineDatabase(t *testing.T, group string) {
	t.Helper()
	name := "databases." + group + ".example.com"
	applyCluster(t, fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec:
  group: %s.example.com
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`, name, group)) // its objects go with it at the end of the test
	t.Cleanup(func() { devclustertest.Kubectl(t, "delete", "crd", name, "--wait=false") })
	devclustertest.Kubectl(t, "wait", "--for=condition=Established", "crd/"+name, "--timeout=60s")
}

// applyCluster applies manifests that belong to no namespace.
func applyCluster(t *testing.T, manifests string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	devclustertest.Kubectl(t, "apply", "-f", file)
}

func TestDataGoesWhenItsDefinitionSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := client(t)
	e := w.envIn(t, "letgo-"+fmt.Sprint(time.Now().UnixNano()))
	lets := strings.Replace(database, "- metadata: {name: files}", "- metadata: {name: files, annotations: {towpath.dev/on-removal: delete}}", 1)
	e.deploy(config + claim("scratch", "towpath.dev/on-removal: delete") + lets)
	eventually(t, func() string {
		if _, err := c.CoreV1().PersistentVolumeClaims(e.ns).Get(t.Context(), "files-db-0", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	e.remove()
	done := await(e, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == e.generation })
	if len(done.GetRetained()) > 0 {
		t.Errorf("kept %v", done.GetRetained())
	}
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), e.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace: %v", err)
	}
}
