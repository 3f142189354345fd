# Every target sets up what it needs: `make demo` and `make test` work in a fresh clone.
#
#   make demo         train HalfCheetah-v5 for some minutes, then score it in Gymnasium
#   make reach        SAC teaches the Fetch arm to reach, for five minutes; its score, its film, and PPO beside it
#   make test         the tests that need neither a GPU nor much time
#   make test-all     all tests
#   make coverage     make test, and which lines of mjxrl/ it runs; at least 90 % of them
#   make test-gpu     the tests that need an NVIDIA GPU
#   make check        ruff, pyright, and that imports run downward
#   make docs         the site, into build/site
#   make docs-check   run every command that the site shows
#   make docs-look    pictures of every page, and whether one is wider than a telephone (needs Chromium)
#   make install      only create .venv
#   make lock         uv.lock anew, with the versions of constraints.txt (needs uv)
#
# A machine without an NVIDIA GPU can take torch's CPU build, which is much smaller:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Another interpreter than python3:   make demo PYTHON=python3.12

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
STAMP := $(VENV)/.installed
# two processes, a file of tests stays in one: it shares what it has compiled
SIDE_BY_SIDE := -n 2 --dist loadfile

.PHONY: demo reach test coverage test-all test-gpu check lock docs docs-check docs-look install clean
.DEFAULT_GOAL := demo

# thousands of worlds where there is a GPU, a few elsewhere
demo: $(STAMP)
	@$(VENV)/bin/mjxrl-train --env HalfCheetah-v5 --algo td3 --max-minutes 5 \
		--run-dir runs/demo-$$(date +%Y%m%d-%H%M%S)

reach: $(STAMP)
	@set -e; run=runs/reach-$$(date +%Y%m%d-%H%M%S); \
	$(VENV)/bin/mjxrl-train --env FetchReachDense-v4 --algo sac --max-minutes 5 --eval.final-episodes 100 --run-dir $$run; \
	$(VENV)/bin/python benchmarks/ppo.py --env FetchReachDense-v4 --max-minutes 5 --run-dir $$run-ppo; \
	$(VENV)/bin/mjxrl-record $$run --grid; \
	$(VENV)/bin/mjxrl-compare $$run --ppo $$run-ppo --out $$run

test: $(STAMP)
	@$(VENV)/bin/python -m pytest -q $(SIDE_BY_SIDE) -m "not gpu and not slow"

coverage: $(STAMP)
	@$(VENV)/bin/python -m pytest -q $(SIDE_BY_SIDE) -m "not gpu and not slow" --cov=mjxrl --cov-report=term --cov-fail-under=90

test-all: $(STAMP)
	@$(VENV)/bin/python -m pytest -q $(SIDE_BY_SIDE)

test-gpu: $(STAMP)
	@MJXRL_TEST_DEVICE=cuda $(VENV)/bin/python -m pytest -q -m gpu

check: $(STAMP)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports --no-logo --no-cache

docs: $(STAMP)
	@$(VENV)/bin/python docs/tools/tables.py
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --quiet --strict
	@echo "build/site/index.html"

docs-check: $(STAMP)
	@$(VENV)/bin/python docs/tools/check.py

docs-look: docs
	@$(VENV)/bin/python docs/tools/look.py

install: $(STAMP)

lock:
	@uv lock $$(sed -n 's/ *#.*//; s/^\([A-Za-z0-9_.-]*\)==\(.*\)/-P \1==\2/p' constraints.txt)

clean:
	rm -rf $(VENV) build *.egg-info

# The first of these interpreters that is new enough makes the environment.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	python=; \
	for candidate in "$(PYTHON)" python3.13 python3.12 python3.11; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1):" \
			"install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "error: $$python has no venv module: install it (on Debian or Ubuntu:" \
			"apt install $$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))" >&2; exit 1; \
	fi; \
	extras=dev; \
	if nvidia-smi >/dev/null 2>&1; then extras=dev,cuda; fi; \
	echo "installing mjxrl[$$extras] into $(VENV) with $$("$$python" --version)"; \
	[ -x $(VENV)/bin/python ] || "$$python" -m venv $(VENV); \
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e ".[$$extras]"; \
	touch $@
