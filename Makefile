# `make repro` and `make test` do everything from a bare clone, the environment included. Nothing is installed outside it.
PY := .venv/bin/python
export PYTHONHASHSEED := 0
SLOW := slow
BENCH := build_shards build_workers load_shards memory_build
.PHONY: help setup setup-dev lock lint audit types floors test test-slow bench repro server worker server-status server-stop clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14
setup: ## the environment, in .venv, from requirements.lock
	@scripts/setup.sh requirements.lock
setup-dev: ## the same and the tools of the developers
	@scripts/setup.sh requirements-dev.lock
lock: setup-dev ## resolve both lock files anew
	scripts/lock.sh
lint: setup-dev ## style and security
	$(PY) -m ruff check . && $(PY) -m bandit -q -ll -c pyproject.toml -r textgan pipeline flows benchmarks scripts
audit: setup ## known vulnerabilities of the locked packages (asks the internet)
	@$(PY) scripts/audit.py requirements.lock
types: setup-dev ## mypy
	$(PY) -m mypy
floors: setup-dev ## who may import whom
	.venv/bin/lint-imports
test: setup-dev ## the tests that take no server and no minutes
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow"
test-slow: setup-dev ## browser, servers, kills
	$(PY) -m pytest -m "$(SLOW)"
bench: setup-dev ## speed and memory of the data stages beside their bars, 1 where one is missed (on photos where TEXTGAN_LSUN_ROOT is set)
	@missed=; for bench in $(BENCH); do echo "== $$bench"; check=; ! grep -q '"--check"' benchmarks/$$bench.py || check=--check; \
	$(PY) benchmarks/$$bench.py $$check || missed="$$missed $$bench"; done; test -z "$$missed" || { echo "missed or failed:$$missed" >&2; exit 1; }
repro: setup ## the whole graph: pictures, metrics, report, artifacts
	@.venv/bin/textgan repro
server: setup ## a Prefect server on loopback, workers, deployments
	@$(PY) -m flows.server start
worker: setup ## this machine's workers for the server at PREFECT_API_URL
	@$(PY) -m flows.server worker
server-status: ## which parts run, which runs wait for a worker
	@$(PY) -m flows.server status
server-stop: ## end server and workers
	@$(PY) -m flows.server stop
clean: ## what the stages made (the DVC cache and the storage stay)
	rm -rf data models runs report/index.html report/paper .state/unfinished
