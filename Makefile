# SPDX-License-Identifier: Apache-2.0
# On a fresh Debian or Ubuntu with Python >= 3.10 and g++:
#   make demo    set up .venv, make a drive with known ground truth, convert, check, show and upload it, all in demo-output/
#   make test    set up a ROS 2 from wheels as well, and run the linters and the whole test suite
#   make test ROS=jazzy   the live tests alone, on the wheels of another distribution, in .venv-jazzy
#   make lint    the linters alone
#   make coverage   the whole suite, and what of the package it runs; fails below COVERAGE_FLOOR percent
#   make pictures   make the pictures of the documents anew
#   make clean   remove everything that the others made
# The live tests, which drive in real time and mostly wait, come last, LIVE_WORKERS files of them at a time, each test in a
# ROS domain of its own; WORKERS is for all others, one more than cores, since some of them wait as well.
# One that fails is run once more, and reported as rerun: discovery between processes may fail on a stalled machine.
# Another Python: make test PYTHON=python3.12. Arguments for pytest: make test PYTEST_ARGS='-k deskew'.

PYTHON ?= python3
PYTEST_ARGS ?=
WORKERS ?= $(shell expr $$(nproc) + 1)
LIVE_WORKERS ?= $(shell nproc)
# Without paths in PYTEST_ARGS; pytest by itself runs less.
EVERYWHERE := -o testpaths=test
ROS ?= kilted
COVERAGE_FLOOR := 70
VENV := .venv$(if $(filter-out kilted,$(ROS)),-$(ROS))
BIN := $(VENV)/bin
SETUP := $(PYTHON) tools/environment.py

# A sourced ROS 2 must not mix with the one from wheels.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE
ifdef ROS_DISTRO
unexport LD_LIBRARY_PATH
endif
export ROS_LOG_DIR := $(CURDIR)/$(VENV)/ros-log
export ROS

.PHONY: demo test lint pictures coverage clean core dev

demo: core
	@tools/demo.sh $(BIN) demo-output

ifneq ($(VENV),.venv)
test: dev
	@$(SETUP) ros
	AMENT_PREFIX_PATH="$(CURDIR)/$(VENV)" $(BIN)/python -m pytest $(EVERYWHERE) -m "live and not slow" --reruns 1 $(PYTEST_ARGS)
	@cat $(VENV)/not-run.txt 2>/dev/null || true
else
test: dev
	@$(SETUP) ros client lidar_io sfs nuscenes cloudini
	$(MAKE) --no-print-directory check
	@if [ -e .venv-client/.done-client ]; then export NUCLEUS_BRIDGE_CLIENT_PYTHON="$(CURDIR)/.venv-client/bin/python"; fi; \
	if [ -e .venv-lidar-io/.done-lidar_io ]; then export NUCLEUS_BRIDGE_LIDAR_IO_PYTHON="$(CURDIR)/.venv-lidar-io/bin/python"; fi; \
	if [ -e .venv-sfs/.done-sfs ]; then export NUCLEUS_BRIDGE_SFS_PYTHON="$(CURDIR)/.venv-sfs/bin/python"; fi; \
	if [ -e .venv-nuscenes/.done-nuscenes ]; then export NUCLEUS_BRIDGE_NUSCENES_PYTHON="$(CURDIR)/.venv-nuscenes/bin/python"; fi; \
	if [ -e .venv-cloudini/.done-cloudini ]; then export NUCLEUS_BRIDGE_CLOUDINI_PYTHON="$(CURDIR)/.venv-cloudini/bin/python"; fi; \
	export AMENT_PREFIX_PATH="$(CURDIR)/.venv"; \
	failed=0; set -x; \
	$(BIN)/python -m pytest $(EVERYWHERE) -n $(WORKERS) -m "not live and not slow" $(PYTEST_ARGS) || [ $$? = 5 ] || failed=1; \
	$(BIN)/python -m pytest $(EVERYWHERE) -n $(LIVE_WORKERS) --dist loadfile -m "live and not slow" --reruns 1 $(PYTEST_ARGS) || [ $$? = 5 ] || failed=1; \
	exit $$failed
	@cat .venv/not-run.txt 2>/dev/null || true
endif

coverage: dev
	@rm -f .coverage
	$(MAKE) --no-print-directory test PYTEST_ARGS="--cov --cov-append --cov-report= $(PYTEST_ARGS)"
	$(BIN)/coverage report --skip-covered --sort=cover --fail-under=$(COVERAGE_FLOOR)

pictures: dev
	@$(BIN)/python tools/pictures.py

lint: dev check

check:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tools/words.py

core dev:
	@$(SETUP) $@

clean:
	rm -rf .venv .venv-jazzy .venv-client .venv-lidar-io .venv-sfs .venv-nuscenes .venv-cloudini demo-output build dist site
	rm -rf *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
