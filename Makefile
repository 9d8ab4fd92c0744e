# Everything that one can do here. Only Go, make and git are needed: the tools
# and the control plane of the tests are built from their Go modules.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

GO ?= go
BIN := $(CURDIR)/bin
# A folder of prebuilt etcd and kube-apiserver can be given, as for envtest.
ASSETS := $(abspath $(or $(KUBEBUILDER_ASSETS),$(BIN)/assets))
# The race detector needs a C compiler; without one the tests run without it.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),$(if $(shell command -v $$($(GO) env CC)),-race))
# How long each fuzz target runs.
FUZZTIME ?= 5s
FUZZ := ./pkg/token:FuzzParseUnverified ./pkg/identity:FuzzFromAnnotations ./pkg/identity:FuzzParseMapping \
	./pkg/identity/lint:FuzzAccount ./pkg/identity/containercredentials:FuzzParse ./pkg/rolepolicy:FuzzEvaluate \
	./pkg/webhook:FuzzMutate ./pkg/webhook:FuzzServiceAccount ./pkg/webhook:FuzzCountItems \
	./certs:FuzzSecret ./certs:FuzzClientCA
FUZZ_TEST := ./inject:FuzzPod ./inject:FuzzAnnotations
# Benchmark runs; benchstat wants 6 or more.
COUNT ?= 1

SOURCES := $(shell find cmd pkg certs -name '*.go' -not -name '*_test.go') go.mod go.sum

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN)/pod-identity-webhook ## build the webhook into bin/

.PHONY: demo
demo: build assets $(BIN)/demo ## see a pod get its identity on a real API server, start to end
	@$(BIN)/demo -assets=$(ASSETS)

.PHONY: up
up: build assets $(BIN)/demo ## the same, and stay up until Ctrl-C
	@$(BIN)/demo -assets=$(ASSETS) -up

.PHONY: test
test: unit fuzz e2e ## all tests, those against the real control plane included

.PHONY: unit
unit: ## tests that need no control plane
	$(GO) test $(RACE) ./...
	cd test && $(GO) test $(RACE) ./inject/... ./process/...

.PHONY: e2e
e2e: build $(BIN)/e2e/pod-identity-webhook assets ## tests against the real control plane
	cd test && WEBHOOK=$(BIN)/e2e/pod-identity-webhook KUBEBUILDER_ASSETS=$(ASSETS) \
		$(GO) test $(RACE) -count=1 -timeout=30m -p=1 ./controlplane/... ./manifest/... ./localwebhook/... ./demo/... ./e2e/...
	cd test && WEBHOOK=$(BIN)/pod-identity-webhook KUBEBUILDER_ASSETS=$(ASSETS) $(GO) test -count=1 -timeout=10m ./denial/...

.PHONY: fuzz
fuzz: ## fuzz all that reads foreign bytes; FUZZTIME=10m for long
	@set -e; for target in $(FUZZ); do $(call fuzz-one,.); done
	@set -e; for target in $(FUZZ_TEST); do $(call fuzz-one,test); done

# Inputs are not minimised for long: what the runtime does in the background
# looks like new coverage, and minimising it would take the time for fuzzing.
fuzz-one = (set -x; cd $(1) && $(GO) test $${target%%:*} -run='^$$' -fuzz="^$${target\#\#*:}$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=100x)

.PHONY: bench
bench: ## measure a whole admission, for benchstat; COUNT=6 to compare
	$(GO) test ./pkg/webhook -run='^$$' -bench=. -count=$(COUNT)

.PHONY: docs
docs: ## write the reference of flags and annotations
	$(GO) test ./cmd/pod-identity-webhook -run=TestTheReferenceIsCurrent -update

.PHONY: lint
lint: $(BIN)/golangci-lint ## find faults without running anything
	$(BIN)/golangci-lint config verify
	$(BIN)/golangci-lint run ./...
	cd test && $(BIN)/golangci-lint run --config=../.golangci.yml ./...
	$(GO) mod tidy -diff
	cd test && $(GO) mod tidy -diff
	cd test/assets && $(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd tools/helm && $(GO) mod tidy -diff

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)

.PHONY: assets
assets: $(ASSETS)/etcd $(ASSETS)/kube-apiserver $(ASSETS)/kubectl

$(BIN)/assets/%: test/assets/go.mod test/assets/go.sum
	@echo "building $(@F) from its Go module: minutes the first time, seconds from then on"
	cd test/assets && $(GO) build -o $@ \
		-ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes)" $(PACKAGE)

$(BIN)/assets/etcd: PACKAGE := go.etcd.io/etcd/server/v3
$(BIN)/assets/kube-apiserver: PACKAGE := k8s.io/kubernetes/cmd/kube-apiserver
$(BIN)/assets/kubectl: PACKAGE := k8s.io/kubernetes/cmd/kubectl

$(BIN)/pod-identity-webhook: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $@ ./cmd/pod-identity-webhook

$(BIN)/e2e/pod-identity-webhook: $(SOURCES)
	$(GO) build $(RACE) -o $@ ./cmd/pod-identity-webhook

# It finds the repository from the place of its source, and is cheap to link.
.PHONY: $(BIN)/demo
$(BIN)/demo:
	@cd test && $(GO) build -o $@ ./demo

$(BIN)/golangci-lint: tools/go.mod tools/go.sum
	@echo "building golangci-lint from its Go module: minutes the first time"
	cd tools && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/helm: tools/helm/go.mod tools/helm/go.sum
	@echo "building helm from its Go module: minutes the first time"
	cd tools/helm && $(GO) build -o $@ helm.sh/helm/v4/cmd/helm
