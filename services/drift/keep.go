package drift

import (
	"context"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/towpath-dev/towpath/internal/secrets"
	"github.com/towpath-dev/towpath/internal/syncmark"
)

var claims = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}

// dataKinds are kinds whose objects hold data, or whose removal takes data along: of the cluster itself, and of operators of databases,
// queues and buckets. Without a word of their definition they are kept. Volume claims that StatefulSets make are none of these: nobody
// declares them, so nobody removes them, see awaitClaims.
var dataKinds = map[string]bool{
	"PersistentVolumeClaim": true, "PersistentVolume": true,
	"Namespace": true, "CustomResourceDefinition.apiextensions.k8s.io": true, // everything in it, or of it, goes along
	"VolumeSnapshot.snapshot.storage.k8s.io": true, "VolumeSnapshotContent.snapshot.storage.k8s.io": true,
	"VolumeGroupSnapshot.groupsnapshot.storage.k8s.io": true,
	"Cluster.postgresql.cnpg.io":                       true, "Database.postgresql.cnpg.io": true, "Backup.postgresql.cnpg.io": true,
	"postgresql.acid.zalan.do": true, "PostgresCluster.postgres-operator.crunchydata.com": true, "PerconaPGCluster.pgv2.percona.com": true,
	"InnoDBCluster.mysql.oracle.com": true, "PerconaXtraDBCluster.pxc.percona.com": true, "MariaDB.k8s.mariadb.com": true,
	"VitessCluster.planetscale.com": true, "MongoDBCommunity.mongodbcommunity.mongodb.com": true, "PerconaServerMongoDB.psmdb.percona.com": true,
	"RedisFailover.databases.spotahome.com": true, "Redis.redis.redis.opstreelabs.in": true, "RedisCluster.redis.redis.opstreelabs.in": true,
	"Elasticsearch.elasticsearch.k8s.elastic.co": true, "OpenSearchCluster.opensearch.opster.io": true,
	"CassandraDatacenter.cassandra.datastax.com": true, "K8ssandraCluster.k8ssandra.io": true, "ScyllaCluster.scylla.scylladb.com": true,
	"ClickHouseInstallation.clickhouse.altinity.com": true, "CrdbCluster.crdb.cockroachlabs.com": true, "TidbCluster.pingcap.com": true,
	"Kafka.kafka.strimzi.io": true, "KafkaTopic.kafka.strimzi.io": true, "RabbitmqCluster.rabbitmq.com": true,
	"Tenant.minio.min.io": true, "ObjectBucketClaim.objectbucket.io": true, "BucketClaim.objectstorage.k8s.io": true,
	"CephCluster.ceph.rook.io": true, "CephObjectStoreUser.ceph.rook.io": true, "EtcdCluster.etcd.database.coreos.com": true,
}

// holdsData reports whether the object's content must outlive its manifest.
func holdsData(k objectKey) bool {
	name := k.kind
	if k.group != "" {
		name += "." + k.group
	}
	return dataKinds[name]
}

// keeps reports whether an object outlives its manifest and its environment, because it holds data or its definition says so.
func keeps(u *unstructured.Unstructured) bool {
	switch syncmark.ReadRemoval(u.GetAnnotations()) {
	case syncmark.Delete:
		return false
	case syncmark.Keep:
		return true
	case syncmark.Snapshot:
		return keyOf(u).kind != "PersistentVolumeClaim"
	}
	return holdsData(keyOf(u))
}

// outlives gives why an object stays when it is no longer declared or its environment goes, "" when it does not.
func (e *environment) outlives(ctx context.Context, c *cluster, u *unstructured.Unstructured) (string, error) {
	switch {
	case keeps(u):
		return "it holds data, or its annotation " + syncmark.OnRemoval + " says so", nil
	case wantsSnapshot(u) && !c.snapshots():
		return "its annotation asks for a snapshot, and the cluster knows no VolumeSnapshot", nil
	case isGenerated(u) && syncmark.ReadRemoval(u.GetAnnotations()) != syncmark.Delete:
		return e.dataOf(ctx, c, u)
	}
	return "", nil
}

func isGenerated(u *unstructured.Unstructured) bool {
	return u.GetKind() == "Secret" && u.GetAPIVersion() == "v1" && u.GetAnnotations()[secrets.GenerateAnnotation] != ""
}

// dataOf gives the claim that a generated Secret is the key of, "" for none: without the password that was made for it, what is on the
// volume is lost though the volume is kept. They belong together by their names, as those of one resource do; the StatefulSet that reads
// the Secret may be gone already.
func (e *environment) dataOf(ctx context.Context, c *cluster, secret *unstructured.Unstructured) (string, error) {
	list, err := c.dyn.Resource(claims).Namespace(secret.GetNamespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", clusterError(err, "list the claims of namespace "+secret.GetNamespace())
	}
	for i := range list.Items {
		u := &list.Items[i]
		_, number, ok := strings.Cut(u.GetName(), "-"+secret.GetName()+"-")
		ofSet := ok && ordinal.MatchString(number)
		if (ofSet || u.GetName() == secret.GetName()) && u.GetDeletionTimestamp() == nil && !goesWith(u, "StatefulSet") &&
			syncmark.ReadRemoval(u.GetAnnotations()) != syncmark.Delete {
			return "the data of PersistentVolumeClaim " + u.GetName() + " cannot be read without it", nil
		}
	}
	return "", nil
}

// goesWith reports whether an object is removed by the cluster together with its owner of a kind.
func goesWith(u *unstructured.Unstructured, kind string) bool {
	return slices.ContainsFunc(u.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.Kind == kind })
}

// awaitClaims waits for the claims that go with their StatefulSet, and gives what is kept: in a namespace that is ours every
// claim, in another one what the environment has made.
func (e *environment) awaitClaims(ctx context.Context, c *cluster, namespace string, ours bool, items []inventoryItem, w *holdup) ([]string, error) {
	kept, err := e.keptItems(ctx, c, items)
	if err != nil {
		return nil, err
	}
	for {
		list, err := c.dyn.Resource(claims).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, clusterError(err, "list the claims of namespace "+namespace)
		}
		stay, going := slices.Clone(kept), []string(nil)
		for i := range list.Items {
			u := &list.Items[i]
			switch {
			case u.GetDeletionTimestamp() == nil && !ownedBy(u, items) && (ours || madeBy(u, items)) && !declaredBy(u, items) && lets(u) && (!wantsSnapshot(u) || c.snapshots()):
				// Made from a template of a StatefulSet, which says that it may go.
				if err := e.removeClaim(ctx, c, u); err != nil {
					return nil, err
				}
				going = append(going, whyThere(u))
			case u.GetDeletionTimestamp() != nil, ownedBy(u, items):
				if ours || madeBy(u, items) {
					going = append(going, whyThere(u))
				}
			case ours, madeBy(u, items):
				stay = append(stay, told(u))
			}
		}
		if len(going) == 0 {
			snaps, err := e.snapshotsOf(ctx, c, namespace)
			if err != nil {
				return nil, err
			}
			stay = append(stay, snaps...)
			slices.Sort(stay)
			return slices.Compact(stay), nil
		}
		if err := w.wait(ctx, going); err != nil {
			return nil, err
		}
	}
}

// keptItems gives the objects of the inventory that stay.
func (e *environment) keptItems(ctx context.Context, c *cluster, items []inventoryItem) ([]string, error) {
	var out []string
	for _, it := range items {
		live, err := e.readItem(ctx, c, it)
		if err != nil {
			return nil, err
		}
		if live == nil || !e.made(live) {
			continue
		}
		why, err := e.outlives(ctx, c, live)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out = append(out, told(live))
		}
	}
	return slices.Clip(out), nil
}

// ownedBy reports whether a claim goes when an object of the inventory goes: a StatefulSet can be told to take its claims along.
func ownedBy(u *unstructured.Unstructured, items []inventoryItem) bool {
	return slices.ContainsFunc(u.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return slices.ContainsFunc(items, func(it inventoryItem) bool { return it.Kind == r.Kind && it.Name == r.Name })
	})
}

var ordinal = regexp.MustCompile(`^[0-9]+$`)

// madeBy reports whether a claim is of the environment: declared by it, or made from a template of one of its StatefulSets,
// which are named {template}-{set}-{ordinal}.
func madeBy(u *unstructured.Unstructured, items []inventoryItem) bool {
	return slices.ContainsFunc(items, func(it inventoryItem) bool {
		if it.key() == keyOf(u) {
			return true
		}
		_, number, ok := strings.Cut(u.GetName(), "-"+it.Name+"-")
		return it.Kind == "StatefulSet" && ok && ordinal.MatchString(number)
	})
}

// declaredBy reports whether a claim is an object of the inventory itself.
func declaredBy(u *unstructured.Unstructured, items []inventoryItem) bool {
	return slices.ContainsFunc(items, func(it inventoryItem) bool { return it.key() == keyOf(u) })
}

// lets reports whether a claim itself says that it goes.
func lets(u *unstructured.Unstructured) bool {
	r := syncmark.ReadRemoval(u.GetAnnotations())
	return r == syncmark.Delete || r == syncmark.Snapshot
}

// removeClaim removes a claim that was made from a template, after its snapshot when it asks for one. One that cannot have it stays.
func (e *environment) removeClaim(ctx context.Context, c *cluster, u *unstructured.Unstructured) error {
	if err := e.snapshot(ctx, c, u); err != nil {
		return err
	}
	uid := u.GetUID()
	err := c.dyn.Resource(claims).Namespace(u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return clusterError(err, "remove PersistentVolumeClaim "+u.GetName())
	}
	return nil
}

// told names an object for people.
func told(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetName() + " in namespace " + u.GetNamespace()
}
