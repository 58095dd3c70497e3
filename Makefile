# The two commands of the README are `make demo` and `make test`; both do the set-up first.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo test tidy bench fuzz clean

CMAKE := .toolchain/bin/cmake
JOBS ?= $(shell nproc)
# Builds that `make test` goes through (of release asan asan-cluster tsan fuzz), and what `make demo` trains (a
# folder and a file, or ours).
BUILDS ?= release asan tsan
MODEL ?=
DATA ?=
# The trainer opens libratchet_cuda.so where a GPU is; the demo on other machines does without.
GPU_TARGETS := $(if $(wildcard /dev/nvidia0),ratchet_cuda)

# What CMake says is shown only when it fails; ninja shows its progress.
configure = mkdir -p build && { $(CMAKE) --preset release $(1) >build/configure.log 2>&1 || \
	{ cat build/configure.log; exit 1; }; }

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1|/' | \
	  awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup:  ## Install what the product builds with (safe to repeat)
	@deploy/setup.sh build

setup-test:  ## Install what the tests need as well
	@deploy/setup.sh test

build: setup-test  ## Build everything in build/release: product, tests, benchmarks
	@$(call configure,-DRATCHET_TESTS=ON -DRATCHET_BENCH=ON)
	@$(CMAKE) --build build/release -j $(JOBS)

demo: setup  ## Train, kill node, control plane and agent, compare: MODEL=folder DATA=file.jsonl take your own
	@test -f build/release/build.ninja || \
	  { $(call configure,-DRATCHET_TESTS=OFF -DRATCHET_BENCH=OFF); }
	@$(CMAKE) --build build/release -j $(JOBS) --target ratchet-trainer \
	  ratchet-control ratchet-agent ratchet $(GPU_TARGETS)
	@MODEL='$(MODEL)' DATA='$(DATA)' deploy/demo/demo.sh

test: setup-test  ## Build and run every test; BUILDS="release asan asan-cluster tsan fuzz" for all
	@JOBS=$(JOBS) deploy/test.sh $(BUILDS)

tidy: setup-test  ## clang-tidy over all of our code (not part of `make test`)
	@$(call configure,-DRATCHET_TESTS=ON -DRATCHET_TIDY=ON)
	@.toolchain/bin/ctest --test-dir build/release -R tidy_clang --output-on-failure

fuzz: setup-test  ## Only the fuzz harnesses
	@JOBS=$(JOBS) deploy/test.sh fuzz

bench: build  ## Run the benchmarks of bench/; results and method lie there
	@bench/run.sh

clean:  ## Remove what was built; set-up stays
	rm -rf build
