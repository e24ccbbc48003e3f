package catalog_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

func TestASyncPolicyIsCheckedWhereItIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	policy := &driftv1.SyncPolicy{ServiceAccount: "deployer-{team}"}
	_, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "synced", EnvironmentType: &catalogv1.EnvironmentType{SyncPolicy: policy},
	})
	if e := rpc.FromStatus(err); errs.ReasonOf(e) != errorsv1.Reason_REASON_INVALID_FIELD || !strings.Contains(errs.Message(e), "environment_type.sync_policy.service_account") {
		t.Errorf("a placeholder that stands for nothing: %v", err)
	}
	policy.ServiceAccount = "deployer-{application}"
	made, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "synced", EnvironmentType: &catalogv1.EnvironmentType{SyncPolicy: policy},
	})
	if err != nil || made.GetSyncPolicy().GetServiceAccount() != policy.GetServiceAccount() {
		t.Fatalf("made %v, %v", made, err)
	}
	made.SyncPolicy.MaxPrunePercent = 80
	made, err = w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: made, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"sync_policy.max_prune_percent"}},
	})
	if err != nil || made.GetSyncPolicy().GetMaxPrunePercent() != 80 || made.GetSyncPolicy().GetServiceAccount() != policy.GetServiceAccount() {
		t.Errorf("changed to %v, %v", made, err)
	}
}
