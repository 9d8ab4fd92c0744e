# All development tasks; `make help` lists them. They need only Go, make and git: the
# tools and the control plane of the tests are built from their Go modules.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

GO ?= go
BIN := $(CURDIR)/bin
# KUBEBUILDER_ASSETS can be a directory with prebuilt etcd and kube-apiserver, as for envtest.
ASSETS := $(abspath $(or $(KUBEBUILDER_ASSETS),$(BIN)/assets))
# The race detector needs a C compiler. Without one, the tests run without the race detector.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),$(if $(shell command -v $$($(GO) env CC)),-race))
# Length of each fuzz test: a number of inputs, or a duration such as 10m. With a
# duration, go test sometimes reports its own deadline as a failure.
FUZZTIME ?= 5000x
FUZZ := ./pkg/token:FuzzParseUnverified ./pkg/token/issuer:FuzzVerify ./pkg/token/issuer:FuzzParsePublicKeys \
	./pkg/token/issuer:FuzzParseKeySet ./pkg/token/issuer/rotation:FuzzCache ./pkg/identity:FuzzFromAnnotations ./pkg/identity:FuzzParseMapping \
	./pkg/identity/lint:FuzzAccount ./pkg/identity/containercredentials:FuzzParse ./pkg/rolepolicy:FuzzEvaluate ./pkg/provision:FuzzRoleName \
	./pkg/trustpolicy:FuzzParse ./pkg/trustpolicy:FuzzStringLike ./pkg/explain:FuzzManifests \
	./pkg/localsts:FuzzRequest ./pkg/localsts:FuzzParameters ./pkg/localsts:FuzzStateFile \
	./internal/jsonreader:FuzzRead ./pkg/webhook:FuzzMutate ./pkg/webhook:FuzzServiceAccount \
	./certs:FuzzSecret ./certs:FuzzBundle ./certs:FuzzClientCA
FUZZ_TEST := ./inject:FuzzPod ./inject:FuzzAnnotations
# Duration of the soak test.
DURATION ?= 30m
# The supported minor versions of Kubernetes. test/assets builds the newest, and the
# modules below it build the others.
NEWEST := $(shell sed -n 's/^.*k8s.io\/kubernetes v\(1\.[0-9]*\)\..*/\1/p' test/assets/go.mod)
KUBERNETES := $(sort $(patsubst test/assets/%/go.mod,%,$(wildcard test/assets/*/go.mod))) $(NEWEST)
# The programs of a node in the modules of older versions. With an empty list,
# make server-module writes a module that builds only the API server.
NODE_COMMANDS ?= kube-controller-manager kube-proxy kube-scheduler kubeadm kubelet
# The versions for make conformance.
VERSIONS ?= $(KUBERNETES)
# Number of benchmark runs; benchstat needs 6 or more.
COUNT ?= 1

# Version information from git. All of it can be set, for builds without git.
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)
COMMIT ?= $(or $(shell git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null),unknown)
# The commit date in seconds since 1970. With the build date, two builds of the same
# commit would differ.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
LINKED := github.com/pod-identity-webhook/pod-identity-webhook/internal/version.linked
LDFLAGS := -s -w -X $(LINKED)Version=$(VERSION) -X $(LINKED)Commit=$(COMMIT) -X $(LINKED)Epoch=$(SOURCE_DATE_EPOCH)
# No registry has this name, so it cannot be the name of another image.
IMAGE ?= localhost/pod-identity-webhook
# The name of the image of local-sts in the manifests. It is in no registry.
LOCAL_STS_IMAGE := localhost/local-sts:dev
# The STS of the pods of kind-up: local-sts, or aws.
KIND_STS ?= local-sts
# A reference in a registry, or oci:DIRECTORY; empty for an image with only CA certificates.
BASE_IMAGE ?=
# Arguments: program, name of the image.
build-image = cd tools/image && $(GO) run . -program=$(1) -name=$(2) -source=$(CURDIR) -out=$(BIN)/image/$(1) -base=$(BASE_IMAGE) \
	-version=$(VERSION) -commit=$(COMMIT) -date=$(SOURCE_DATE_EPOCH) -ldflags='$(LDFLAGS)'

CHART := deploy/helm/pod-identity-webhook
CHART_VALUES := $(wildcard test/chart/testdata/*.values.yaml)
CHART_TEST = cd test && HELM=$(BIN)/helm KUBECTL=$(ASSETS)/kubectl $(GO) test -count=1 ./chart
HELM_DOCS = $(BIN)/helm-docs --chart-search-root=$(CHART) --sort-values-order=file --log-level=warning --template-files=../values-table.gotmpl
HELM_README = $(HELM_DOCS) --template-files=README.md.gotmpl
HELM_VALUES = $(HELM_DOCS) --template-files=../helm-values.md.gotmpl --output-file=../../../docs/reference/helm-values.md

# Programs that share packages have the same build flags, so that each package is compiled once.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath
# Programs that read files of the repository need its directory, which -trimpath removes.
ROOT_FLAG := -X github.com/pod-identity-webhook/pod-identity-webhook/test/repopath.root=$(CURDIR)
# The same as BUILD with progress output, for large programs; $(BIN)/progress must exist.
BUILD_LARGE := CGO_ENABLED=0 GO='$(GO)' $(BIN)/progress -trimpath
# URL of a list of prebuilt control planes; empty for the one of setup-envtest.
ENVTEST_INDEX ?=
# A directory for each version, so that a download of another one is not used.
ENVTEST := $(BIN)/envtest/$(NEWEST)

SOURCES := $(shell find cmd pkg certs internal -name '*.go' -not -name '*_test.go') go.mod go.sum

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN)/pod-identity-webhook $(BIN)/kubectl-irsa $(BIN)/local-sts ## build the programs into bin/

.PHONY: image
image: ## build the images, for amd64 and arm64, into bin/image; BASE_IMAGE=... for another base
	$(call build-image,pod-identity-webhook,$(IMAGE):$(VERSION))
	$(call build-image,local-sts,$(LOCAL_STS_IMAGE))

.PHONY: push
push: ## build the webhook's image and push it: IMAGE=registry.example.com/pod-identity-webhook
	$(call build-image,pod-identity-webhook,$(IMAGE):$(VERSION)) -push

.PHONY: test-image
test-image: image ## test the images: contents, startup, reproducible build
	cd tools/image && IMAGE_DIRECTORY=$(BIN)/image IMAGE_NAME=$(IMAGE):$(VERSION) LOCAL_STS_IMAGE=$(LOCAL_STS_IMAGE) IMAGE_BASE=$(BASE_IMAGE) IMAGE_VERSION=$(VERSION) \
		IMAGE_COMMIT=$(COMMIT) IMAGE_EPOCH=$(SOURCE_DATE_EPOCH) IMAGE_LDFLAGS='$(LDFLAGS)' $(GO) test -count=1 ./...

# The image of the node: empty for the one of make kind-image, or the published one of kind.
KIND_NODE_IMAGE ?=
# KIND_EXPERIMENTAL_PROVIDER, the variable of kind, selects docker or podman.
BUILT_NODE_IMAGE := localhost/pod-identity-webhook/kind-node:$(NEWEST)
KIND_UP = $(BIN)/kind/up -kind=$(BIN)/kind/kind -node-image=$(KIND_NODE_IMAGE) -built-node-image=$(BUILT_NODE_IMAGE)

# kind-check comes first, so that missing prerequisites are reported before anything is built.
.PHONY: kind-up
kind-up: kind-check image $(ASSETS)/kubectl $(BIN)/helm $(BIN)/kubectl-irsa $(BIN)/kind/kind ## run all of IRSA on a kind cluster; needs Docker or podman; KIND_STS=aws KIND_NODE_IMAGE=...
	@$(KIND_UP) -sts=$(KIND_STS) -images=$(BIN)/image -repository=$(IMAGE) -tag=$(VERSION) \
		-kubectl=$(ASSETS)/kubectl -plugin=$(BIN)/kubectl-irsa -helm=$(BIN)/helm -kubeconfig=$(BIN)/kind/kubeconfig up

.PHONY: kind-down
kind-down: $(BIN)/kind/up $(BIN)/kind/kind ## delete the kind cluster
	@$(KIND_UP) -kubeconfig=$(BIN)/kind/kubeconfig down

.PHONY: kind-check
kind-check: $(BIN)/kind/up
	@$(KIND_UP) check

.PHONY: kind-test
kind-test: build assets $(BIN)/helm ## test the kind configuration and the steps of kind-up, without Docker
	cd test/kind && KUBEBUILDER_ASSETS=$(ASSETS) HELM=$(BIN)/helm $(GO) test -count=1 ./...

# The Kubernetes version of the node image: a minor version with a module below test/assets.
NODE_KUBERNETES = $(if $(filter command% override,$(origin VERSION)),$(VERSION),$(NEWEST))
NODE_ASSETS = $(if $(filter $(NEWEST),$(NODE_KUBERNETES)),$(ASSETS),$(BIN)/assets/$(NODE_KUBERNETES))
# kubeadm before 1.34 sets flags that etcd 3.7 has removed.
NODE_ETCD = $(if $(filter 1.30 1.31 1.32 1.33,$(NODE_KUBERNETES)),$(BIN)/kind/programs/etcd-3.5/etcd,$(NODE_ASSETS)/etcd)
NODE_IMAGE = localhost/pod-identity-webhook/kind-node:$(NODE_KUBERNETES)
# A Debian mirror; one of snapshot.debian.org has the packages of a date.
DEBIAN_MIRROR ?= http://deb.debian.org/debian
NODE_PROGRAMS := $(addprefix $(BIN)/kind/programs/,containerd ctr containerd-shim-runc-v2 containerd-fuse-overlayfs-grpc \
	host-local loopback ptp portmap local-path-provisioner crictl podnetwork)

# The programs of Kubernetes depend on VERSION, so a second make builds them.
.PHONY: kind-image
kind-image: $(BIN)/kind/nodeimage ## build a node image for kind without a registry; needs Docker or podman, and mmdebstrap; VERSION=1.36
	@$(BIN)/kind/nodeimage check
	@$(MAKE) -s $(NODE_ETCD) $(addprefix $(NODE_ASSETS)/,kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubeadm kubelet kubectl) \
		$(BIN)/network/coredns $(BIN)/cluster-images/pause $(NODE_PROGRAMS) $(BIN)/kind/kind
	@$(BIN)/kind/nodeimage -name=$(NODE_IMAGE) -kind=$(BIN)/kind/kind -module=$$(cd test/kind && $(GO) list -m -f '{{.Dir}}' sigs.k8s.io/kind) \
		-programs=$(dir $(NODE_ETCD)),$(NODE_ASSETS),$(BIN)/kind/programs,$(BIN)/network,$(BIN)/cluster-images -mirror=$(DEBIAN_MIRROR)

# A complete cluster without Docker. It needs root and a few packages.
CLUSTER_PARTS := $(addprefix $(ASSETS)/,etcd kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler kube-proxy)
CLUSTER_NETWORK := $(addprefix $(BIN)/network/,coredns loopback ptp host-local)
CLUSTER_PROGRAMS := $(addprefix $(BIN)/cluster-images/,pause whoamiapp probe)
CLUSTER := $(CLUSTER_PARTS) $(CLUSTER_NETWORK) $(CLUSTER_PROGRAMS) image

.PHONY: cluster
cluster: cluster-check $(CLUSTER) ## start a single-node cluster without Docker; needs Linux, root and containerd
	@$(BIN)/cluster-up -assets=$(ASSETS) up

.PHONY: cluster-demo
cluster-demo: cluster $(BIN)/helm $(BIN)/kubectl-irsa ## run all of IRSA on that cluster, as kind-up does
	@$(BIN)/cluster-up -assets=$(ASSETS) -repository=$(IMAGE) -tag=$(VERSION) walkthrough

.PHONY: cluster-down
cluster-down: $(BIN)/cluster-up ## delete the cluster and all its resources
	@$(BIN)/cluster-up down

.PHONY: cluster-check
cluster-check:
	@test "$$($(GO) env GOOS)" = linux || { echo "make cluster needs Linux; on other systems, use make kind-up" >&2; exit 1; }
	@$(MAKE) --no-print-directory $(BIN)/cluster-up
	@$(BIN)/cluster-up check

.PHONY: demo
demo: demo-assets build $(BIN)/demo ## run the demo: a pod gets its AWS identity and credentials on a real API server; V=1 for all output
	@$(BIN)/demo -assets=$(BIN)/demo-assets $(if $(V),-v)

.PHONY: demo-up
demo-up: demo-assets build $(BIN)/demo ## run the demo, and keep its cluster running until Ctrl-C
	@$(BIN)/demo -assets=$(BIN)/demo-assets -up

# The first of: a control plane that make has built, a prebuilt download, a new build.
.PHONY: demo-assets
demo-assets: $(BIN)/progress
	@if [ -x $(ASSETS)/etcd ] && [ -x $(ASSETS)/kube-apiserver ]; then ln -sfn $(ASSETS) $(BIN)/demo-assets; \
	elif [ -x $(ENVTEST)/kube-apiserver ] || { (cd tools/envtest && $(BUILD) -o $(BIN)/setup-envtest .) && $(BIN)/setup-envtest -version=$(NEWEST) -directory=$(ENVTEST) $(if $(ENVTEST_INDEX),-index='$(ENVTEST_INDEX)'); }; \
	then ln -sfn $(ENVTEST) $(BIN)/demo-assets; \
	else $(MAKE) --no-print-directory $(ASSETS)/etcd $(ASSETS)/kube-apiserver && ln -sfn $(ASSETS) $(BIN)/demo-assets; fi

.PHONY: test
test: unit chart fuzz e2e upgrade-test test-sdks kind-test test-image ## run all tests, including those with a real control plane

# Argument: flags of go test for the packages that the race detector can test.
define run-unit-tests
	$(GO) test $(1) ./...
	cd test && $(GO) test $(1) ./inject/... ./process/... ./minioserver/... ./conformance/...
	cd test/bench && $(GO) test ./...
	cd tools/envtest && $(GO) test ./...
	cd tools/progress && $(GO) test ./...
	cd tools/vale && $(GO) test ./...
endef

.PHONY: test-quick
test-quick: ## run the tests that need no control plane, without the race detector
	$(call run-unit-tests)

.PHONY: unit
unit: ## run the tests that need no control plane
	$(call run-unit-tests,$(RACE))
	$(GO) test -run=TestAllocations ./pkg/webhook # the race detector changes allocations

.PHONY: chart
chart: $(BIN)/helm $(ASSETS)/kubectl ## test the Helm chart and the kustomizations
	$(CHART_TEST)
	cd test/integrations && $(GO) test -count=1 ./...

.PHONY: e2e
e2e: build $(BIN)/e2e/pod-identity-webhook assets minio $(BIN)/sdks/golang $(BIN)/helm ## run the tests with a real control plane
	$(E2E) -timeout=30m -count=1 -p=1 ./controlplane/... ./manifest/... ./webhookprocess/... ./demo/... ./e2e/...
	$(UNDER_FIRE) ./dos/...
	$(UNDER_FIRE) ./soak/... -duration=1m

.PHONY: conformance
conformance: ## test with each supported Kubernetes version, takes hours the first time; VERSIONS="1.30 1.31" RUN=Guard
	@set -e; for version in $(VERSIONS); do $(MAKE) conformance-$$version; done

# The tests of e2e with the API server of one minor version. They use the released program,
# while make e2e uses one with the race detector.
.PHONY: $(KUBERNETES:%=conformance-%)
$(KUBERNETES:%=conformance-%): conformance-%: $(BIN)/assets/%/kube-apiserver $(BIN)/assets/%/etcd $(BIN)/assets/%/kubectl build $(BIN)/helm
	cd test && WEBHOOK=$(BIN)/pod-identity-webhook HELM=$(BIN)/helm KUBEBUILDER_ASSETS=$(BIN)/assets/$* \
		$(GO) run ./conformance test $* -timeout=60m $(if $(RUN),-run='$(RUN)')

.PHONY: server-module
server-module: ## write the module that builds an older Kubernetes; RELEASE=1.30.15
	cd test && $(GO) run ./conformance module $(RELEASE) $(NODE_COMMANDS)

.PHONY: e2e-cluster
e2e-cluster: cluster-check $(CLUSTER) $(BIN)/helm $(BIN)/kubectl-irsa ## run the tests on a complete cluster with running pods; needs what make cluster needs
	$(E2E_CLUSTER) -timeout=30m ./...

# The tests of make cluster itself, and those of the kubelet, run only there.
.PHONY: e2e-kind
e2e-kind: kind-check $(CLUSTER_PROGRAMS) image $(ASSETS)/kubectl $(BIN)/helm $(BIN)/kubectl-irsa $(BIN)/kind/kind ## run the tests of e2e-cluster on a kind cluster; needs Linux, and what make kind-up needs
	cd test/cluster && IMAGE=$(IMAGE) VERSION=$(VERSION) KUBEBUILDER_ASSETS=$(ASSETS) KIND_NODE_IMAGE=$(KIND_NODE_IMAGE) BUILT_NODE_IMAGE=$(BUILT_NODE_IMAGE) \
		$(GO) test -v -count=1 -timeout=30m ./e2e -on=kind -skip='^(TestCluster|TestMounts)_'

# TestSDKs_variablesOfContainer runs each SDK with each variable, which takes minutes. make nightly runs it.
SDK_TESTS ?= -skip=TestSDKs_variablesOfContainer
.PHONY: test-sdks
test-sdks: build assets minio $(BIN)/sdks/golang $(BIN)/sdks/golangv1 $(BIN)/helm ## install AWS SDKs of several languages, and test them with an injected pod's environment
	test/sdks/install $(BIN)/sdks
	cd test && WEBHOOK=$(BIN)/pod-identity-webhook LOCAL_STS=$(BIN)/local-sts KUBEBUILDER_ASSETS=$(ASSETS) $(GO) test -v -count=1 ./sdks $(SDK_TESTS)

.PHONY: test-rotation
test-rotation: build $(BIN)/e2e/pod-identity-webhook assets $(BIN)/helm ## test certificate rotation and repair under load; COUNT=20
	$(E2E) -timeout=0 -count=$(COUNT) -run=TestCertificate ./e2e

# The commit or tag of the previous release.
PREVIOUS ?= eda928e
PREVIOUS_RELEASE := $(BIN)/previous/$(PREVIOUS)

.PHONY: upgrade-test
upgrade-test: build assets $(BIN)/helm $(PREVIOUS_RELEASE)/pod-identity-webhook ## test upgrades from the previous release and from the reference under load; REFERENCE=file
	cd test && WEBHOOK=$(BIN)/pod-identity-webhook PREVIOUS_WEBHOOK=$(PREVIOUS_RELEASE)/pod-identity-webhook \
		PREVIOUS_CHART=$(PREVIOUS_RELEASE)/source/$(CHART) REFERENCE='$(REFERENCE)' KUBEBUILDER_ASSETS=$(ASSETS) HELM=$(BIN)/helm \
		$(GO) test -v -count=1 -timeout=30m ./upgrade

$(PREVIOUS_RELEASE)/pod-identity-webhook:
	@git cat-file -e '$(PREVIOUS)^{commit}' || \
		{ echo "commit $(PREVIOUS) is not in the history of this checkout; run git fetch --unshallow" >&2; exit 1; }
	@echo "building $(PREVIOUS) from the history of the repository"
	rm -rf $(@D) && mkdir -p $(@D)/source
	git archive '$(PREVIOUS)' | tar -x -C $(@D)/source
	cd $(@D)/source && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o $@ ./cmd/pod-identity-webhook

.PHONY: test-soak
test-soak: build assets $(BIN)/helm ## run the soak test: fault injection under load; DURATION=30m
	$(UNDER_FIRE) ./dos/... -attack-for=10s
	$(UNDER_FIRE) ./soak/... -duration=$(DURATION)
	$(MAKE) test-token-refresh

.PHONY: test-token-refresh
test-token-refresh: cluster-check $(CLUSTER) $(BIN)/helm $(BIN)/kubectl-irsa ## test an application that runs longer than its token, takes 15 minutes; needs what make cluster needs
	$(E2E_CLUSTER) -timeout=0 ./e2e -run=TestTokenRefresh -outlive

E2E = cd test && WEBHOOK=$(BIN)/e2e/pod-identity-webhook KUBEBUILDER_ASSETS=$(ASSETS) HELM=$(BIN)/helm $(GO) test $(RACE)
E2E_CLUSTER = cd test/cluster && IMAGE=$(IMAGE) VERSION=$(VERSION) KUBEBUILDER_ASSETS=$(ASSETS) $(GO) test -v -count=1
# Without the race detector, to test the resource usage of the released program.
UNDER_FIRE = cd test && WEBHOOK=$(BIN)/pod-identity-webhook KUBEBUILDER_ASSETS=$(ASSETS) HELM=$(BIN)/helm $(GO) test -v -count=1 -timeout=0

# All of them run, also after a failure.
NIGHTLY := 'kind-image' 'e2e-kind' 'conformance' 'fuzz FUZZTIME=500000x' 'test-rotation COUNT=10' 'test-sdks SDK_TESTS=' 'test-soak' 'bench COUNT=6' 'bench-scale' 'bench-guard'

.PHONY: nightly
nightly: ## run the tests that take too long for continuous integration: all Kubernetes versions, long fuzzing, soak, benchmarks
	@failed=; for target in $(NIGHTLY); do $(MAKE) $$target || failed="$$failed '$$target'"; done; \
		test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: fuzz
fuzz: ## run the fuzz tests of all parsers of untrusted input; FUZZTIME=10m for a long run
	@set -e; for target in $(FUZZ); do $(call fuzz-one,.); done
	@set -e; for target in $(FUZZ_TEST); do $(call fuzz-one,test); done

# Inputs are minimized only briefly: background work of the runtime looks like new
# coverage, and minimizing such inputs would use up the time for fuzzing.
fuzz-one = (set -x; cd $(1) && $(GO) test $${target%%:*} -run='^$$' -fuzz="^$${target\#\#*:}$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=100x)

# The packages with benchmarks of the parts of an admission.
BENCH_PACKAGES := ./pkg/webhook ./pkg/inject ./pkg/identity/serviceaccount
# REFERENCE is the binary of amazon-eks-pod-identity-webhook, to measure it too.
BENCH = KUBEBUILDER_ASSETS=$(ASSETS) $(BIN)/bench run -reference='$(REFERENCE)' -plots='$(PLOTS)'

.PHONY: bench
bench: $(BIN)/pod-identity-webhook assets $(BIN)/bench $(BIN)/helm ## benchmark admission requests against a constant-response server; fail on a regression or a missed goal; COUNT=6 PLOTS=docs/performance REFERENCE=file
	$(GO) test $(BENCH_PACKAGES) -run='^$$' -bench=. -count=$(COUNT)
	$(BENCH) -compare

# The numbers of ServiceAccounts, and the part to measure: footprint or live.
SIZES ?= 1000,10000,100000
ONLY ?=

.PHONY: bench-scale
bench-scale: $(BIN)/pod-identity-webhook assets $(BIN)/bench $(BIN)/helm ## benchmark memory and start time with many ServiceAccounts, and live reads; SIZES=1000,10000 ONLY=live PLOTS=docs/performance
	KUBEBUILDER_ASSETS=$(ASSETS) $(BIN)/bench scale -sizes='$(SIZES)' -only='$(ONLY)' -plots='$(PLOTS)'

.PHONY: bench-burst
bench-burst: $(BIN)/pod-identity-webhook assets $(BIN)/bench $(BIN)/helm ## benchmark 400 pods created at the same moment, fail if the webhook more than doubles the median
	KUBEBUILDER_ASSETS=$(ASSETS) $(BIN)/bench burst

.PHONY: bench-baseline
bench-baseline: $(BIN)/pod-identity-webhook assets $(BIN)/bench $(BIN)/helm ## measure admissions and record the result for the comparison of make bench
	$(BENCH) -record

.PHONY: bench-capture
bench-capture: assets $(BIN)/bench ## record again the requests of make bench, from a real API server
	KUBEBUILDER_ASSETS=$(ASSETS) $(BIN)/bench record

.PHONY: bench-guard
bench-guard: assets $(BIN)/helm ## measure the creation of a pod with and without the guard
	cd test && HELM=$(BIN)/helm KUBEBUILDER_ASSETS=$(ASSETS) \
		$(GO) test ./e2e -run='^$$' -bench=BenchmarkGuard -benchtime=500x -count=$(COUNT)

.PHONY: docs
docs: chart-docs ## generate docs/reference, and the tables of flags in docs
	$(GO) test ./cmd/... -run=TestReference_ -update

.PHONY: chart-docs
chart-docs: $(BIN)/helm-docs
	$(HELM_README)
	$(HELM_VALUES)

.PHONY: manifests
manifests: $(BIN)/helm ## write the kustomizations and golden files of the chart
	$(CHART_TEST) -run='TestKustomize_generated|TestChart_golden' -update

.PHONY: lint
lint: $(BIN)/golangci-lint chart-lint prose-lint ## run the linters
	$(BIN)/golangci-lint config verify
	$(BIN)/golangci-lint run ./...
	cd test && $(BIN)/golangci-lint run --config=../.golangci.yml ./...
	$(GO) mod tidy -diff
	cd test && $(GO) mod tidy -diff
	cd test/integrations && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd test/integrations && $(GO) mod tidy -diff
	cd test/assets && $(GO) mod tidy -diff
	cd test/minio && $(GO) mod tidy -diff
	cd test/sdks/golangv1 && $(BIN)/golangci-lint run --config=../../../.golangci.yml ./...
	cd test/sdks/golangv1 && $(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd tools/helm && $(GO) mod tidy -diff
	cd test/kind && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd test/kind && $(GO) mod tidy -diff
	cd test/kind/nodeimage/programs && $(GO) mod tidy -diff
	cd test/kind/nodeimage/programs/crictl && $(GO) mod tidy -diff
	cd test/kind/nodeimage/programs/etcd && $(GO) mod tidy -diff
	cd test/cluster && GOOS=linux $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd test/cluster && $(GO) mod tidy -diff
	cd test/cluster/network && $(BIN)/golangci-lint run --config=../../../.golangci.yml ./...
	cd test/cluster/network && $(GO) mod tidy -diff
	cd test/bench && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd test/bench && $(GO) mod tidy -diff
	cd tools/image && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd tools/image && $(GO) mod tidy -diff
	cd tools/helm-docs && $(GO) mod tidy -diff
	cd tools/envtest && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd tools/envtest && $(GO) mod tidy -diff
	cd tools/progress && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd tools/progress && $(GO) mod tidy -diff
	cd tools/vale && $(BIN)/golangci-lint run --config=../../.golangci.yml ./...
	cd tools/vale && $(GO) mod tidy -diff

.PHONY: chart-lint
chart-lint: $(BIN)/helm $(BIN)/helm-docs
	@set -e; for values in $(CHART_VALUES); do (set -x; $(BIN)/helm lint --strict --quiet $(CHART) --values=$$values); done
	$(HELM_README) --dry-run | diff $(CHART)/README.md -
	$(HELM_VALUES) --dry-run | diff docs/reference/helm-values.md -

# The terms and rules of tools/vale/styles, in Markdown, Go comments and Go strings.
.PHONY: prose-lint
prose-lint: $(BIN)/vale $(BIN)/goprose
	$(BIN)/goprose . $(BIN)/prose
	$(BIN)/vale --output=line README.md CONTRIBUTING.md docs deploy examples $(BIN)/prose

.PHONY: clean
clean: ## remove all build results
	rm -rf $(BIN)

.PHONY: assets
assets: $(ASSETS)/etcd $(ASSETS)/kube-apiserver $(ASSETS)/kubectl

# Other minor versions have their own API server and share the other programs.
$(BIN)/assets/$(NEWEST)/kube-apiserver: $(ASSETS)/kube-apiserver
	@mkdir -p $(@D) && ln -sf $< $@

$(BIN)/assets/%/etcd: $(ASSETS)/etcd
	@mkdir -p $(@D) && ln -sf $< $@

$(BIN)/assets/%/kubectl: $(ASSETS)/kubectl
	@mkdir -p $(@D) && ln -sf $< $@

# The tag excludes the large clients of cloud providers in Kubernetes 1.30.
define build-older-command
$(BIN)/assets/%/$(1): test/assets/%/go.mod test/assets/%/go.sum | $(BIN)/progress
	@grep -q 'kubernetes/cmd/$(1)$$$$' $$< || { echo "test/assets/$$* has no $(1); run make server-module RELEASE=$$*.x" >&2; exit 1; }
	@echo "building $(1) of Kubernetes $$* from its Go module: takes minutes the first time and seconds later"
	@cd test/assets/$$* && $(GO) mod tidy -diff && $(BUILD_LARGE) -tags=providerless -o $$@ \
		-ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$$$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes)" k8s.io/kubernetes/cmd/$(1)
endef
$(foreach command,kube-apiserver $(NODE_COMMANDS),$(eval $(call build-older-command,$(command))))

$(BIN)/assets/%: test/assets/go.mod test/assets/go.sum | $(BIN)/progress
	@echo "building $(@F) from its Go module: takes minutes the first time and seconds later"
	@cd test/assets && $(BUILD_LARGE) -o $@ \
		-ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes)" $(PACKAGE)

$(BIN)/assets/etcd: PACKAGE := go.etcd.io/etcd/server/v3
$(BIN)/assets/kube-apiserver: PACKAGE := k8s.io/kubernetes/cmd/kube-apiserver
$(BIN)/assets/kubectl: PACKAGE := k8s.io/kubernetes/cmd/kubectl
$(BIN)/assets/kubeadm: PACKAGE := k8s.io/kubernetes/cmd/kubeadm
$(BIN)/assets/kubelet: PACKAGE := k8s.io/kubernetes/cmd/kubelet
$(BIN)/assets/kube-controller-manager: PACKAGE := k8s.io/kubernetes/cmd/kube-controller-manager
$(BIN)/assets/kube-proxy: PACKAGE := k8s.io/kubernetes/cmd/kube-proxy
$(BIN)/assets/kube-scheduler: PACKAGE := k8s.io/kubernetes/cmd/kube-scheduler

$(BIN)/network/%: test/cluster/network/go.mod test/cluster/network/go.sum
	@echo "building $(@F) from its Go module"
	cd test/cluster/network && CGO_ENABLED=0 $(GO) build -o $@ -ldflags="-s -w" $(PACKAGE)

$(BIN)/network/coredns: PACKAGE := ./coredns
$(BIN)/network/loopback: PACKAGE := github.com/containernetworking/plugins/plugins/main/loopback
$(BIN)/network/ptp: PACKAGE := github.com/containernetworking/plugins/plugins/main/ptp
$(BIN)/network/host-local: PACKAGE := github.com/containernetworking/plugins/plugins/ipam/host-local

$(BIN)/kind/kind: test/kind/go.mod test/kind/go.sum
	@echo "building kind from its Go module"
	@cd test/kind && $(BUILD) -o $@ sigs.k8s.io/kind

$(BIN)/kind/up: always
	@cd test/kind && $(BUILD) -ldflags='$(ROOT_FLAG)' -o $@ .

.PHONY: $(BIN)/kind/nodeimage
$(BIN)/kind/nodeimage:
	@cd test/kind && $(BUILD) -o $@ ./nodeimage

$(BIN)/kind/programs/podnetwork: always
	@cd test/kind && $(BUILD) -ldflags="-s -w" -o $@ ./nodeimage/podnetwork

$(BIN)/kind/programs/etcd-3.5/etcd: test/kind/nodeimage/programs/etcd/go.mod test/kind/nodeimage/programs/etcd/go.sum | $(BIN)/progress
	@echo "building etcd 3.5 from its Go module"
	@cd test/kind/nodeimage/programs/etcd && $(BUILD_LARGE) -ldflags="-s -w" -o $@ go.etcd.io/etcd/server/v3

$(BIN)/kind/programs/crictl: test/kind/nodeimage/programs/crictl/go.mod test/kind/nodeimage/programs/crictl/go.sum | $(BIN)/progress
	@echo "building crictl from its Go module: takes minutes the first time and seconds later"
	@cd test/kind/nodeimage/programs/crictl && $(BUILD_LARGE) -ldflags="-s -w" -o $@ sigs.k8s.io/cri-tools/cmd/crictl

# kind uses none of the snapshotters that the tags omit.
$(BIN)/kind/programs/%: test/kind/nodeimage/programs/go.mod test/kind/nodeimage/programs/go.sum | $(BIN)/progress
	@echo "building $(@F) from its Go module: takes minutes the first time and seconds later"
	@cd test/kind/nodeimage/programs && $(BUILD_LARGE) -ldflags="-s -w" -tags=no_btrfs,no_devmapper,no_zfs -o $@ $(PACKAGE)

$(BIN)/kind/programs/containerd: PACKAGE := github.com/containerd/containerd/v2/cmd/containerd
$(BIN)/kind/programs/containerd-shim-runc-v2: PACKAGE := github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
$(BIN)/kind/programs/ctr: PACKAGE := github.com/containerd/containerd/v2/cmd/ctr
$(BIN)/kind/programs/containerd-fuse-overlayfs-grpc: PACKAGE := github.com/containerd/fuse-overlayfs-snapshotter/v2/cmd/containerd-fuse-overlayfs-grpc
$(BIN)/kind/programs/host-local: PACKAGE := github.com/containernetworking/plugins/plugins/ipam/host-local
$(BIN)/kind/programs/loopback: PACKAGE := github.com/containernetworking/plugins/plugins/main/loopback
$(BIN)/kind/programs/ptp: PACKAGE := github.com/containernetworking/plugins/plugins/main/ptp
$(BIN)/kind/programs/portmap: PACKAGE := github.com/containernetworking/plugins/plugins/meta/portmap
$(BIN)/kind/programs/local-path-provisioner: PACKAGE := github.com/rancher/local-path-provisioner

# Images have no C library, so build static programs.
$(BIN)/cluster-images/%: always
	@cd test/cluster && CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o $@ ./$(@F)

$(BIN)/cluster-up: always
	@cd test/cluster && $(GO) build -o $@ .

.PHONY: minio
minio: $(BIN)/minio/minio

$(BIN)/minio/minio: test/minio/go.mod test/minio/go.sum | $(BIN)/progress
	@echo "building MinIO from its Go module: takes minutes the first time and seconds later"
	@cd test/minio && $(BUILD_LARGE) -o $@ -ldflags="-s -w" github.com/minio/minio

# The Go programs of test/sdks.
$(BIN)/sdks/golang: always
	@cd test && $(GO) build -o $@ ./sdks/golang

$(BIN)/sdks/golangv1: always
	@cd test/sdks/golangv1 && $(GO) build -o $@ .

# This file changes only if the flags change. They contain the commit.
$(BIN)/ldflags: always
	@mkdir -p $(@D)
	@echo '$(LDFLAGS)' | cmp -s - $@ || echo '$(LDFLAGS)' > $@

.PHONY: always
always:

$(BIN)/pod-identity-webhook $(BIN)/kubectl-irsa $(BIN)/local-sts: $(SOURCES) $(BIN)/ldflags
	$(BUILD) -ldflags='$(LDFLAGS)' -o $@ ./cmd/$(@F)

$(BIN)/e2e/pod-identity-webhook: $(SOURCES)
	$(GO) build $(RACE) -o $@ ./cmd/pod-identity-webhook

.PHONY: $(BIN)/demo
$(BIN)/demo:
	@cd test && $(BUILD) -ldflags='$(ROOT_FLAG)' -o $@ ./demo

$(BIN)/progress: $(wildcard tools/progress/*.go) tools/progress/go.mod
	@cd tools/progress && $(BUILD) -o $@ .

.PHONY: $(BIN)/bench $(BIN)/bench-constantserver
$(BIN)/bench: $(BIN)/bench-constantserver
	@cd test/bench && $(GO) build -o $@ .

$(BIN)/bench-constantserver:
	@cd test/bench && $(GO) build -o $@ ./constantserver

$(BIN)/golangci-lint: tools/go.mod tools/go.sum | $(BIN)/progress
	@echo "building golangci-lint from its Go module: takes minutes the first time"
	@cd tools && $(BUILD_LARGE) -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/helm-docs: tools/helm-docs/go.mod tools/helm-docs/go.sum
	@echo "building helm-docs from its Go module"
	cd tools/helm-docs && $(GO) build -o $@ github.com/norwoodj/helm-docs/cmd/helm-docs

$(BIN)/vale: tools/vale/go.mod tools/vale/go.sum
	@echo "building vale from its Go module"
	cd tools/vale && $(BUILD) -o $@ github.com/errata-ai/vale/v2/cmd/vale

$(BIN)/goprose: $(wildcard tools/vale/goprose/*.go) tools/vale/go.mod
	cd tools/vale && $(BUILD) -o $@ ./goprose

$(BIN)/helm: tools/helm/go.mod tools/helm/go.sum | $(BIN)/progress
	@echo "building helm from its Go module: takes minutes the first time"
	@cd tools/helm && $(BUILD_LARGE) -o $@ helm.sh/helm/v4/cmd/helm
