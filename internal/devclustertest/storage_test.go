package devclustertest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func TestAClaimIsBoundAndItsVolumeGoesWithIt(t *testing.T) {
	ns, cs := devclustertest.Namespace(t), clientFor(t, devclustertest.Config(t))
	claims := cs.CoreV1().PersistentVolumeClaims(ns)
	_, err := claims.Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume := ""
	eventually(t, func() string {
		c, err := claims.Get(t.Context(), "data", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		volume = c.Spec.VolumeName
		if c.Status.Phase != corev1.ClaimBound {
			return "the claim is " + string(c.Status.Phase)
		}
		return ""
	})
	if err := claims.Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if _, err := cs.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{}); err == nil {
			return "the volume is still there"
		}
		return ""
	})
}
