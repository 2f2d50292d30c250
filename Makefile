# Each target is a few commands that can as well be typed.

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-peers bench-rules

# quick or full, and what else `bench --help` names
BENCH ?= quick

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

demo: ## Show it working: server, agent, a cluster, and kubectl through the tunnel
	cargo build --locked --bins
	cargo run --locked --quiet --bin demo

test: ## Run all tests, ring by ring (tests/run unit: one ring)
	tests/run

lint: ## Check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: ## Measure, beside other tunnels (BENCH=full: all of it, for docs/benchmarks.md)
	cargo run --locked --release -p ci-tunnel-benches -- $(BENCH)

bench-peers: ## Build the tunnels that `bench` compares with, at pinned versions
	benches/peers/build.sh

bench-rules: ## Measure how fast rules are decided
	cargo bench --locked -p ci-tunnel-server --bench rules
