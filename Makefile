# `make` alone prints what there is to do.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

MODULE  := github.com/remora-mq/remora
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The version is stamped by hand: a checkout owned by somebody else, or without
# its history, must build all the same. All that is built is built in one way, but
# for the race detector, which needs C: so what one step compiled the next ones have.
# A program without tables for a debugger is linked in half the time.
export GOFLAGS := $(filter-out -buildvcs%,$(shell go env GOFLAGS)) -buildvcs=false -trimpath -ldflags=-w
export CGO_ENABLED := 0

LINT_VERSION := v2.15.0
LINTER       := .build/bin/golangci-lint-$(LINT_VERSION)

# A peer of the benchmark that is no Debian package.
NATS_VERSION := v2.15.2
NATS         := .build/nats-$(NATS_VERSION)/nats-server

# Packages whose tests start servers, mount file systems or kill processes.
# They run one at a time. Everything that is not named here is a unit, so a new
# package is tested without being listed.
HEAVY := ^$(MODULE)/(broker/rocketmq|dedupe/(redis|sql)|test/.*)$$
units  = $$(go list ./... | grep -Ev '$(HEAVY)')

##@ Use
.PHONY: build
build: ## build bin/sidecar
	go build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sidecar ./cmd/sidecar

.PHONY: demo
demo: build ## show the way of a message, through a kill -9, with nothing installed
	bin/sidecar demo

##@ Check
.PHONY: test
test: ## run all checks, install what they need, and print a summary (about 25 minutes)
	@.ci/test

.PHONY: deps
deps: ## install or name what the tests need beyond Go
	@.ci/deps

.PHONY: test-unit
test-unit: ## tests of everything that needs only Go
	go test -count=1 -timeout 30m $(units)

# go vet has a target of its own.
.PHONY: test-race
test-race: ## the same under the race detector, but for the tests of test-plain
	CGO_ENABLED=1 go test -count=1 -race -vet=off -timeout 60m $$(go list ./... | grep -Ev '$(HEAVY)|/archtest$$')

.PHONY: test-plain
test-plain: ## what only reads the sources, or shows less under the race detector, without it
	go test -count=1 -vet=off -timeout 30m ./internal/archtest
	go test -count=1 -vet=off -timeout 30m -run '^TestFlipsCostWhatIsReported$$' ./spool
	go test -count=1 -vet=off -timeout 30m -run '^TestKillsBetweenABrokerAndASpool$$' ./transaction

.PHONY: test-broker
test-broker: ## our side of the client under the race detector, then the suite on a real RocketMQ
	CGO_ENABLED=1 go test -count=1 -vet=off -race -timeout 30m ./broker/rocketmq
	go test -count=1 -vet=off -p 1 -timeout 30m ./broker/rocketmq

.PHONY: test-stores
test-stores: ## dedupe stores that sidecars share, on the real servers, under the race detector
	CGO_ENABLED=1 go test -count=1 -vet=off -race -p 1 -timeout 30m ./dedupe/redis ./dedupe/sql ./test/stores

.PHONY: test-proof
test-proof: ## the built binary under kills, power loss and damage (short)
	go test -count=1 -vet=off -timeout 60m ./test/crash/sidecarproof

.PHONY: test-system
test-system: ## the rest of test/... but the end-to-end run: full disks, faults of the network and of a real RocketMQ, examples (short)
	go test -count=1 -vet=off -p 1 -timeout 30m $$(go list ./test/... | grep -Ev '/test/(e2e|stores|crash/sidecarproof)$$')

.PHONY: test-e2e
test-e2e: ## only the end-to-end run, printing its counts
	go test -count=1 -vet=off -v -timeout 30m ./test/e2e/...

LONG ?= 1

.PHONY: crash
crash: ## power loss, kills and damage, the long form: hours; LONG=0.1 is a tenth of the way to it
	REMORA_TEST_LONG=$(LONG) go test -count=1 -p 1 -v -timeout 24h ./internal/kv ./spool ./transaction ./test/crash/...
	$(MAKE) --no-print-directory fuzz

.PHONY: chaos
chaos: ## faults of the network and of a real RocketMQ, the long form: two to three hours; LONG=0.1 is a tenth of the way
	REMORA_TEST_LONG=$(LONG) go test -count=1 -p 1 -v -timeout 4h ./test/chaos ./test/e2e

.PHONY: fuzz
fuzz: ## every fuzz target, 10 minutes each; LONG=0.1 is a minute each, FUZZ=./spool only those of a package
	@.ci/fuzz $(LONG) $(FUZZ)

PEERS  ?= all
ROUNDS ?= 5

.PHONY: bench
bench: $(NATS) ## durable ingest, as ratios to a disk, a bare server and PEERS="redis rabbitmq postgres nats"
	@.ci/deps bench
	PATH="$(abspath $(dir $(NATS))):$$PATH" go run ./bench -rounds $(ROUNDS) -peers "$(PEERS)"
	@echo "more: make bench-backlog, bench-forward, bench-gate, bench-transactions; make bench-all runs all"

.PHONY: bench-all
bench-all: bench bench-backlog bench-forward bench-gate bench-transactions ## all that is measured, one after the other: hours

$(NATS):
	@echo "installing nats-server $(NATS_VERSION), once: about a minute"
	GOBIN=$(abspath $(@D)) go install github.com/nats-io/nats-server/v2@$(NATS_VERSION)

WAITING ?= 5000000

.PHONY: bench-backlog
bench-backlog: build ## what WAITING=5000000 messages cost that wait for a broker: rate, memory, disk, opening, drain, head
	go run ./bench/backlog -messages $(WAITING) -sidecar bin/sidecar

MESSAGES ?= 1000000

.PHONY: bench-forward
bench-forward: build ## forwarding MESSAGES=1000000 to a real RocketMQ, as ratios to its client library
	go run ./bench/forward -messages $(MESSAGES) -rounds $(ROUNDS) -sidecar bin/sidecar

DELIVERIES ?= 40000
KEYS       ?= 10000000

.PHONY: bench-gate
bench-gate: build ## DELIVERIES=40000 to a handler that answers at once, as ratios to a bare fasthttp loop; dedupe, KEYS=10000000 in its window
	go run ./bench/gate -messages $(DELIVERIES) -rounds $(ROUNDS) -keys $(KEYS) -sidecar bin/sidecar

OPEN ?= 100000

.PHONY: bench-transactions
bench-transactions: ## transactions (prepare + commit), and accepts beside OPEN=100000 open ones, as ratios to plain accepts
	go run ./bench/transactions -open $(OPEN) -rounds $(ROUNDS)

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: $(LINTER) ## all linters but those .golangci.yml gives a reason against
	$(LINTER) run ./...

$(LINTER):
	@echo "installing golangci-lint $(LINT_VERSION), once: about 2 minutes"
	mkdir -p $(@D)
	GOBIN=$(CURDIR)/$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(@D)/golangci-lint $@

.PHONY: fmt-check
fmt-check: ## name the files that gofmt would change
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); \
	[ -z "$$unformatted" ] || { echo "not formatted, run 'make fmt':"; echo "$$unformatted"; exit 1; }

##@ Work
.PHONY: fmt
fmt: ## format all Go files
	gofmt -w $$(go list -f '{{.Dir}}' ./...)

.PHONY: doc
doc: ## serve the packages' documentation, until interrupted
	go doc -http

.PHONY: clean
clean: ## remove what was built (spools are never touched)
	rm -rf bin .build

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## "; print "Remora: a sidecar that holds on to every message.\n\nmake TARGET" } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z0-9-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
