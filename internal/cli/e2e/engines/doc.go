// Package engines runs tow as a process against all of Towpath, a real cluster and the real controllers of Argo CD and Flux, which
// `make e2e-argocd` and `make e2e-flux` build out of modules of their own. Nothing of it is part of `make test`: building the two takes
// minutes. What they do is tested there too, with stand-ins (services/drift/argocd_test.go, flux_test.go).
package engines
