package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	storageClassName = "standard"
	provisionerName  = "devcluster.towpath.dev/simulated"
	// provisionedBy is what the volume controller expects on a volume that a provisioner made.
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// startStorage gives the cluster a default storage class whose volumes exist in name only, as the nodes do: without it every
// claim, and every workload that waits for one, would stay pending for ever.
func (c *Cluster) startStorage(ctx context.Context) error {
	cfg, err := c.restConfig(c.kubeconfigOf(kwokIdentity), "storage-provisioner")
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	if err := createStorageClass(ctx, cs); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(cs, 0)
	p := &provisioner{cs: cs}
	watch := func(inf cache.SharedIndexInformer, look func(ctx context.Context, obj any) error) error {
		on := func(obj any) {
			if err := look(context.Background(), obj); err != nil {
				klog.ErrorS(err, "simulated storage")
			}
		}
		_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: on, UpdateFunc: func(_, obj any) { on(obj) }})
		return err
	}
	if err := watch(factory.Core().V1().PersistentVolumeClaims().Informer(), p.claim); err != nil {
		return err
	}
	if err := watch(factory.Core().V1().PersistentVolumes().Informer(), p.volume); err != nil {
		return err
	}
	c.spawn("storage", 3*time.Second, func(ctx context.Context) error {
		factory.StartWithContext(ctx)
		<-ctx.Done()
		factory.Shutdown()
		return nil
	})
	return nil
}

func createStorageClass(ctx context.Context, cs kubernetes.Interface) error {
	reclaim, bind := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	_, err := cs.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name: storageClassName, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: provisionerName, ReclaimPolicy: &reclaim, VolumeBindingMode: &bind,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("storage class: %w", err)
	}
	return nil
}

// provisioner makes a volume for each claim of our class, and removes it when its claim is gone.
type provisioner struct{ cs kubernetes.Interface }

func (p *provisioner) claim(ctx context.Context, obj any) error {
	pvc, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || pvc.Spec.VolumeName != "" || pvc.DeletionTimestamp != nil ||
		pvc.Spec.StorageClassName == nil || *pvc.Spec.StorageClassName != storageClassName {
		return nil
	}
	// The claim's uid makes the name, so that a second event makes no second volume.
	_, err := p.cs.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pvc-" + string(pvc.UID), Annotations: map[string]string{provisionedBy: provisionerName},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: pvc.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: "/simulated/" + string(pvc.UID)},
			},
			AccessModes:                   pvc.Spec.AccessModes,
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: pvc.Namespace, Name: pvc.Name, UID: pvc.UID},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              storageClassName,
			VolumeMode:                    pvc.Spec.VolumeMode,
		},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("volume for %s/%s: %w", pvc.Namespace, pvc.Name, err)
	}
	return nil
}

func (p *provisioner) volume(ctx context.Context, obj any) error {
	pv, ok := obj.(*corev1.PersistentVolume)
	if !ok || pv.Annotations[provisionedBy] != provisionerName || pv.DeletionTimestamp != nil ||
		pv.Status.Phase != corev1.VolumeReleased && pv.Status.Phase != corev1.VolumeFailed {
		return nil
	}
	err := p.cs.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %w", pv.Name, err)
	}
	return nil
}
