# The one door for people and for CI: `make help` lists what there is.
NODE := node_modules/.bin/node
STAMP := node_modules/.installed
UNIT := "certs/*.test.ts" "deploy/**/*.test.ts" "services/**/*.test.ts" "test/helpers/**/*.test.ts" "test/alerts/*.test.ts" "test/bench/**/*.test.ts" "test/telemetry/shipped-files.test.ts" "test/house/*.test.ts" "test/mutants/**/*.test.ts" "test/simulation/*.test.ts"
E2E := "test/e2e/**/*.test.ts"
PACKAGE := "test/package/**/*.test.ts"
NATIVE := services/pqc-source/native
ADDON := $(NATIVE)/liboqs-node.node
FUZZ := "test/fuzz/**/*.test.ts"

# Stripped and compiled modules are kept between processes: hundreds of test files load the same ones.
export NODE_COMPILE_CACHE := $(CURDIR)/node_modules/.cache/keyweave

.PHONY: bench engines mutants simulate simulate-self-test help native native-doctor native-test doctor browser-doctor screenshots install demo test check unit e2e fuzz fuzz-quick package-test notice notice-check release gen gen-check lint typecheck certs clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

doctor: ## say what this machine lacks, and the command that gets it
	@command -v npm >/dev/null || { echo "missing: npm; on Debian: apt-get install npm" >&2; exit 1; }
	@case "$$(uname -s)-$$(uname -m)" in \
	  Linux-x86_64|Linux-aarch64|Darwin-arm64|Darwin-x86_64) ;; \
	  *) echo "missing: a Node 26 package on npm for this machine ($$(uname -s) $$(uname -m))" >&2; exit 1 ;; esac
	@if [ "$$(uname -s)" = Linux ] && command -v ldconfig >/dev/null && ! ldconfig -p | grep -q libatomic.so.1; then \
	  echo "missing: libatomic1, which Node needs; on Debian: apt-get install libatomic1" >&2; exit 1; fi

browser-doctor: ## get the browser that the console is tested in from Debian, as root, or say how to get it
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing chromium" && apt-get update -q && apt-get install -qy chromium; } || { \
	  echo "missing: chromium, in which the console is tested; on Debian: apt-get install chromium" >&2; exit 1; }

install: doctor $(STAMP) ## install the packages, Node 26 among them

$(STAMP): package.json package-lock.json
	npm ci --no-audit --no-fund
	@$(NODE) --version >/dev/null || { echo "the installed Node does not start; on Debian: apt-get install libatomic1" >&2; exit 1; }
	@touch $@

demo: install ## three nodes on this machine, equal keys at both ends
	bin/keyweave demo

test: browser-doctor check unit fuzz-quick e2e package-test ## every test that this machine can run, the quick ones first
	@echo "left to other targets: test-containers (images, as root), test-kubernetes (a cluster, as root), test-telemetry (Go), native-test (liboqs by its own known answers), simulate-self-test,"
	@echo "  engines with KEYWEAVE_LIBOQS_NODE=/nowhere (without the native engine), mutants, bench, fuzz (each decoder for minutes)"

check: lint typecheck gen-check notice-check ## static checks and shipped configuration
	bin/keyweave check-config --elsewhere deploy/config/* deploy/containers/*
	@for node in deploy/containers/*; do bin/keyweave check-config --elsewhere --config $$node/telemetry.json --peers $$node/trusted_peers_info.json || exit 1; done

unit: install ## tests of single pieces
	$(NODE) --test $(UNIT)

fuzz: install ## random and hostile input for each decoder, 300 s each (FUZZ_SECONDS=60 ARGS="skip-requests …"); whole conversations
	$(NODE) test/fuzz/main.ts $(ARGS)

fuzz-quick: install ## the same, two minutes in all, as 'make test' has it (FUZZ=test/fuzz/….test.ts; FUZZ_SEED, FUZZ_PATH to have a failure again)
	$(NODE) --test --test-concurrency=1 $(FUZZ)

package-test: install ## what npm pack makes, installed into an empty folder and run there (needs the npm registry)
	$(NODE) --test --test-concurrency=1 $(PACKAGE)

e2e: install ## whole nodes, real processes, faults
	$(NODE) --test --test-concurrency=1 $(E2E)

mutants: install ## plant small faults, one at a time: do the tests find them? (ARGS="--rooms hybridizer --sample 50")
	$(NODE) test/mutants/main.ts $(ARGS)

screenshots: install browser-doctor ## the pictures of docs/console.md, from a real network
	$(NODE) --disable-warning=ExperimentalWarning test/screenshots/main.ts

simulate: install ## two or three gateways in one process and a simulated world of faults (ARGS="--seconds 600")
	$(NODE) --disable-warning=ExperimentalWarning test/simulation/main.ts $(ARGS)

simulate-self-test: install ## plant faults of agreement, one at a time: does the simulation find them?
	$(NODE) --disable-warning=ExperimentalWarning test/simulation/self-test.ts

engines: install ## what depends on which KEM engines there are: pqc-source, every KEM through whole nodes
	$(NODE) --test "services/pqc-source/*.test.ts" services/pqc-source/engines/known-answers.test.ts
	$(NODE) --test test/e2e/all-kems.test.ts

bench: install ## keys on time, speed, CPU per key by service, memory (ARGS="--compare DIR …")
	$(NODE) test/bench/main.ts $(ARGS)

native: $(ADDON) ## the native KEM engine: all 29 KEMs at native speed (needs cargo, cmake, libclang)

$(ADDON): $(NATIVE)/Cargo.toml $(NATIVE)/Cargo.lock $(NATIVE)/build.rs $(wildcard $(NATIVE)/src/*.rs)
	@$(MAKE) --no-print-directory native-doctor
	cargo build --release --locked --manifest-path $(NATIVE)/Cargo.toml
	@cp $(NATIVE)/target/release/libliboqs_node.$$(test "$$(uname -s)" = Darwin && echo dylib || echo so) $@.new && mv $@.new $@

native-test: $(ADDON) ## liboqs against its own known answers
	cargo test --release --locked --manifest-path $(NATIVE)/Cargo.toml --test known_answers

native-doctor:
	@command -v cargo >/dev/null || { echo "missing: cargo 1.88 or newer; see https://rustup.rs" >&2; exit 1; }
	@command -v cmake >/dev/null || { echo "missing: cmake; on Debian: apt-get install cmake" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "missing: a C compiler; on Debian: apt-get install build-essential" >&2; exit 1; }
	@if [ "$$(uname -s)" = Linux ] && [ -z "$$LIBCLANG_PATH" ] && ! ls /usr/lib/llvm*/lib /usr/lib64 /usr/lib /usr/lib/*-linux-* 2>/dev/null | grep -qE '^libclang(-[0-9]+)?\.so'; then \
	  echo "missing: libclang; on Debian: apt-get install libclang-dev" >&2; exit 1; fi

notice: install ## list the licences of all third-party packages anew in NOTICE
	$(NODE) deploy/package/notice.ts

notice-check: install
	@$(NODE) deploy/package/notice.ts --check

release: install ## the package, its bill of materials, the addon, checksums; the image where there is an engine
	$(NODE) deploy/package/release.ts

gen: install ## generate proto/gen from the contracts, deploy/schemas from the configuration's schema and the README, the chart's page
	cd proto && ../node_modules/.bin/buf generate
	$(NODE) deploy/schemas/descriptors.ts proto/gen
	$(NODE) deploy/schemas/generate.ts deploy/schemas
	$(NODE) deploy/helm/generate.ts deploy/helm/keyweave

gen-check: install ## what is committed is what 'make gen' makes
	@rm -rf .cache/gen && mkdir -p .cache/gen
	@cd proto && ../node_modules/.bin/buf generate --output ../.cache/gen
	@$(NODE) deploy/schemas/descriptors.ts .cache/gen/gen
	@diff -r proto/gen .cache/gen/gen || { echo "proto/gen is out of date: run 'make gen'" >&2; exit 1; }
	@rm -rf .cache/schemas && mkdir -p .cache/schemas && $(NODE) deploy/schemas/generate.ts .cache/schemas
	@for file in .cache/schemas/*.json; do diff deploy/schemas/$${file##*/} $$file || { echo "deploy/schemas is out of date: run 'make gen'" >&2; exit 1; }; done
	@rm -rf .cache/helm-pages && mkdir -p .cache/helm-pages && $(NODE) deploy/helm/generate.ts .cache/helm-pages
	@for file in .cache/helm-pages/*; do diff deploy/helm/keyweave/$${file##*/} $$file || { echo "deploy/helm/keyweave is out of date: run 'make gen'" >&2; exit 1; }; done

lint: install ## biome, which room imports which, buf
	node_modules/.bin/biome check --error-on-warnings .
	$(NODE) test/house/main.ts
	cd proto && ../node_modules/.bin/buf lint

typecheck: install ## tsc, strict
	node_modules/.bin/tsc --noEmit
	node_modules/.bin/tsc --noEmit --project services/gateway/frontends/console/page

certs: install ## a CA and the certificates of the shipped nodes, under certs/out
	@test -f certs/out/ca/ca.crt || bin/keyweave certs ca
	@for node in deploy/config/*; do bin/keyweave certs issue --config $$node/config.json || exit 1; done

.PHONY: images up down logs driver test-containers test-kubernetes test-telemetry sizing

images: ## build the container image (KEYWEAVE_NATIVE=build|prebuilt|skip)
	deploy/network images

up: ## three nodes in containers, with simulated key managers (TELEMETRY=1: and Prometheus, Grafana, Jaeger)
	TELEMETRY="$(TELEMETRY)" deploy/network up

down: ## stop them and remove all that they made
	@deploy/network down

logs: ## follow the containers' logs
	@deploy/network logs

driver: ## one key at both of two nodes in containers: A=Alice B=Bob
	@deploy/network driver $(A) $(B)

test-containers: install ## the image and the three nodes in an engine, with faults
	$(NODE) test/containers/main.ts

test-telemetry: install ## nodes watched by the real collector, Jaeger and Prometheus on the shipped files (needs Go, which builds them once); in containers, too, as root
	$(NODE) --disable-warning=ExperimentalWarning --test test/telemetry/observed-network.test.ts
	$(NODE) --disable-warning=ExperimentalWarning test/telemetry/main.ts

test-kubernetes: install ## the chart in a real Kubernetes, built and started here or that of KUBECONFIG (ARGS="install upgrades", up, down)
	$(NODE) --disable-warning=ExperimentalWarning test/kubernetes/main.ts $(ARGS)

sizing: install ## replicas for a key rate, from what bench measured (ARGS="--rates 100,1000")
	$(NODE) test/bench/sizing.ts $(ARGS)

clean: ## remove what was made, the packages too
	rm -rf node_modules .cache certs/out dist release
