package compare

import (
	"testing"
)

func TestABaselineOfAnEarlierVersionIsRead(t *testing.T) {
	data, err := deflate([]byte{firstBaselineFormat}, []byte(`{"d":"abc","t":{"f:spec":{"f:replicas":[1]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var b Baseline
	if err := b.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	if n := b.root.field("spec").field("replicas"); b.DesiredHash != "abc" || n == nil || n.val != int64(1) {
		t.Errorf("read %q, %+v", b.DesiredHash, n)
	}
}
