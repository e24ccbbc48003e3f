package committer_test

import (
	"fmt"
	"runtime"
	"testing"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// A lane that has nothing to do may cost 20 MB.
func TestIdleLanesAreSmall(t *testing.T) {
	w, host := remote(t)
	const lanes = 20
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	for i := range lanes {
		repo := fmt.Sprint("repo-", i)
		host.Create(repo)
		w.send(w.change(repo, 1, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) {
			cmd.Repository = cloneRef(w.repo)
			cmd.Repository.Url = host.URL(repo)
		}))
	}
	for i := range lanes {
		w.committed(name(fmt.Sprint("repo-", i), 1))
	}
	if n := w.svc.Lanes(); n != lanes {
		t.Fatalf("%d lanes", n)
	}
	each := (int64(heap()) - int64(before)) / lanes
	t.Logf("%d KB for each lane", each>>10)
	if each > 20<<20 {
		t.Errorf("an idle lane has %d bytes", each)
	}
	runtime.KeepAlive(w)
}
