# make demo | test | lab | bench | bench-full | course | readme | site | slides | print | film: each sets up .venv when it is missing; nothing but Python, git and make is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
BIN := .venv/bin
export DDL_DATA := $(abspath $(or $(DDL_DATA),data))

# Where this is set, each of the many processes would compile PyTorch and pandas anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lab bench bench-full course readme site slides print film

demo: .venv/ready
	$(BIN)/ddl demo --out demo

# One thread a process: two notebooks run side by side; three tests, since some of them wait.
test: export OMP_NUM_THREADS := 1
test: export MPLBACKEND := agg
test: .venv/ready
	$(BIN)/ruff check -q nbs tests tools docs benchmarks setup.py
	$(BIN)/python tools/check_cells.py
	$(BIN)/nbdev_test --n_workers 2 --timing
	$(BIN)/python tools/check_sync.py
	$(BIN)/python -m pytest tests -q -n 3 --dist loadscope --no-loadscope-reorder

bench: .venv/ready
	$(BIN)/python benchmarks/bench.py

bench-full: .venv/ready
	$(BIN)/python benchmarks/bench.py --full

lab: .venv/ready
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) nbs/index.ipynb

course: .venv/ready
	$(BIN)/nbdev_export
	$(BIN)/python tools/course.py
	$(BIN)/nbdev_clean

readme: .venv/ready
	$(BIN)/python tools/readme.py

# To _site/html, from the notebooks as they are saved: nothing is executed.
site slides print: .venv/ready
	$(BIN)/python tools/pages.py $@

# A minute of what the detector sees; `make site` and `make slides` take it up. Of own footage: MODEL=runs/yard SOURCE=FOLDER.
MODEL ?= plaza
SOURCE ?= plaza:0,1,13
film: .venv/ready
	$(BIN)/python tools/film.py _film/film.webm $(MODEL) $(SOURCE)

# Not compiled at once: of twenty thousand files most are never imported, the others are compiled when they are.
.venv/ready: settings.ini setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python tools/check_opencv.py
	@touch $@
