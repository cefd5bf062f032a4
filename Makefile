# make run    set up, then answer a sample spoken question aloud
# make test   set up with the dev tools, then run every test, the longest on a part of their cases
# make test-full  the same on all cases: campaigns of damaged files, every spoken question
# make check  format, lint, types and the fast tests: the working loop
# make lint   format, lint and types alone
# make demo   open the voice chat page

PYTHON ?= python3
BIN := .venv/bin
# One thread a worker: workers of several would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4

# Compiled modules are kept: every process would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-full check lint format demo env dev models clean

run: env models
	@mkdir -p out
	@$(BIN)/stepaudio speak "What is the capital of France?" --voice ben -o out/question.wav
	@$(BIN)/stepaudio chat out/question.wav -o out/reply.wav
	@echo "Open the page with: make demo"

demo: env models
	@$(BIN)/stepaudio demo

test: dev models
	@$(BIN)/stepaudio models pull nano-kokoro
	@$(PYTEST) --dist loadfile --durations=25

test-full: export STEPAUDIO_TESTS := full
test-full: test

check: lint
	@$(PYTEST) -m "not slow and not e2e and not browser"

lint: dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

env:
	@$(PYTHON) bootstrap.py demo

dev:
	@$(PYTHON) bootstrap.py demo dev

models:
	@$(BIN)/stepaudio models pull nano

clean:
	@rm -rf .venv out runs build *.egg-info
