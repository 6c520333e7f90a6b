# `make help` lists what people call.
.DEFAULT_GOAL := help
SHELL := /bin/sh
QUICK := $(or $(CARGO_TARGET_DIR),target)/quick/claude-code-hub

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup-build setup-test
setup-build:
	@sh scripts/setup.sh cmake
setup-test:
	@sh scripts/setup.sh cmake redis-server postgresql

.PHONY: run
run: setup-build ## build and start Claude Code Hub (data in ./data)
	cargo build --profile quick -p standalone --bin claude-code-hub
	$(QUICK)

.PHONY: demo
demo: setup-build ## the same with a simulated upstream and a short conversation through it
	cargo build --profile quick -p standalone --bin claude-code-hub
	$(QUICK) demo

.PHONY: db-shell
db-shell: ## sqlite3 or psql on the hub's database (DSN, else ./data/hub.sqlite)
	@bash scripts/db-shell.sh

.PHONY: test
test: setup-test ## all gates: format, lints, budgets, tests
	cargo fmt --all --check
	sh scripts/budgets.sh
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo nextest --version >/dev/null 2>&1; then \
		echo cargo nextest run --workspace; cargo nextest run --workspace; \
	else \
		echo cargo test --workspace; cargo test --workspace; \
	fi

.PHONY: test-clients
test-clients: setup-build ## the real SDKs and command-line clients through the product, against a simulated upstream
	sh clients/setup.sh
	cargo build -p standalone -p simulator --bins
	sh clients/run.sh

# SOAK: --rounds, --minutes, --seed, e.g. make soak SOAK="--rounds 100 --seed 7".
.PHONY: soak
soak: setup-build setup-test ## every part of the split shape killed, stopped, emptied under load; then the books beside the providers' record
	SOAK="$(SOAK)" cargo test -p split --test it -- --ignored --exact soak::soak --nocapture

.PHONY: check-compose
check-compose: ## Dockerfiles, compose files and the balancer, as far as that goes without a Docker engine
	@sh scripts/check-compose.sh

.PHONY: audit
audit: ## licences, sources and arrows of the dependency tree (cargo-deny)
	sh scripts/audit.sh

.PHONY: release
release: setup-build ## the optimised build for images and bench
	cargo build --release --workspace --bins

# BENCH: arguments, e.g. make bench BENCH="--case sse_2k --rounds 3".
.PHONY: bench
bench: setup-build ## speed beside bare Pingora and nginx, about 20 minutes; BENCH="--help" lists the options
	cargo build --release -p bench
	$(or $(CARGO_TARGET_DIR),target)/release/bench $(BENCH)
