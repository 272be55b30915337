# make demo   train, prune and export LeNet-5; writes runs/demo/report.html
# make demo-photos  a folder of pictures and a model of one's own: two small
#             networks of it, LiteRT files, a report, an Android project, in
#             runs/photos; of the flowers of TensorFlow, or of digits without
#             a network
# make test   the tests
# make fuzz   the tests, with more of all that is drawn at random: 200 examples
#             of each property, others in every run, 5,000 random graphs
#             (FUZZ_GRAPHS=n for another number), every family of
#             keras.applications, all training on JAX
# make mutants  one-line faults, each of which the tests must notice
#             (ONLY="scad parity" for those that contain one of these words)
# make arm    the exported files by real Arm code (qemu), against this machine
#             (FILES="runs/demo other.tflite" for others, CPU=neoverse-n1)
# make setup  the environment alone (.venv)
# make lint   style
# make clean  remove the environment and caches, keep runs/

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo demo-photos test fuzz mutants arm lint clean

setup: .venv/installed

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/keras-nonconvex compress demo --force

demo-photos: .venv/installed
	rm -rf runs/photos
	$(BIN)/python examples/own_pictures.py runs/photos
	$(BIN)/keras-nonconvex compress runs/photos/mine.keras --data runs/photos/pictures --macs 50% 25% --precision float32 int8 --out runs/photos/run
	$(BIN)/keras-nonconvex android runs/photos/run --out runs/photos/android

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

fuzz: .venv/installed-dev
	HYPOTHESIS_PROFILE=fuzz FUZZ_GRAPHS=$${FUZZ_GRAPHS:-5000} $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

mutants: .venv/installed-dev
	PYTHONPATH=tests $(BIN)/python -m mutants $(ONLY)

arm: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m arm $(FILES) $(if $(CPU),--cpu $(CPU))

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
