# make demo and make test are all the set-up there is.

GO ?= go
BIN := bin/usher

.PHONY: all build demo test test-baselines vet soak e2e fuzz bench baselines wrong clean

all: build

build:
	$(GO) build -o $(BIN) ./cmd/usher

# A node, a 50,000-seat event, simulated buyers, and the audit at the end.
demo: build
	$(BIN) demo --once

# The gate: everything, with the race detector. Random tests make fewer rounds
# than `go test ./...` does (-short).
test: vet
	$(GO) test -race -short -timeout 10m ./...
	$(GO) test -timeout 5m -count 1 -run TestPresets ./bench/onsale # 20,000 users, without the race detector

# The module of the baselines, which has dependencies of its own. Tests of a server
# that is not installed are skipped.
test-baselines: build
	cd bench/baselines && $(GO) vet ./... && $(GO) test -short -timeout 5m ./...

vet:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

# Long tests against real processes and real disks: kill -9 under load, twenty
# gigabytes through the log, a million holds, clusters whose nodes die, sleep and
# are cut off; and ten million operations against the model. SOAK_SCALE=0.1 for a
# tenth of the former. Cutting networks takes root; without, that is skipped.
SOAK_SCALE ?= 1
soak: build
	USHER_ORACLE_OPS=10000000 $(GO) test -timeout 1h -count 1 -run 'TestOracle' ./shard
	RAFTLOG_SOAK=10 RAFTLOG_DISK_GB=20 $(GO) test -timeout 1h -count 1 ./raftlog
	SOAK_SCALE=$(SOAK_SCALE) $(GO) test -tags soak -timeout 3h -count 1 -v -run 'Soak' ./internal/soak

# The pages in a real Chromium, which must be installed: from the queue to a ticket,
# with sockets and nodes failing on the way, by keyboard, with axe-core, and the
# operator's page. Renews the pictures in docs/images.
e2e:
	cd internal/e2e && $(GO) vet ./... && $(GO) test -timeout 30m -count 1 -v ./...

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
	  done; done

# The micro workloads against a node of its own on this machine.
bench: build
	@set -e; for w in hold stampede cycle best map maphttp; do $(BIN) bench $$w; done

# Usher beside PostgreSQL, Redis and etcd: one table. Installs what is missing if
# root asks. BASELINES="--runs 1 --duration 2s --systems redis" for less of it.
baselines: build
	cd bench/baselines && $(GO) run . install && $(GO) run . $(BASELINES)

# What each of them does wrong, and Usher in the same experiments.
wrong: build
	cd bench/baselines && $(GO) run . install && $(GO) run . wrong

clean:
	rm -rf bin bench/baselines/bin usher-data soak-data
