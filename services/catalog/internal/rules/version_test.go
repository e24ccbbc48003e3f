package rules

import (
	"fmt"
	"testing"
)

func TestVersion(t *testing.T) {
	containers := func(byName m) m {
		out := m{}
		for name, image := range byName {
			out[name] = m{"image": image}
		}
		return m{"containers": out}
	}
	many := m{}
	for i := range 7 {
		many[fmt.Sprintf("w%d", i)] = containers(m{"main": fmt.Sprintf("app:%d", i)})
	}
	for _, tc := range []struct {
		name      string
		workloads m
		want      string
	}{
		{"nothing runs", nil, ""},
		{"one workload", m{"api": containers(m{"main": "registry.example.com:5000/shop/api:1.4.2"})}, "1.4.2"},
		{"several of one version", m{"api": containers(m{"main": "api:7"}), "web": containers(m{"main": "web:7"})}, "7"},
		{"several of several versions", m{"web": containers(m{"main": "web:2"}), "api": containers(m{"main": "api:1"})}, "api 1, web 2"},
		{"the container called main counts", m{"api": containers(m{"a-sidecar": "proxy:9", "main": "api:1"})}, "1"},
		{"else the first by name", m{"api": containers(m{"server": "api:1", "proxy": "proxy:9"})}, "9"},
		{"an image without a tag", m{"api": containers(m{"main": "registry.example.com:5000/api"})}, "latest"},
		{"an image by digest", m{"api": containers(m{"main": "api@sha256:0123456789abcdef0123"})}, "0123456789ab"},
		{"a tag says more than a digest", m{"api": containers(m{"main": "api:1@sha256:0123456789abcdef0123"})}, "1"},
		{"a workload that is no document", m{"api": m{"containers": "x"}}, ""},
		{"many", many, "w0 0, w1 1, w2 2, w3 3, w4 4, and 2 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Version(stateOf(t, tc.workloads, nil)); got != tc.want {
				t.Errorf("version = %q, want %q", got, tc.want)
			}
		})
	}
	s := stateOf(t, m{"api": containers(m{"main": "api:1"})}, nil, setOp("/workloads/api/containers/main/image", "api:own"))
	if got := Version(s); got != "own" {
		t.Errorf("version = %q, want that of the overlay's image", got)
	}
}
