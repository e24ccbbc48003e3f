package catalog_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// Whatever an update mask says, either the named fields change and no others, or the caller is told what is wrong with it.
func FuzzUpdateMasks(f *testing.F) {
	w := newWorld(f)
	for _, s := range []string{"display_name", "defaults.replicas", "defaults", "name", "etag", "create_time", "", ",", "defaults.labels.a", "display_name.x", "no_such", "approvals.required,freezes"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, mask string) {
		before, err := w.api.GetEnvironmentType(t.Context(), &catalogv1.GetEnvironmentTypeRequest{Name: "environmentTypes/development"})
		must(t, err)
		next := &catalogv1.EnvironmentType{Name: before.GetName(), DisplayName: before.GetDisplayName() + "x"}
		if len(next.DisplayName) > 100 {
			next.DisplayName = "x"
		}
		paths := strings.Split(mask, ",")
		after, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
			EnvironmentType: next, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
		if err != nil {
			if c := status.Code(err); c != codes.InvalidArgument && (c != codes.Internal || !strings.Contains(err.Error(), "UTF-8")) {
				t.Fatalf("mask %q: %v", mask, err)
			}
			return
		}
		if after.GetName() != before.GetName() || !after.GetCreateTime().AsTime().Equal(before.GetCreateTime().AsTime()) || after.GetCreateActor() != before.GetCreateActor() {
			t.Errorf("mask %q changed what nobody may change: %v", mask, after)
		}
		if named := strings.Contains(mask, "display_name"); (after.GetDisplayName() == next.GetDisplayName()) != named {
			t.Errorf("mask %q: the name became %q from %q", mask, after.GetDisplayName(), before.GetDisplayName())
		}
	})
}
