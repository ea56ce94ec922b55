# make demo    everything that is needed, then the first scenario
# make test    everything that is needed, then the linters and all tests
# Each sets up only what is not there yet; a second call goes straight to the work.

BIN := .venv/bin

.PHONY: demo test lint kernel browser setup clean
.NOTPARALLEL:

demo: kernel
	$(BIN)/testbed run scenarios/oca-crash.yaml

test: lint kernel browser
	$(BIN)/pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kernel: setup
	$(BIN)/testbed kernel build

# What plays in tests/test_browser.py, which says what it lacks where this fails.
browser: setup
	-@./setup.sh chromium-headless-shell ffmpeg

setup:
	@./setup.sh

# The guest kernel stays: it is the user's, not this folder's (`testbed kernel path` says where).
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find testbed tests -name __pycache__ -prune -exec rm -rf {} +
