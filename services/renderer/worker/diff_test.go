package worker_test

import (
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

func cmpDiff(want, got definition.Result) string { return cmp.Diff(want, got, protocmp.Transform()) }
