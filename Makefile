# Everything sets itself up in .venv; Python 3.10 or newer is all it needs.
PYTHON ?= python3
BIN := .venv/bin
# Processes that test side by side; each takes up to 3 GB.
JOBS ?= 2
export KERAS_SPARSE_ARM64 ?= $(CURDIR)/.venv/arm64

.PHONY: demo test test-backends test-arm64 test-dist test-oldest benchmarks \
  benchmarks-quick check docs setup clean

demo: setup           ## train, prune and export LeNet-5; under three minutes
	TF_ENABLE_ONEDNN_OPTS=$${TF_ENABLE_ONEDNN_OPTS:-1} $(BIN)/keras-sparse demo

test: setup           ## the tests, on TensorFlow (JAX and torch where present)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal \
	  --durations=15

test-backends: setup  ## installs JAX and torch, and runs their tests
	$(BIN)/python -m pip install -q -e '.[jax,torch]'
	$(BIN)/python -m pytest -q tests/test_backends.py

test-arm64: setup     ## exported files on an emulated ARM64 phone CPU
	$(BIN)/python -m keras_sparse.export.arm64.set_up
	$(BIN)/python -m pytest -q tests/arm64

test-dist: setup      ## the wheel, as installed, with the tests of the sdist
	rm -rf build
	$(BIN)/python -m build -o build . > build.log 2>&1 || (cat build.log; false)
	mv build.log build
	$(BIN)/python -m pip install -q --no-deps --target build/installed build/*.whl
	mkdir build/source
	tar -xzf build/*.tar.gz -C build/source --strip-components=1
	rm -r build/source/keras_sparse
	cd build/source && PYTHONPATH=$(CURDIR)/build/installed \
	  $(CURDIR)/$(BIN)/python -c "import keras_sparse as ks, sys; \
	  sys.exit('build/installed' not in ks.__file__)"
	cd build/source && PYTHONPATH=$(CURDIR)/build/installed \
	  $(CURDIR)/$(BIN)/python -m pytest -q tests/test_public_api.py \
	  tests/test_sparsify.py tests/test_saving.py tests/test_export.py

test-oldest: .venv/oldest/installed  ## on the oldest versions that are allowed
	PYTHONPATH=. .venv/oldest/bin/python -m pytest -q -p no:warnings \
	  tests/test_sparsify.py tests/test_saving.py tests/test_gaussian.py \
	  tests/test_export.py tests/test_structured_shrink.py \
	  tests/test_hard_concrete.py tests/test_learned_threshold.py \
	  tests/test_weight_gate.py tests/test_tri_state_relu.py \
	  tests/test_group_sparsity.py tests/test_lottery_ticket.py \
	  tests/test_xnnpack_rules.py \
	  tests/test_distribute_jax.py::test_gaussian_on_virtual_devices

.venv/oldest/installed: .ci/oldest.txt
	$(PYTHON) -m venv .venv/oldest
	.venv/oldest/bin/python -m pip install -q -r .ci/oldest.txt
	touch $@

benchmarks: setup     ## all of them, then their tables: days; ONLY="..." for some
	$(BIN)/python benchmarks/run_all.py $(if $(ONLY),--only $(ONLY))

benchmarks-quick: setup  ## whether each of them still runs, in minutes
	$(BIN)/python benchmarks/run_all.py --quick --jobs $(JOBS) \
	  $(if $(ONLY),--only $(ONLY))

check: setup          ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

docs: setup           ## the documentation, in docs/_build/index.html
	$(BIN)/python -m sphinx -q -b html docs docs/_build

clean:
	rm -rf .venv
