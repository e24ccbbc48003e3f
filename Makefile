# Everything that people and CI do is a target here. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/bin:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The race detector needs a C compiler; without one the tests run all the same, and say so.
HAVE_CC := $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && echo yes)
RACE    := $(if $(HAVE_CC),-race)
GOSRC   := $(shell git ls-files --cached --others --exclude-standard '*.go' go.mod go.sum internal services cmd gen 2>/dev/null)

include devcluster/build.mk

##@ Use it
run: build bin/devcluster bin/kubectl ## Start a cluster, Towpath and the example; Ctrl-C stops, a second run continues
	@scripts/run.sh

smoke: build bin/devcluster bin/kubectl ## Walk the whole journey without a person, on a fresh state
	@go run ./scripts/smoke

build: bin/towpathd bin/tow ## Build the server and the CLI into bin/

bin/towpathd: $(GOSRC)
	@echo "building towpathd (the first time compiles the Kubernetes client: 1 to 3 minutes on 2 cores)"
	@go build -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/towpathd

bin/tow: $(GOSRC)
	@go build -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/tow

# A real etcd server, for the tests of the store. A module of its own: the server needs other versions than the client that ships.
bin/etcd: tools/etcd/go.mod tools/etcd/go.sum
	@echo "building etcd (the first time takes a minute)"
	@GOWORK=off go -C tools/etcd build -o ../../bin/etcd go.etcd.io/etcd/server/v3

# A real Gitea, for the tests of pull requests and webhooks: a module of its own with the replacements that Gitea's module has. It
# needs a C compiler, for SQLite, which is not optimised here: that would take longer than all tests win by it.
bin/gitea: tools/gitea/go.mod tools/gitea/go.sum
	@echo "building Gitea (the first time takes 4 minutes on 2 cores)"
	@CGO_CFLAGS=-O0 GOWORK=off go -C tools/gitea build -tags 'sqlite sqlite_unlock_notify' -ldflags '-s -w' -o ../../bin/gitea code.gitea.io/gitea

# The controllers of the engines that Towpath works with, for the end-to-end tests of them: modules of their own, each with the
# replacements that its controller's module has.
bin/argocd: tools/argocd/go.mod tools/argocd/go.sum tools/argocd/main.go
	@echo "building Argo CD's controllers (the first time takes 5 minutes on 2 cores)"
	@GOWORK=off go -C tools/argocd build -ldflags '-s -w' -o ../../bin/argocd .

bin/kustomize-controller: tools/flux/go.mod tools/flux/go.sum
	@echo "building Flux's kustomize-controller (the first time takes 3 minutes on 2 cores)"
	@GOWORK=off go -C tools/flux build -ldflags '-s -w' -o ../../bin/kustomize-controller github.com/fluxcd/kustomize-controller

# axe-core looks at every page of the portal in the tests. A new version is a new version here, with the integrity that
# `npm view axe-core@VERSION dist.integrity` tells.
AXE_VERSION   := 4.14.1
AXE_INTEGRITY := sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
AXE           := .build/axe-core/axe-$(AXE_VERSION).min.js

axe: $(AXE) ## Fetch what looks at the portal's accessibility in its tests
$(AXE): scripts/axe.sh
	@scripts/axe.sh $(AXE_VERSION) $(AXE_INTEGRITY) $@

##@ Prove it
test: build bin/devcluster bin/kubectl bin/etcd bin/gitea $(AXE) ## Run all tests, with the race detector where there is a C compiler
	@scripts/test.sh "$(RACE)"

e2e-argocd: bin/argocd bin/devcluster bin/kubectl ## A person's journey with the real Argo CD: deploy, drift, sync, rollback, delete
	@TOWPATH_ARGOCD=$(CURDIR)/bin/argocd TOWPATH_ARGOCD_CRDS=$$(GOWORK=off go -C tools/argocd list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)/manifests/crds \
	go test -tags engines -count=1 -timeout 20m -run TestArgoCD ./internal/cli/e2e/engines

e2e-flux: bin/kustomize-controller bin/devcluster bin/kubectl ## The same journey with the real Flux
	@TOWPATH_FLUX=$(CURDIR)/bin/kustomize-controller TOWPATH_FLUX_CRDS=$$(GOWORK=off go -C tools/flux list -m -f '{{.Dir}}' github.com/fluxcd/kustomize-controller)/config/crd/bases \
	go test -tags engines -count=1 -timeout 20m -run TestFlux ./internal/cli/e2e/engines

chaos-git: ## The long form of the committer's chaos test: kills, faults and foreign writers; TOWPATH_CHAOS_SEED=... repeats a run
	TOWPATH_CHAOS=long go test $(RACE) -count=1 -timeout 60m -run 'TestChaos|TestManyEntries|TestTreesThatOthers' ./services/committer

check: tools check-proto check-generated check-openapi check-modules check-docs ## Lint, and see that generated code and docs are fresh
	bin/golangci-lint run ./...
	@echo "check: all good"

check-proto: bin/buf .build/proto
	bin/buf lint
	bin/buf format --diff --exit-code proto

check-generated: ## Generated code is what the protos say
	@scripts/fresh.sh "make proto" gen $(MAKE) proto

check-openapi: ## What the renderer knows of Kubernetes' kinds is what the pinned Kubernetes has
	@scripts/fresh.sh "make openapi" services/renderer/schema $(MAKE) openapi

check-docs: build ## Generated docs are what the code says
	@scripts/fresh.sh "make docs" docs $(MAKE) docs

check-modules: ## What is tested is what ships: no workspace, tidy modules
	GOWORK=off go build ./...
	GOWORK=off go mod tidy -diff
	GOWORK=off go -C gen mod tidy -diff
	GOWORK=off go -C tools mod tidy -diff
	GOWORK=off go -C tools/etcd mod tidy -diff
	GOWORK=off go -C tools/gitea mod tidy -diff
	GOWORK=off go -C devcluster mod tidy -diff
	GOWORK=off go -C bench/peers mod tidy -diff

chaos-drift: bin/devcluster bin/kubectl ## The long form of drift's chaos tests: API server and drift killed, expired watches, clocks that jump
	TOWPATH_CHAOS=long go test $(RACE) -count=1 -timeout 60m -run 'TestChaos' ./services/drift

##@ Measure it
bench: bench-deploy bench-env bench-catalog bench-render bench-git bench-drift bench-portal docs-bench ## Run all benchmarks into bench/results.json and docs/benchmarks.md

bench-%: build ## Run the benchmarks of one area: deploy, env, catalog, render, git, drift, portal
	go run ./bench $*

bench-deploy bench-drift: bin/devcluster bin/kubectl

bench-catalog: bin/etcd

##@ Change it
proto: tools .build/proto ## Generate Go, gateway and OpenAPI from proto/
	bin/buf generate

openapi: ## Generate what the renderer knows of Kubernetes' kinds, from the OpenAPI documents of the Kubernetes in devcluster's go.mod
	@folder=$$(GOWORK=off go -C devcluster list -m -f '{{.Dir}}' k8s.io/kubernetes) && version=$$(GOWORK=off go -C devcluster list -m -f '{{.Version}}' k8s.io/kubernetes) && \
	go run ./scripts/openapi "$$folder/api/openapi-spec/v3" "$$version" > services/renderer/schema/kubernetes.txt.new && \
	mv services/renderer/schema/kubernetes.txt.new services/renderer/schema/kubernetes.txt

docs: build ## Generate the CLI and API reference, docs/benchmarks.md and the table of docs/access.md
	@rm -rf docs/cli && bin/tow docs docs/cli
	@go run ./bench docs
	@go run ./scripts/accessdocs docs/access.md

docs-bench:
	@go run ./bench docs

images: $(AXE) ## Take the pictures of docs/images anew, by the same tests that compare them
	UPDATE=1 go test -count=1 -run TestInABrowserThePictures ./internal/portal

fmt: bin/buf ## Format Go and protos
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go' ':!gen')
	bin/buf format -w proto

licenses: ## List the licences of all dependencies that are linked in
	@scripts/licenses.sh

TOOLS := bin/buf bin/golangci-lint bin/protoc-gen-go bin/protoc-gen-go-grpc bin/protoc-gen-grpc-gateway bin/protoc-gen-openapiv2
tools: $(TOOLS) ## Build the pinned tools into bin/

$(TOOLS) &: tools/go.mod tools/go.sum
	@echo "building buf, golangci-lint and the protoc plugins (the first time: 5 to 8 minutes on 2 cores)"
	GOWORK=off go -C tools build -o ../bin/ tool
	@touch $(TOOLS)

.build/proto: tools/go.mod $(wildcard tools/protodeps/*.go)
	GOWORK=off go -C tools run ./protodeps ../.build/proto
	@touch $@

clean: ## Remove what was built and the state of `make run`
	rm -rf bin .build .towpath

help: ## This list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z%-]+:.*##/ {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

.PHONY: run smoke build axe images test e2e-argocd e2e-flux chaos-git chaos-drift check check-proto check-generated check-docs check-modules bench proto docs docs-bench fmt licenses tools clean help
