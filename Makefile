# Targets use the tools of the active environment: pip install -e '.[test]' gives them all.
PYTHON ?= python

.PHONY: help check lint types test format gallery messages bench samples corpus corpus-score

help:
	@echo "check    lint, types and tests, as before every commit"
	@echo "lint     ruff, without changing anything"
	@echo "types    mypy, strict, on the package"
	@echo "test     the test suite"
	@echo "format   let ruff mend and format"
	@echo "gallery  render every sample run into reports/ and refresh the README"
	@echo "messages  collect what is to be translated and compile the catalogs"
	@echo "bench    print the benchmarks' ratios"
	@echo "corpus-score  judge the labelled corpus and keep the table"
	@echo "corpus   train the labelled corpus again (samples extra)"
	@echo "samples  train the sample runs again (samples extra; each script states its versions)"

check: lint types test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

gallery:
	$(PYTHON) -m tests.gallery && $(PYTHON) -m tests.readme

messages:
	$(PYTHON) -m tests.messages

bench:
	for bench in tests/benchmarks/[a-z]*.py; do $(PYTHON) $$bench || exit 1; done

samples:
	for story in sample_runs/generate/[a-z]*.py; do $(PYTHON) $$story || exit 1; done

corpus:
	$(PYTHON) tests/corpus/generate.py

corpus-score:
	$(PYTHON) tests/corpus/score.py --write
