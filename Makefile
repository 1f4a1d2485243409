# Everything make does can be typed by hand; see README.md. `make help` lists what there is.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -ec
BIN := .venv/bin

# What to make a course from; without it the documents in examples/. A name with spaces is quoted once more:
# make demo FILES='"my notes.pdf" other.docx'
FILES ?=
# Further options of the command: make demo OPTIONS="--style practical --verbose".
OPTIONS ?=
# Further arguments of pytest: make test ARGS="-k relay".
ARGS ?=
# How many processes run the tests side by side, each with servers of its own: make test JOBS=1 runs them in order,
# JOBS=0 in one process, for a debugger.
JOBS ?= auto

# How long make prove-messages kills at random, how many messages a second it offers meanwhile, and how many are to be acknowledged at
# least: make prove-messages SECONDS=900 RATE=600 COUNT=500000.
SECONDS ?= 900
RATE ?= 200
COUNT ?= 0

# How many requests make prove-fuzz makes up for each operation in each of its phases.
EXAMPLES ?= 300

# Images that make images, sbom and push are about; all by default.
TARGETS ?=

export PYTHON

.PHONY: help env demo up down test test-local test-cluster lint format bench prove-faults prove-messages prove-fuzz prove-rolling prove-leaders prove-operator prove-operations prove-kafka audit lock tools images site sbom push cluster-up deploy cluster-down prove-checklist prove-images clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' Makefile

env: ## make .venv with everything needed to work on coursegen
	@scripts/environment dev

demo: ## turn documents into a course: make demo [FILES="a.pdf b.docx"] [OPTIONS=...]
	@scripts/environment local
	@export COURSEGEN_PARENT=$$PPID; exec $(BIN)/coursegen demo $(OPTIONS) $(FILES)

up: ## run the whole stack in the foreground
	@scripts/environment local
	@export COURSEGEN_PARENT=$$PPID; exec $(BIN)/coursegen up $(OPTIONS)

down: ## stop the stack: make down [OPTIONS=--purge]
	@scripts/environment local
	@exec $(BIN)/coursegen down $(OPTIONS)

test: ## run the tests: make test [ARGS="-k name"]
	@scripts/environment dev
	@JOBS=$(JOBS) exec scripts/test.sh $(ARGS)

test-local: ## only the tests that need no cluster, Helm or image builder
	@scripts/environment dev
	@PART=local JOBS=$(JOBS) exec scripts/test.sh $(ARGS)

test-cluster: ## only the tests on Kubernetes, of charts and of images: KUBECONFIG names the cluster
	@scripts/environment dev
	@PART=platform exec scripts/test.sh $(ARGS)

lint: ## ruff, mypy --strict, import contracts, shellcheck, hadolint, zizmor
	@scripts/environment dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck scripts/*.sh scripts/audit scripts/environment scripts/install-process scripts/lock .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --offline --quiet .github

format: ## put the code into its format
	@scripts/environment dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: ## measure, against others and against the bare database
	@scripts/environment dev
	@exec $(BIN)/python -m benchmarks $(ARGS)

prove-faults: ## repeat every fault often enough for the 3% rule (takes hours)
	@scripts/environment dev
	@export PROVE_FAULTS=100; exec $(BIN)/python -m pytest tests/faults --timeout 0 $(ARGS)

prove-messages: ## kill what carries messages hundreds of times, at random for SECONDS and one by one, measure what everysec loses and what poison costs, and try 10,000 times to read what is another's
	@scripts/environment dev
	@export PROVE_MESSAGES=$(SECONDS) PROVE_MESSAGES_RATE=$(RATE) PROVE_MESSAGES_COUNT=$(COUNT) PROVE_FAULTS=100; \
		exec $(BIN)/python -m pytest -s --timeout 0 tests/faults/test_messages_storm.py tests/faults/test_messages_killed.py \
		tests/faults/test_messages_owners.py tests/faults/test_messages_servers.py tests/faults/test_messages_everysec.py \
		tests/faults/test_messages_poison.py tests/integration/api/test_message_isolation.py \
		tests/integration/api/test_message_injection.py $(ARGS)

prove-fuzz: ## 20,000 requests made up from the api's own description, and more, with messages kept in both ways, with a token and without
	@scripts/environment dev
	@export COURSEGEN_FUZZ_EXAMPLES=$(EXAMPLES); \
		exec $(BIN)/python -m pytest -s --timeout 0 tests/integration/api/test_schemathesis.py $(ARGS)

prove-rolling: ## restart everything 20 times under load, on the cluster that KUBECONFIG names (takes an hour)
	@scripts/environment dev
	@export PROVE_ROLLING=20 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest tests/e2e/kubernetes/test_rolling.py -s --timeout 0 $(ARGS)

prove-leaders: ## many random elections, and 100 changes of leader on the cluster that KUBECONFIG names (takes an hour)
	@scripts/environment dev
	@export PROVE_LEADERS=100 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest --timeout 0 -s \
		tests/unit/services/kernel/lease/test_simulation.py tests/cluster/test_leader_changes.py $(ARGS)

prove-operator: ## the operator killed and stopped 20 times each, with 500 resources, rollouts undone twice, level 4 of the checklist, and the profile `operator` of skaffold, on the cluster that KUBECONFIG names (takes half an hour)
	@scripts/environment dev
	@export PROVE_OPERATOR=20 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest --timeout 0 -s \
		tests/cluster/test_skaffold_operator.py tests/operator/test_scale.py tests/e2e/operator/test_contract.py \
		tests/e2e/operator/test_failover.py tests/e2e/operator/test_level_4.py $(ARGS)

prove-operations: ## break each of the ten parts that verify-deployment.sh looks at, and mend it by its runbook, on the cluster that KUBECONFIG names (takes a quarter of an hour)
	@scripts/environment dev
	@export PROVE_OPERATIONS=1 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest --timeout 0 -s \
		tests/e2e/operator/test_parts.py $(ARGS)

prove-kafka: ## fetch Kafka, once, and carry messages by it, from Redis and back (needs Java 17 and Maven; takes minutes)
	@scripts/environment dev
	@python3 scripts/kafka.py >/dev/null
	@export COURSEGEN_REQUIRE_KAFKA=1; exec $(BIN)/python -m pytest tests/integration/transport -m kafka -n 0 $(ARGS)

prove-checklist: ## what changes something in the deployment checklist, as printed, on the cluster that KUBECONFIG names (takes minutes)
	@scripts/environment dev
	@export PROVE_CHECKLIST=1 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest --timeout 0 -s \
		tests/e2e/kubernetes/test_checklist_changes.py $(ARGS)

prove-images: ## every image built twice from nothing, with the same layers; PYTHON_IMAGE names the base (takes a quarter of an hour)
	@scripts/environment dev
	@export PROVE_IMAGES=1 COURSEGEN_REQUIRE_CLUSTER=1; exec $(BIN)/python -m pytest tests/images -k second_build --timeout 0 $(ARGS)

audit: ## ask PyPI for known vulnerabilities of everything that the locks name
	@scripts/environment dev
	@scripts/audit

lock: ## compile requirements/ anew: make lock [ARGS=--upgrade]
	@scripts/environment dev
	@scripts/lock $(ARGS)

tools: ## build what is missing of Helm and the other programs of scripts/tools.py
	@python3 scripts/tools.py helm helm3 actionlint kind-config skaffold >/dev/null

images: ## build the image of each process: make images [TARGETS=api]
	@scripts/build-images.sh $(TARGETS)

site: ## write docs as web pages into build/site, where runbook_url leads
	@scripts/environment dev
	@$(BIN)/python scripts/docs_site.py

sbom: ## write what each image is made of into build/sbom
	@scripts/environment dev
	@$(BIN)/python scripts/sbom.py --into build/sbom $$(scripts/image.sh names $(TARGETS))

push: ## push the images to the registry that IMAGE_PREFIX begins with
	@scripts/image.sh push $$(scripts/image.sh names $(TARGETS))

cluster-up: ## make a kind cluster, or say which one KUBECONFIG names
	@scripts/cluster.sh up

deploy: ## build the images, bring them to the cluster, install the chart
	@scripts/cluster.sh deploy

cluster-down: ## delete the kind cluster; of one that KUBECONFIG names, only the release
	@scripts/cluster.sh down

clean: ## remove what can be made again
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build
