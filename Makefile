# Two commands do all the set-up: `make demo` and `make test`.
# All builds share one target directory that outlives a checkout: RocksDB takes long to compile.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/millpond/target
CARGO = cargo
PROFILE = --release

ROUNDS ?= 50
SEED ?= 1
SECONDS ?= 1800

VECTORS ?= integration-tests/vectors

.PHONY: demo test check bench conformance repeat faults chaos failover simulate simulate-bugs build setup setup-test

demo: setup ## Run the main job: three instances on the embedded log, all flights, queries. ARGS=--exit ends when all answers are right.
	$(CARGO) run $(PROFILE) -p flights -- demo $(ARGS)

test: setup-test ## Pass all tests, those on a real Kafka and of the chart included.
	$(CARGO) build $(PROFILE) --workspace --bins
	$(CARGO) test $(PROFILE) --workspace
	k8s/check

check: setup ## What CI asks beside the tests: format, lints, docs.
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(PROFILE) --workspace --no-deps

bench: setup-test ## Time from a record's append to its being visible in a query on another instance.
	$(CARGO) run $(PROFILE) -p integration-tests --bin visibility

conformance: setup ## Replay what Kafka Streams does, record by record. VECTORS=<folder of files <topology>.<seed>.json>
	$(CARGO) run $(PROFILE) -p integration-tests --bin conformance -- $(VECTORS)

repeat: setup-test ## The three-process test, N times in a row (default 10).
	$(CARGO) build $(PROFILE) --workspace --bins
	for n in $$(seq $(or $(N),10)); do $(CARGO) test $(PROFILE) -p integration-tests --test three_instances || exit 1; done

faults: setup-test ## Rounds of faults by seed: kills at every step, zombies, a broker that crashes, damaged tables. ROUNDS=50 SEED=1
	$(CARGO) build $(PROFILE) -p integration-tests --bins
	$(CARGO) run $(PROFILE) -p integration-tests --bin faults -- --rounds $(ROUNDS) --seed $(SEED)

chaos: setup-test ## Five instances, everything that can go wrong at random, several things at once. SECONDS=1800 SEED=1
	$(CARGO) build $(PROFILE) -p integration-tests --bins
	$(CARGO) run $(PROFILE) -p integration-tests --bin faults -- --chaos $(SECONDS) --seed $(SEED)

failover: setup-test ## What losing an instance costs: kill -9, a freeze, a rolling restart, a fourth instance; some minutes. ARGS="kill --times 10"
	$(CARGO) build $(PROFILE) -p integration-tests --bins
	$(CARGO) run $(PROFILE) -p integration-tests --bin failover -- $(ARGS)

simulate: setup ## Whole instances in one thread with everything going wrong, by seed; one alone: ARGS="--seed 17". SEEDS=10000
	$(CARGO) run $(PROFILE) -p integration-tests --bin simulate -- --seeds $(or $(SEEDS),10000) $(ARGS)

simulate-bugs: setup ## Whether the simulation finds deliberate bugs in release, fencing and promotion, each within 1000 seeds; some minutes.
	$(CARGO) build $(PROFILE) -p integration-tests --bin simulate
	SEEDS=$(or $(SEEDS),1000) integration-tests/bugs/find

build: setup
	$(CARGO) build $(PROFILE) --workspace --all-targets

setup:
	@.ci/setup build

setup-test:
	@.ci/setup test
