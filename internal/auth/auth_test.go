package auth_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// eachMethod calls f for every RPC of Towpath's protos.
func eachMethod(t *testing.T, f func(full, name string)) {
	t.Helper()
	n := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "towpath.") {
			return true
		}
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				n++
				f("/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()), string(s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	if n < 30 {
		t.Fatalf("only %d methods were found; the protos are not linked in", n)
	}
}

func TestEveryMethodHasAnAccessRule(t *testing.T) {
	eachMethod(t, func(full, _ string) {
		if _, ok := auth.MethodRole(full); !ok {
			t.Errorf("%s has no rule: add it to methods", full)
		}
	})
}

func TestAViewerCanReadAndNothingElse(t *testing.T) {
	viewer := auth.Caller{Subject: "tokens/eve", Role: auth.Viewer}
	eachMethod(t, func(full, name string) {
		reads := false
		for _, p := range []string{"Get", "List", "Watch", "Plan", "WhoAmI", "Load", "Render", "Check", "Explain", "Find", "Diff"} {
			reads = reads || strings.HasPrefix(name, p)
		}
		for _, p := range []string{"Token", "RoleBinding", "Polic", "AuditEvent"} {
			if strings.Contains(name, p) {
				reads = false // who may do what, and who did, is for admins
			}
		}
		if err := auth.Authorise(viewer, full); (err == nil) != reads {
			t.Errorf("%s: a viewer got %v", full, err)
		}
	})
}

func TestOnlyAdminsMakeTokensTargetsTypesAndRepositories(t *testing.T) {
	dev := auth.Caller{Subject: "tokens/dev", Role: auth.Developer}
	for _, m := range []string{"AccessService/CreateToken", "CatalogService/CreateTarget", "CatalogService/UpdateEnvironmentType", "CatalogService/DeleteRepository"} {
		if err := auth.Authorise(dev, "/towpath.catalog.v1."+m); !errs.Is(err, errs.Denied) {
			t.Errorf("%s: a developer got %v, want denied", m, err)
		}
	}
}

func TestAnUnknownMethodIsRefusedEvenToAdmins(t *testing.T) {
	err := auth.Authorise(auth.Caller{Role: auth.Admin}, "/towpath.catalog.v1.CatalogService/Forgotten")
	if !errs.Is(err, errs.Denied) {
		t.Fatalf("got %v, want denied", err)
	}
}
