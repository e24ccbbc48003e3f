package drift

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	fastflate "github.com/klauspost/compress/flate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// packed is a declared object in few bytes: deflated JSON. A Secret is sealed with a key of this process instead, so that no value lies
// in memory in clear longer than it is used; it is not deflated, because a compressor keeps what it read last. The zero value is
// no object.
type packed []byte

// packedWords primes the compressor with what nearly every manifest holds; what stands last is found cheapest.
var packedWords = []byte(`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"ingressClassName":"nginx","rules":[{"host":"","http":{"paths":[{"backend":{"service":{"name":"","port":{"name":"http"}}},"path":"/","pathType":"Prefix"}]}}],"tls":[{"hosts":[],"secretName":""}]}}` +
	`{"apiVersion":"batch/v1","kind":"CronJob","spec":{"concurrencyPolicy":"Forbid","schedule":"0 0 * * *","jobTemplate":{"spec":{"backoffLimit":3,"template":{"spec":{"restartPolicy":"OnFailure"}}}}}}` +
	`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"maxReplicas":10,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}],"minReplicas":2,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":""}}}` +
	`{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"10Gi"}},"storageClassName":""}}` +
	`{"apiVersion":"v1","kind":"ServiceAccount","automountServiceAccountToken":false}{"apiVersion":"v1","kind":"Secret","stringData":{},"type":"Opaque"}` +
	`{"apiVersion":"v1","data":{},"kind":"ConfigMap","metadata":{"annotations":{},"labels":{"app.kubernetes.io/managed-by":"towpath"},"name":"","namespace":""}}` +
	`{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":8080}],"selector":{"app.kubernetes.io/instance":"","app.kubernetes.io/name":""},"type":"ClusterIP"}}` +
	`{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"serviceName":"","volumeClaimTemplates":[{"metadata":{"name":"data"}}]}}` +
	`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"annotations":{},"labels":{"app.kubernetes.io/component":"","app.kubernetes.io/instance":"","app.kubernetes.io/managed-by":"towpath","app.kubernetes.io/name":"","app.kubernetes.io/part-of":"","app.kubernetes.io/version":"","towpath.dev/"},"name":"","namespace":""},` +
	`"spec":{"replicas":1,"selector":{"matchLabels":{"app.kubernetes.io/instance":"","app.kubernetes.io/name":""}},"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0},"type":"RollingUpdate"},"template":{"metadata":{"annotations":{},"labels":{"app":"","app.kubernetes.io/name":""}},` +
	`"spec":{"automountServiceAccountToken":false,"containers":[{"args":[],"command":["/bin/sh","-c"],"env":[{"name":"","value":""},{"name":"","valueFrom":{"configMapKeyRef":{"key":"","name":""}}},{"name":"","valueFrom":{"secretKeyRef":{"key":"password","name":""}}}],"image":"registry.example.com/","imagePullPolicy":"IfNotPresent",` +
	`"livenessProbe":{"failureThreshold":3,"httpGet":{"path":"/healthz","port":"http"},"initialDelaySeconds":5,"periodSeconds":10,"timeoutSeconds":1},"name":"main","ports":[{"containerPort":8080,"name":"http","protocol":"TCP"}],"readinessProbe":{"httpGet":{"path":"/readyz","port":8080}},` +
	`"resources":{"limits":{"cpu":"500m","memory":"512Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":true,"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},` +
	`"volumeMounts":[{"mountPath":"/etc/config","name":"config","readOnly":true,"subPath":""}]}],"serviceAccountName":"","terminationGracePeriodSeconds":30,"volumes":[{"configMap":{"name":""},"name":"config"},{"emptyDir":{},"name":"tmp"},{"name":"secret","secret":{"secretName":""}}]}}}}`)

var (
	// packers are kept because one takes more than half a megabyte, unpackers because one takes 40 KB.
	packers = sync.Pool{New: func() any {
		z, err := flate.NewWriterDict(io.Discard, flate.DefaultCompression, packedWords)
		if err != nil {
			panic(err) // only a level that does not exist is refused
		}
		return z
	}}
	unpackers = sync.Pool{New: func() any {
		return &unpacker{dec: wire.NewDecoder(), z: fastflate.NewReaderDict(bytes.NewReader(nil), packedWords)}
	}}
	// sealer seals Secrets. Its key is this process's own: what is packed is never stored.
	sealer = sync.OnceValue(newSealer)
)

// unpacker reads one object at a time.
type unpacker struct {
	dec *wire.Decoder
	in  bytes.Reader
	z   io.ReadCloser
	out bytes.Buffer
}

func newSealer() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only a key of a wrong length is refused
	}
	s, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only a cipher that is not AES is refused
	}
	return s
}

// What a packed object begins with.
const (
	packedOpen   = 1
	packedSealed = 2
)

// pack makes an object small. An object that was read from JSON or YAML can always be packed.
func pack(u *unstructured.Unstructured) packed {
	text, err := json.Marshal(u.Object)
	if err != nil {
		panic(fmt.Sprintf("%s %s is no JSON: %v", u.GetKind(), u.GetName(), err))
	}
	if u.GetKind() == "Secret" {
		defer clear(text)
		return bytes.Clone(sealer().Seal([]byte{packedSealed}, nil, text, nil))
	}
	var out bytes.Buffer
	out.Grow(len(text)/3 + 64)
	out.WriteByte(packedOpen)
	z := packers.Get().(*flate.Writer)
	defer packers.Put(z)
	z.Reset(&out) // keeps the dictionary
	if _, err = z.Write(text); err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return bytes.Clone(out.Bytes())
}

// unpack gives the object, the caller's to change. What pack made can always be unpacked.
func (p packed) unpack() *unstructured.Unstructured {
	if len(p) == 0 {
		return nil
	}
	return p.unpackWith(nil)
}

// unpackWith gives the object as a decoder makes it, which may only lend it; one of our own for nil.
func (p packed) unpackWith(dec *wire.Decoder) *unstructured.Unstructured {
	r := unpackers.Get().(*unpacker)
	defer unpackers.Put(r)
	if dec == nil {
		dec = r.dec
	}
	text, err := r.text(p)
	if err != nil {
		panic("a declared object in memory was damaged: " + err.Error())
	}
	o, err := dec.Decode(text)
	if err != nil {
		panic("a declared object in memory was damaged: " + err.Error())
	}
	if p[0] == packedSealed {
		clear(text)
	}
	return &unstructured.Unstructured{Object: o}
}

// text gives the JSON, valid until the next call.
func (r *unpacker) text(p packed) ([]byte, error) {
	if p[0] == packedSealed {
		return sealer().Open(nil, nil, p[1:], nil)
	}
	r.in.Reset(p[1:])
	r.out.Reset()
	if err := r.z.(fastflate.Resetter).Reset(&r.in, packedWords); err != nil {
		return nil, err
	}
	_, err := r.out.ReadFrom(r.z)
	return r.out.Bytes(), err
}
