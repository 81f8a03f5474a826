"""Training that goes on ends where it would have ended."""

import contextlib

import keras
import pytest

import keras_sparse as ks
from tests.small_trainings import (
    X,
    Y,
    assert_same,
    compiled,
    fit,
    prune,
)

KINDS = {
    "hard mask": ({}, {}),
    "straight-through": ({"straight_through": True}, {}),
    "global": ({}, {"allocation": ks.allocations.global_}),
    "1:4": ({}, {"pattern": ks.patterns.n_m(1, 4)}),
    "by deviation": ({}, {"allocation": ks.allocations.std_threshold(0.7)}),
    "saliency": (
        {"straight_through": True},
        {"score": ks.scores.saliency, "data": (X[:8], Y[:8])},
    ),
}


class Stop(keras.callbacks.Callback):
    """A crash in the middle of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uninterrupted():
    """The whole run of each kind, made once."""
    runs = {}

    def run(kind):
        if kind not in runs:
            mask, options = KINDS[kind]
            runs[kind] = compiled(mask=mask)
            fit(runs[kind], prune(**options), epochs=4)
        return runs[kind]

    return run


@pytest.mark.parametrize(
    ("kind", "epoch"),
    [*((kind, 1) for kind in KINDS), ("straight-through", 3), ("1:4", 3)],
)
def test_resume_from_a_saved_model(kind, epoch, uninterrupted, tmp_path):
    mask, options = KINDS[kind]
    model = compiled(mask=mask)
    with contextlib.ExitStack() as stack:
        if epoch < 3:  # the schedule has not ended
            stack.enter_context(pytest.warns(UserWarning, match="stopped"))
        fit(model, prune(**options), epochs=epoch)
    ks.save(model, tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    fit(resumed, prune(**options), epochs=4, initial_epoch=epoch)
    assert_same(resumed, uninterrupted(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backup_first", [True, False])
def test_resume_from_a_backup(kind, backup_first, uninterrupted, tmp_path):
    mask, options = KINDS[kind]

    def callbacks():
        both = [
            keras.callbacks.BackupAndRestore(str(tmp_path)),
            prune(**options),
        ]
        return both if backup_first else both[::-1]

    with pytest.raises(KeyboardInterrupt):
        fit(compiled(mask=mask), *callbacks(), Stop(2, 7), epochs=4)
    resumed = compiled(mask=mask)
    for layer in (resumed.layers[0], resumed.layers[3]):
        layer.kernel.assign(-layer.kernel)  # another start, to be replaced
    fit(resumed, *callbacks(), epochs=4)
    assert_same(resumed, uninterrupted(kind))
