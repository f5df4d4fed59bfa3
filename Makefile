# The commands of the project. `make run` and `make test` are all that a newcomer needs;
# both install what is missing (Debian packages, as root or through sudo).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the node needs to build and to speak, and what the tests and benchmarks use as peers.
RUN_PACKAGES   := cmake pkg-config espeak-ng
# A Node.js of another origin brings its npm with it, and does not go with Debian's.
NODE_PACKAGES  := $(shell command -v npm >/dev/null || echo nodejs npm)
TEST_PACKAGES  := $(RUN_PACKAGES) sip-tester baresip-core sox prometheus iproute2 iptables libfaketime $(NODE_PACKAGES)
BENCH_PACKAGES := $(TEST_PACKAGES) etcd-server
DRILL_PACKAGES := $(RUN_PACKAGES) iproute2 iptables libfaketime

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
define install
	@missing=""; for package in $(1); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  $(SUDO) apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: help run test lint bench drill drill-long fuzz

help:
	@echo "make run    build and start a complete single node on loopback"
	@echo "make test   every check: format, lints, unit tests, simulation, real peers"
	@echo "make bench  measure, print the table, write target/bench/results.json"
	@echo "make drill  kill, freeze and cut off nodes of a real cluster, ten rounds of each kind; the"
	@echo "            table and the report are in target/drills"
	@echo "make drill-long  the same for hours, and more seeds of the simulation; writes docs/drills.md"
	@echo "make fuzz   longer mutation runs of every parser"

run:
	$(call install,$(RUN_PACKAGES))
	cargo build --release --locked
	exec target/release/tandem run

lint:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test:
	$(call install,$(TEST_PACKAGES))
	$(MAKE) lint
	cargo test --workspace --locked
	cargo build --locked
	npm --prefix web/client ci
	TANDEM=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug/tandem npm --prefix web/client test

bench:
	$(call install,$(BENCH_PACKAGES))
	cargo bench --locked --bench commits
	cargo bench --locked --bench rtp_load
	cargo bench --locked -p chaos-tests --bench simulation
	cargo bench --locked --bench calls

# 100 calls over all phases. Ten rounds of `commands` are 1,000,000 acknowledged commands.
DRILL := TANDEM_OTHER=target/release/tandem-next target/release/tandem drill all --calls 100 --side-by-side 4

drill:
	$(call install,$(DRILL_PACKAGES))
	cargo build --release --locked --features next-version
	cp target/release/tandem target/release/tandem-next
	cargo build --release --locked
	$(DRILL) --rounds $${TANDEM_ROUNDS:-10} --output target/drills

# A hundred rounds of the faults that the promises are about, twenty of everything else.
MANY := leading-node-killed leading-node-frozen leading-node-cut-off node-frozen node-cut-off \
        leader-killed leader-frozen leader-cut-off

drill-long:
	$(call install,$(DRILL_PACKAGES))
	cargo build --release --locked
	$(DRILL) --rounds 20 $(addsuffix =100,$(MANY)) --output target/drills-long
	cp target/drills-long/table.md docs/drills.md
	TANDEM_SEEDS=$${TANDEM_SEEDS:-5000} cargo test --release --locked -p chaos-tests

fuzz:
	TANDEM_MUTATIONS=$${TANDEM_MUTATIONS:-5000000} cargo test --release --locked -p tandem-sip -p tandem-cluster -p tandem-center
