# Two commands matter: `make demo` and `make test`. Both set up what they need and may be run again at any time.
SHELL := /bin/bash
ICE   := target/debug/ice
DEMO  := target/demo

.PHONY: help setup build plugins demo test check fuzz fmt bench clean

help:            ## What can be made
	@grep -hE '^[a-z-]+: .*##' Makefile | sed -E 's/: [^#]*## */\t/' | expand -t 12

setup:           ## Install what building and testing need (Debian packages, crate and Python registries)
	@.ci/setup

build: setup     ## Build the host (`target/debug/ice`)
	@.ci/timed "build the host" cargo build --locked -p ice-cli

plugins: build   ## Build every plugin from source into wasm components (only what changed)
	@.ci/timed "build the plugins" $(ICE) plugins build

demo: plugins    ## Sign the plugins with a development key, trust it, and ask a document a question
	@ICE=$(ICE) ICE_HOME=$(CURDIR)/$(DEMO) .ci/timed "demo" .ci/demo

test: plugins    ## Run every test
	@.ci/timed "test" cargo test --locked --workspace --no-fail-fast
	@.ci/timed "test the SDK and the kits natively" .ci/test-guests

check:           ## Formatting, lints, licences
	cargo fmt --all --check && cargo fmt --manifest-path plugins/Cargo.toml --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	.ci/deny

fuzz:            ## Try every reader of foreign bytes with mutated input (SECONDS_EACH=20)
	@.ci/timed "fuzz" .ci/fuzz

fmt:             ## Format everything
	cargo fmt --all && cargo fmt --manifest-path plugins/Cargo.toml --all

bench: plugins   ## Measure in release and print the table beside the peers and the floor
	@tests/bench/run

clean:           ## Remove everything built
	rm -rf target plugins/target
