# How bin/devcluster is built. Included by the root Makefile; paths are relative to the root.
# The version flags are needed: without them the API server reports a version that kubectl cannot parse, and user agents, which
# the audit log shows, hold an unexpanded placeholder.
# GOWORK=off: a workspace would pick one version of each dependency for the product and for this module together.
# The first build compiles all of Kubernetes (5 to 10 minutes on 2 cores); after an edit it is 10 to 20 seconds.

DEVCLUSTER_K8S     := $(shell awk '$$1 == "k8s.io/kubernetes" { print $$2 }' devcluster/go.mod)
DEVCLUSTER_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(DEVCLUSTER_K8S) \
	-X k8s.io/component-base/version.gitMajor=$(subst v,,$(word 1,$(subst ., ,$(DEVCLUSTER_K8S)))) \
	-X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(DEVCLUSTER_K8S))) \
	-X k8s.io/client-go/pkg/version.gitVersion=$(DEVCLUSTER_K8S) \
	-X k8s.io/client-go/pkg/version.gitCommit=unknown
DEVCLUSTER_SOURCES := $(wildcard devcluster/*.go devcluster/*/*.yaml) devcluster/go.mod devcluster/go.sum devcluster/build.mk

bin/devcluster: $(DEVCLUSTER_SOURCES)
	@scripts/build-devcluster.sh '$(DEVCLUSTER_LDFLAGS)'

bin/kubectl: bin/devcluster
	ln -sf devcluster $@
