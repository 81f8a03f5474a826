"""What a search meets outside the plain case."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import lottery
from keras_sparse.lottery.initializers import draw_weights
from keras_sparse.lottery.masks.masked_model import find_weights

X = np.random.default_rng(0).normal(size=(40, 10)).astype("float32")
Y = X[:, :2]


def net():
    return keras.Sequential(
        [keras.Input((10,)), layers.Dense(10, "relu"), layers.Dense(2)]
    )


def compiling(optimizer="sgd", loss="mse", **more):
    more = {"run_eagerly": True, **more}
    return {"optimizer": optimizer, "loss": loss, **more}


def fit(**more):
    return {"x": X, "y": Y, "batch_size": 8, "epochs": 1, "verbose": 0, **more}


def search(model=None, **arguments):
    given = {
        "fit": fit(),
        "rounds": 1,
        "rate": 0.5,
        "compile": compiling(),
        "verbose": False,
        **arguments,
    }
    return lottery.find_ticket(model or net(), **given)


def finetune(model=None, **arguments):
    given = {
        "fit": fit(),
        "rounds": 1,
        "compile": compiling(),
        "verbose": False,
        **arguments,
    }
    return lottery.train_prune_finetune(model or net(), **given)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("shape", "layer", "values"),
    [
        (
            (4, 3),
            lambda: layers.LSTM(
                2, kernel_initializer="ones", recurrent_initializer="zeros"
            ),
            [1, 0],
        ),
        (
            (8, 8, 3),
            lambda: layers.DepthwiseConv2D(2, depthwise_initializer="ones"),
            [1],
        ),
        (
            (8, 8, 3),
            lambda: layers.SeparableConv2D(
                4,
                2,
                depthwise_initializer="zeros",
                pointwise_initializer="ones",
            ),
            [0, 1],
        ),
        (
            (4,),
            lambda: layers.ReversibleEmbedding(
                5, 3, tie_weights=False, embeddings_initializer="ones"
            ),
            [1, 1],
        ),
    ],
)
def test_own_initializers_by_other_names(shape, layer, values):
    model = keras.Sequential([keras.Input(shape), layer()])
    drawn = draw_weights(find_weights(model, model.weights), None, seed=0)
    assert len(drawn) == len(values)
    for array, value in zip(drawn.values(), values, strict=True):
        assert (array == value).all()


def test_own_initializers_have_the_fans_that_the_layer_gave_them():
    # Glorot, uniform: 2 / (fan in + fan out), of 9 windows, 400 and 1 channels.
    model = keras.Sequential(
        [keras.Input((5, 5, 400)), layers.DepthwiseConv2D(3)]
    )
    drawn = draw_weights(find_weights(model, model.weights), None, seed=0)
    law = 2 / (9 * 400 + 9)
    assert model.layers[0].kernel.numpy().var() == pytest.approx(law, rel=0.1)
    assert drawn[0].var() == pytest.approx(law, rel=0.1)


def test_callbacks_that_would_be_dropped():
    with pytest.raises(ValueError, match="in arguments of `fit`"):
        search(fit=lambda: fit(callbacks=[]))
    model = net()
    before = model.get_weights()
    with pytest.raises(ValueError, match="in arguments of `fit`"):
        finetune(model, finetune={"callbacks": []})
    assert same(before, model.get_weights())


@pytest.mark.parametrize("own", [False, True])
def test_an_optimizer_that_scales_losses(own):
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model = net()
    if own:
        model.compile(**compiling(scaled))
    found = search(model, compile=None if own else compiling(scaled))
    assert len(found.rounds) == 2
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_skipped_step_before_the_one_to_rewind_to():
    x = X.copy()
    x[:8] = 1e38  # the first batch's gradients overflow
    weights = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 2:
                plain = [w for w in self.model.weights if "mask" not in w.path]
                weights.append([np.array(w) for w in plain])

    scaled = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.01), initial_scale=1.0
    )
    found = search(
        rounds=0,
        fit=fit(x=x, shuffle=False),
        rewind_step=2,
        compile=compiling(scaled),
        callbacks=lambda: [Note()],
    )
    assert found.rounds[0].training.steps == 4
    assert same(found.ticket().weights, weights[0])


def test_numpy_rates_are_kept_on_disk(tmp_path):
    half = np.float32(0.5)
    for scope in ("layer", "global"):
        path = tmp_path / f"{scope}.npz"
        found = search(rate=half, scope=scope, checkpoint=path)
        found.ticket().save(tmp_path / "ticket.npz")
        again = search(rate=0.5, scope=scope, checkpoint=path)
        for a, b in zip(again.rounds, found.rounds, strict=True):
            assert a.training == b.training
    path = tmp_path / "finetuned.npz"
    done = finetune(rate=half, learning_rate_factor=half, checkpoint=path)
    assert done.rounds[1].density == 0.5
    finetune(q=half, checkpoint=tmp_path / "q.npz")


def test_a_mask_of_another_shape_leaves_the_model_as_it_was():
    model = net()
    weights = tuple(w + 1 for w in model.get_weights())
    masks = {0: np.ones((10, 10), bool), 2: np.ones((2, 10), bool)}
    ticket = lottery.Ticket(("a", "b", "c", "d"), weights, masks, {})
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"\(2, 10\) for c"):
        ticket.apply(model)
    assert not list(ks.parametrized(model))
    assert same(before, model.get_weights())


def test_checkpoints_that_do_not_fit(tmp_path):
    path = tmp_path / "a.npz"
    search(checkpoint=path)
    with pytest.raises(ValueError, match="at most 0 rounds.*rounds=1"):
        search(rounds=0, checkpoint=path)
    with pytest.raises(ValueError, match="another.*compile.*mean_abs"):
        search(compile=compiling(loss="mean_absolute_error"), checkpoint=path)


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule without a config."""

    def __call__(self, step):
        return 0.1 * 0.5 ** keras.ops.cast(step, "float32")


def test_losses_without_a_name_and_schedules_without_a_config(tmp_path):
    def go():
        return search(
            compile=lambda model: model.compile(
                keras.optimizers.SGD(Halving()), lambda y, p: (y - p) ** 2
            ),
            checkpoint=tmp_path / "a.npz",
        )

    first = go()
    assert same(first.model.get_weights(), go().model.get_weights())


def test_finetuning_lowers_a_schedule_without_a_config():
    optimizers = []

    def compile_model(model):
        optimizers.append(keras.optimizers.SGD(Halving()))
        model.compile(optimizers[-1], "mse")

    finetune(
        fit=fit(batch_size=40), learning_rate_factor=0.25, compile=compile_model
    )
    used = [each for each in optimizers if int(each.iterations)]
    rates = [float(each.learning_rate) for each in used]
    assert rates == pytest.approx([0.05, 0.0125])  # after one step


def test_what_cannot_be_made_anew_has_a_remedy():
    model = net()
    model.compile(keras.optimizers.SGD(Halving()), "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match="Halving.*compile=a callable"):
        search(model, compile=None)

    def my_loss(y, prediction):
        return keras.ops.mean((y - prediction) ** 2)

    model.compile("sgd", my_loss)
    with pytest.raises(ValueError, match="my_loss.*compile=a callable"):
        search(model, compile=None)
    assert same(before, model.get_weights())


def test_frozen_layers_stay_dense_and_keep_their_weights():
    model = net()
    model.layers[0].trainable = False
    before = model.layers[0].get_weights()
    starts = []

    class Note(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            starts.append([np.array(w) for w in self.model.layers[0].weights])

    found = search(
        model, callbacks=lambda: [Note()], controls=["reinitialized"]
    )
    assert list(found.ticket().masks) == [2]
    assert len(starts) == 3
    for each in (*starts, model.layers[0].get_weights()):
        assert same(before, each)
    drawn = lottery.reinitialize(found.ticket(), model).weights
    assert np.array_equal(drawn[0], before[0])
    assert not np.array_equal(drawn[2], found.ticket().weights[2])
    model.trainable = False
    with pytest.raises(ValueError, match="all frozen"):
        search(model)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="torch has no executions"
)
def test_executions_that_do_not_divide_an_epoch():
    with pytest.raises(ValueError, match="executions of 4 batches"):
        search(
            fit=fit(epochs=2),
            rewind_step=8,
            compile=compiling(run_eagerly=False, steps_per_execution=4),
        )
