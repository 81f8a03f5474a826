"""A full disk and a kill in the middle of a write: the old file is whole."""

import contextlib
import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import keras
import pytest

import keras_sparse as ks
from keras_sparse._atomic import atomic_path
from tests import run_faults
from tests.run_faults import KILLS, KINDS
from tests.small_trainings import assert_same, compiled, fit, prune
from tests.test_resume import Stop

OLD = b"the file before"


@contextlib.contextmanager
def limited(size):
    """No file may grow past a size; Python ignores the signal that says so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full(tmp_path):
    """A folder on a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", KINDS)
def test_a_limit_on_the_size_of_files(name, tmp_path):
    write, _ = KINDS[name]
    (tmp_path / name).write_bytes(OLD)
    size = 4 * run_faults.SHAPE[0] * run_faults.SHAPE[1]
    with limited(1000), pytest.raises(OSError) as caught:
        write(tmp_path / name, 1.0)
    assert caught.value.errno == errno.EFBIG
    said = str(caught.value)
    assert str(tmp_path / name) in said and "is as before" in said
    needed = int(said.split("room for ")[1].split(" bytes")[0].replace(",", ""))
    assert size <= needed < 1.1 * size
    assert (tmp_path / name).read_bytes() == OLD
    assert os.listdir(tmp_path) == [name]
    write(tmp_path / name, 1.0)
    assert (tmp_path / name).stat().st_size > len(OLD)


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk(name, full):
    write, _ = KINDS[name]
    (full / name).write_bytes(OLD)
    with pytest.raises(OSError, match="full disk with .* bytes free") as caught:
        write(full / name, 1.0)
    assert caught.value.errno == errno.ENOSPC
    assert (full / name).read_bytes() == OLD
    assert os.listdir(full) == [name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_model_too_large_for_memory_on_a_full_disk(full, monkeypatch):
    library = sys.modules["keras.src.saving.saving_lib"]
    monkeypatch.setattr(library, "is_memory_sufficient", lambda _: False)
    (full / "m.keras").write_bytes(OLD)
    with pytest.raises(OSError, match="Cannot write .* as before"):
        run_faults.write_keras(full / "m.keras", 1.0)
    assert (full / "m.keras").read_bytes() == OLD
    assert os.listdir(full) == ["m.keras"]


def test_only_an_error_of_this_write_is_explained(tmp_path):
    """Not one that was being handled when it began."""
    with pytest.raises(ValueError, match="mine"):
        try:
            raise OSError(errno.ENOSPC, "another disk")
        except OSError:
            with atomic_path(tmp_path / "a"):
                raise ValueError("mine")  # noqa: B904


def test_two_writers_leave_each_other_alone(tmp_path):
    with atomic_path(tmp_path / "a") as first:
        first.write_text("first")
        with atomic_path(tmp_path / "a") as second:
            second.write_text("second")
        assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_to_a_name_without_the_ending(tmp_path):
    (tmp_path / "blob").touch()
    (tmp_path / "m.keras").symlink_to(tmp_path / "blob")
    ks.save(run_faults.net(1.0), tmp_path / "m.keras")
    assert (tmp_path / "m.keras").is_symlink()
    keras.saving.load_model(tmp_path / "m.keras")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_kills_in_the_middle_of_a_write(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_faults", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Most kills came before the new file took the place of the old one.
    assert int(done.stdout.split()[-1]) >= len(KINDS) * KILLS // 2
    assert len(run_faults.left(tmp_path)) <= 1
    run_faults.write_ticket(tmp_path / "t.npz", 1.0)
    assert sorted(os.listdir(tmp_path)) == sorted(KINDS)


def test_a_broken_backup_of_keras(tmp_path):
    """With two of them, training goes on from the one before."""
    whole = compiled()
    fit(whole, prune(), epochs=4)

    def backup(folder):
        return keras.callbacks.BackupAndRestore(
            str(folder), double_checkpoint=True
        )

    three = tmp_path / "three"  # backups, of which two are kept
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), backup(three), prune(), Stop(3, 0), epochs=4)
    size = (three / "latest.weights.h5").stat().st_size
    for left in (0, size - 1):
        folder = shutil.copytree(three, tmp_path / "broken")
        os.truncate(folder / "latest.weights.h5", left)
        resumed = compiled()
        history = fit(resumed, backup(folder), prune(), epochs=4)
        assert history.epoch == [2, 3]
        assert_same(resumed, whole)
        assert not folder.exists()

    os.truncate(three / "training_metadata.json", 0)
    with pytest.raises(json.JSONDecodeError):
        fit(compiled(), backup(three), prune(), epochs=4)
    for name in ("latest.weights.h5", "training_metadata.json"):
        shutil.copy(three / f"{name}.bkp", three / name)
    resumed = compiled()
    fit(resumed, backup(three), prune(), epochs=4)
    assert_same(resumed, whole)
