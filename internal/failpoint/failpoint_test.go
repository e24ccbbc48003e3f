package failpoint

import "testing"

func TestAFailpointActsAtItsNthPassingAndOnlyThere(t *testing.T) {
	acts := 0
	hit, err := parse("rendered@2,published@1", func() { acts++ })
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		name string
		acts int
	}{{"rendered", 0}, {"ref_moved", 0}, {"rendered", 1}, {"rendered", 1}, {"published", 2}, {"published", 2}} {
		if hit(want.name); acts != want.acts {
			t.Fatalf("step %d (%s): acted %d times, want %d", i, want.name, acts, want.acts)
		}
	}
}

func TestAWrongFailpointIsRefused(t *testing.T) {
	for _, spec := range []string{"nowhere@1", "rendered", "rendered@0", "rendered@x", "rendered@1,,"} {
		if _, err := parse(spec, func() {}); err == nil {
			t.Errorf("%q was taken", spec)
		}
	}
}

func TestNoFailpointMeansNoFunction(t *testing.T) {
	if hit, err := parse("", func() {}); hit != nil || err != nil {
		t.Fatalf("got a function (%t) and error %v", hit != nil, err)
	}
}
