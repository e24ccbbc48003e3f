package catalog

import (
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// checkSyncPolicy checks how environments of a type are brought to the cluster. What stands already is not checked again: a change of
// something else must not fail because an earlier version took more.
func checkSyncPolicy(old, msg *catalogv1.EnvironmentType) error {
	if proto.Equal(old.GetSyncPolicy(), msg.GetSyncPolicy()) {
		return nil
	}
	return syncpolicy.Check("environment_type.sync_policy", msg.GetSyncPolicy())
}
