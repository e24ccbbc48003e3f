package gateway

import "testing"

func TestWhatAClientSaysItIsReachesTheServices(t *testing.T) {
	for header, want := range map[string]string{
		"X-Towpath-Origin": "x-towpath-origin", "x-towpath-origin": "x-towpath-origin", "X-Anything-Else": "",
	} {
		if got, ok := incoming(header); got != want || ok != (want != "") {
			t.Errorf("%s reaches them as %q", header, got)
		}
	}
}
