"""What a newcomer runs first: the README's code, the examples, the demo."""

import pathlib
import re
import subprocess
import sys

import pytest

from keras_sparse import datasets
from keras_sparse import demo as demo_module

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FEW = pathlib.Path(__file__).with_name("run_on_few_images.py")


def run(folder, *command):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_in_the_readme(number, tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(BLOCKS[number])
    done = run(tmp_path, script)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sparsity" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example, tmp_path):
    assert len(example.read_text().splitlines()) <= 80
    done = run(tmp_path, FEW, example)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "total" in done.stdout


def test_demo_on_digits(tmp_path, monkeypatch):
    digits = datasets._load_digits()
    monkeypatch.setattr(datasets, "load", lambda name: digits)
    result = demo_module.demo(tmp_path / "out", sparsity=0.9)
    dense, sparse, int8 = result.reports
    assert sparse.nonzeros < 0.15 * dense.nonzeros
    assert int8.gzip_bytes < sparse.gzip_bytes < dense.gzip_bytes
    assert sparse.accuracy["xnnpack"] > dense.accuracy["xnnpack"] - 0.03
    assert pathlib.Path(result.plot).stat().st_size > 1000
    assert "LeNet-5 on digits" in str(result)
