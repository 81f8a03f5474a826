"""`Prune`, `SparsityLogger` and `SeedEachEpoch` on their own."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse import _surgery
from keras_sparse.callbacks.sparsity_logger import measured_sparsity
from keras_sparse.pruning import masked_weights

X, Y = np.random.default_rng(0).normal(size=(2, 40, 10)).astype("float32")


def make(optimizer="adam", **mask):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(20, name="a"),
            keras.layers.Dense(10, name="b"),
        ]
    )
    ks.sparsify(model, ks.Mask(**mask), verbose=False)
    model.compile(optimizer, "mse")
    return model


def fit(model, *callbacks, epochs=1, **kwargs):
    kwargs = {"batch_size": 4, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **kwargs)


def masks(model):
    return [np.array(m.mask) for _, _, m in ks.parametrized(model)]


class Recorder(keras.callbacks.Callback):
    """The share of zeros in the masks at the end of each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(
            1 - np.concatenate([m.ravel() for m in masks(self.model)]).mean()
        )


def test_updates_come_every_so_many_steps_and_at_the_end():
    recorder = Recorder()
    schedule = ks.schedules.Polynomial(0.8, begin=2, end=15, power=1)
    # Ten updates at least: 13 steps of ramp, so every 2 though 5 were asked.
    fit(make(), recorder, ks.callbacks.Prune(schedule, every=5), epochs=2)
    expected, now = [], 0.0
    for step in range(20):
        if step in (2, 4, 6, 8, 10, 12, 14, 15):
            now = schedule(step)
        expected.append(now)
    np.testing.assert_allclose(recorder.seen, expected, atol=0.006)


@pytest.mark.parametrize(
    ("every", "end", "updates"),
    [
        (None, 1900, range(0, 1901, 19)),  # a hundred, and the one at the begin
        (None, 12345, [*range(0, 12345, 100), 12345]),
        (None, 40, range(41)),
        (100, 1900, range(0, 1901, 100)),
        (500, 1900, range(0, 1901, 190)),  # ten, and the one at the begin
    ],
)
def test_a_short_schedule_gets_a_hundred_updates_by_default(
    every, end, updates
):
    schedule = ks.schedules.Polynomial(0.8, begin=0, end=end)
    prune = ks.callbacks.Prune(schedule, every=every)
    due = [step for step in range(end + 300) if prune._due(step, step - 1)]
    assert due == [*updates]


def test_a_function_of_the_step_and_a_number_are_schedules():
    model = make()
    fit(model, ks.callbacks.Prune(lambda step: 0.5, every=3))
    assert [m.mean() for m in masks(model)] == [0.5, 0.5]
    fit(model, ks.callbacks.Prune(0.75))
    assert [m.mean() for m in masks(model)] == [0.25, 0.25]


def test_only_the_chosen_weights():
    model = make()
    fit(model, ks.callbacks.Prune(0.5, where="/a$"))
    assert [m.mean() for m in masks(model)] == [0.5, 1.0]
    fit(model, ks.callbacks.Prune(0.5, exclude="/a$"))
    assert [m.mean() for m in masks(model)] == [0.5, 0.5]


def test_a_map_from_path_to_sparsity():
    model = make()
    path = next(p for p in masked_weights(model) if "b" in p)
    fit(model, ks.callbacks.Prune(0.8, allocation={path: 0.25}))
    assert [m.mean() for m in masks(model)] == pytest.approx([0.2, 0.75])


def test_masked_weights_and_their_optimizer_state_are_zero():
    model = make()
    fit(model, ks.callbacks.Prune(0.5), epochs=2)
    for weight in masked_weights(model).values():
        dormant = np.array(weight.mask.mask) == 0
        slots = _surgery.optimizer_slots(model.optimizer, weight.each.raw)
        assert len(slots) == 2
        for variable in [weight.each.raw, *slots]:
            assert (variable.numpy()[dormant] == 0).all()
            assert (variable.numpy()[~dormant] != 0).any()


def test_a_straight_through_mask_lets_weights_come_back():
    model = make("sgd", straight_through=True)
    fit(model, ks.callbacks.Prune(0.5, every=1), epochs=3)
    raw = model.layers[0].kernel.numpy()
    assert (raw[masks(model)[0] == 0] != 0).all()


def test_saliency_uses_the_data_given():
    model = make()
    batches = []

    def data():
        batches.append(1)
        return X[:8], Y[:8]

    prune = ks.callbacks.Prune(
        ks.schedules.Constant(0.5, end=6),
        every=3,
        score=ks.scores.saliency,
        data=data,
    )
    fit(model, prune)
    assert len(batches) >= 3
    assert [m.mean() for m in masks(model)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 1.0}, "1.0"),
        ({"schedule": "fast"}, "fast"),
        ({"schedule": 0.5, "score": "magnitude"}, "'magnitude'"),
        ({"schedule": 0.5, "pattern": ks.patterns.n_m}, "must be called"),
        ({"schedule": 0.5, "every": 0}, "at least 1"),
        ({"schedule": 0.5, "every": 2.5}, "2.5"),
        ({"schedule": 0.5, "score": ks.scores.saliency}, "data"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ks.callbacks.Prune(**arguments)


def test_a_plain_model_is_refused():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="sparsify"):
        fit(model, ks.callbacks.Prune(0.5))


def test_a_map_with_an_unknown_path_is_refused_and_changes_no_mask():
    model = make()
    with pytest.raises(ValueError, match="nowhere"):
        fit(model, ks.callbacks.Prune(0.5, allocation={"nowhere": 0.1}))
    assert all(m.all() for m in masks(model))


def test_nan_weights_stop_the_run_with_the_masks_as_they_were():
    model = make()
    kernel = model.layers[1].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    first = model.layers[0].kernel.numpy()
    with pytest.raises(ValueError, match="NaN"):
        fit(model, ks.callbacks.Prune(0.5))
    assert all(m.all() for m in masks(model))
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), first)


def test_a_schedule_that_ends_after_training_is_told():
    schedule = ks.schedules.Polynomial(0.8, begin=0, end=1000)
    with pytest.warns(UserWarning, match="stopped at step 10"):
        fit(make(), ks.callbacks.Prune(schedule))


@pytest.mark.parametrize("every", [1, 100])
def test_a_function_that_goes_on_rising_after_the_last_update_is_told(every):
    model, prune = make(), ks.callbacks.Prune(lambda step: step / 20, every)
    if every == 1:
        fit(model, prune)
    else:
        with pytest.warns(
            UserWarning, match="asks for 45.0% at step 9, .* for 0.0%"
        ):
            fit(model, prune)


def test_sparsity_in_the_history():
    model = make()
    logger = ks.callbacks.SparsityLogger(per_layer=True)
    history = fit(model, ks.callbacks.Prune(0.5, where="/a$"), logger).history
    assert history["sparsity"] == [pytest.approx(100 / 400)]
    per_layer = [v for k, v in history.items() if k.startswith("sparsity/")]
    assert per_layer == [[0.5], [0.0]]


def test_a_plain_model_is_measured_too():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.prune(model, 0.9)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = fit(model, ks.callbacks.SparsityLogger()).history
    assert history["sparsity"] == [pytest.approx(0.9)]


def test_layers_of_one_path_are_all_measured():
    x = keras.Input((10,))
    ones, none = (
        keras.layers.Dense(10, kernel_initializer=k, name=f"d{k}")
        for k in ("ones", "zeros")
    )
    model = keras.Model(x, none(ones(x)))
    ones._path = none._path = "same"
    ks.sparsify(model, ks.Mask(), verbose=False)
    assert measured_sparsity(model)["sparsity"] == 0.5


def test_held_zeros_are_not_given_back():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    held = ks.prune(model, 0.5).get_weights()[0] == 0
    ks.sparsify(model, ks.Mask(keep_zeros=True), verbose=False)
    model.compile("adam", "mse")
    recorder = Recorder()
    schedule = ks.schedules.Polynomial(0.9, begin=0, end=8)
    fit(model, ks.callbacks.Prune(schedule), recorder)
    assert min(recorder.seen) == 0.5 and recorder.seen[-1] == 0.9
    assert (ks.strip(model).get_weights()[0][held] == 0).all()


def test_a_loop_of_ones_own_without_compile():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    prune = ks.callbacks.Prune(0.5)
    prune.set_model(model)
    prune.on_train_begin()
    prune.on_epoch_begin(0)
    prune.update(0)
    assert masks(model)[0].mean() == 0.5


def test_sparsity_reaches_the_progress_bar(capsys):
    model = make()
    keras.utils.enable_interactive_logging()
    fit(
        model, ks.callbacks.Prune(0.5), ks.callbacks.SparsityLogger(), verbose=2
    )
    assert "sparsity: 0.5" in capsys.readouterr().out


def test_seed_each_epoch_repeats_the_noise():
    def noisy():
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.Input((10,)),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(10),
            ]
        )
        model.compile("sgd", "mse")
        return model

    seeds = ks.callbacks.SeedEachEpoch(7)
    whole = noisy()
    fit(whole, seeds, epochs=2)
    resumed = noisy()
    fit(resumed, seeds, epochs=1)
    resumed.layers[0].seed_generator.state.assign([123, 456])
    fit(resumed, seeds, initial_epoch=1, epochs=2)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
