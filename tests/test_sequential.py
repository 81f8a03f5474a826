"""Groups of residual blocks, trained sparse one after the other."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks


def residual_net(blocks=3, width=12, compiled=True):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8,))
    x = layers.Dense(width, name="stem")(x)
    for i in range(blocks):
        y = layers.BatchNormalization(name=f"block{i}_norm")(x)
        y = layers.Dense(width, activation="relu", name=f"block{i}_a")(y)
        y = layers.Dropout(0.5, name=f"block{i}_drop")(y)
        y = layers.Dense(width, name=f"block{i}_b")(y)
        x = layers.Add(name=f"add{i}")([x, y])
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    if compiled:
        model.compile(
            keras.optimizers.Adam(1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    return model


def data(n=96, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8)).astype("float32")
    return x, np.argmax(x[:, :3], axis=1)


def names(block):
    return [layer.name for layer in block.layers]


def run(model, **arguments):
    x, y = data()
    fit = {"x": x, "y": y, "epochs": 2, "batch_size": 16, "verbose": 0}
    return ks.sequential.sparsify_blocks(
        model, **{"fit": fit, "verbose": False, **arguments}
    )


def test_blocks_end_at_additions():
    blocks = ks.sequential.find_blocks(residual_net())
    assert [block.name for block in blocks] == ["add0", "add1", "add2", "head"]
    assert set(names(blocks[0])) >= {"stem", "block0_a", "block0_b"}
    assert set(names(blocks[1])) >= {"block1_norm", "block1_a", "block1_b"}
    assert names(blocks[3]) == ["logits"]
    every = [name for block in blocks for name in names(block)]
    assert len(every) == len(set(every))


def test_blocks_in_pairs_and_by_rules():
    model = residual_net()
    pairs = ks.sequential.find_blocks(model, 2)
    assert [block.name for block in pairs] == ["add1", "add2", "head"]
    named = ks.sequential.find_blocks(model, ["stem|block0", "block[12]"])
    assert len(named) == 2
    assert "block2_norm" in names(named[1])


def test_operators_end_blocks_too():
    x = inputs = keras.Input((4,))
    for _ in range(2):
        x = x + layers.Dense(4)(x)
    blocks = ks.sequential.find_blocks(keras.Model(inputs, x))
    assert [len(block.layers) for block in blocks] == [1, 1]


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (0, "at least one block"),
        (["block0", "block0_a"], "no layer in common"),
        (["nothing"], "matches none"),
    ],
)
def test_bad_blocks(blocks, message):
    with pytest.raises(ValueError, match=message):
        ks.sequential.find_blocks(residual_net(), blocks)


def test_a_plain_stack_has_to_be_named():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="Name the layers"):
        ks.sequential.find_blocks(model)


def drops(layer):
    """Whether a Dropout, called in training, does more than pass on."""
    ones = np.ones((4, 50), "float32")
    return isinstance(layer, layers.Dropout) and not np.array_equal(
        layer(ones, training=True), ones
    )


class Watch(keras.callbacks.Callback):
    """Notes which weights are parametrized and which layers train."""

    seen: list

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def on_train_begin(self, logs=None):
        self.seen.append(
            (
                {layer.name for layer, _, _ in ks.parametrized(self.model)},
                {x.name for x in self.model.layers if x.trainable_variables},
                {x.name for x in self.model.layers if drops(x)},
            )
        )


def test_one_group_trains_at_a_time():
    model, seen = residual_net(), []
    frozen = {}

    class Frozen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            frozen["before"] = [
                w.copy() for w in self.model.get_layer("logits").get_weights()
            ]

        def on_train_end(self, logs=None):
            for a, b in zip(
                frozen["before"],
                self.model.get_layer("logits").get_weights(),
                strict=True,
            ):
                frozen.setdefault("same", []).append(np.array_equal(a, b))

    reports = run(
        model,
        callbacks=lambda: [Watch(seen), Frozen()],
        exclude="logits",
    )
    assert [each.name for each in reports] == ["add0", "add1", "add2"]
    assert [sparse for sparse, _, _ in seen] == [
        {"stem", "block0_a", "block0_b"},
        {"block1_a", "block1_b"},
        {"block2_a", "block2_b"},
    ]
    trained = {"block1_norm", "block1_a", "block1_b"}
    assert seen[1][1] == trained
    assert seen[1][2] == {"block1_drop"}
    assert all(frozen["same"])
    # Afterwards everything is plain and as it was.
    assert not list(ks.parametrized(model))
    assert all(layer.trainable for layer in model.layers)
    assert drops(model.get_layer("block0_drop"))


def test_zeros_of_earlier_groups_stay():
    model = residual_net()

    def prune():
        schedule = ks.schedules.Constant(0.5)
        return [ks.callbacks.Prune(schedule, every=1)]

    reports = run(model, parametrization=ks.Mask(), callbacks=prune)
    assert [each.sparsity for each in reports] == pytest.approx(
        [0.5] * 4, abs=0.03
    )
    for name in ("stem", "block1_a", "logits"):
        kernel = model.get_layer(name).kernel.numpy()
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_bayesian_groups_anneal_by_themselves():
    logs = run(residual_net(blocks=1))[0].logs
    assert logs["beta"] == 1.0
    assert logs["kl"] > 0


def test_a_second_sweep():
    reports = run(residual_net(blocks=1), sweeps=2)
    assert [(r.name, r.sweep) for r in reports] == [
        ("add0", 0),
        ("head", 0),
        ("add0", 1),
        ("head", 1),
    ]


def test_from_scratch_with_auxiliary_heads():
    model, seen = residual_net(blocks=2), []
    before = model.get_layer("block1_a").kernel.numpy().copy()
    untouched = []

    class Untouched(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            after = model.get_layer("block1_a").kernel.numpy()
            untouched.append(np.array_equal(before, after))

    reports = run(
        model,
        head="auxiliary",
        callbacks=lambda: [Watch(seen), Untouched()],
    )
    assert [each.name for each in reports] == ["add0", "add1", "head"]
    assert untouched == [True, False, False]
    assert {"stem", "block0_a", "block0_b"} < seen[0][0]  # and the head's
    assert model.predict(data()[0], verbose=0).shape == (96, 3)


def test_a_container_with_a_variable_of_its_own_does_not_freeze_its_layers():
    @keras.saving.register_keras_serializable("tests")
    class Gained(layers.Layer):
        def build(self, shape):
            self.inner = layers.Dense(8, name="inner")
            self.inner.build(shape)
            self.gain = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            return self.gain * self.inner(x)

    x = keras.Input((8,))
    model = keras.Model(x, layers.Dense(3)(Gained(name="gained")(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    inner = model.get_layer("gained").inner
    before = inner.kernel.numpy().copy()
    run(model, blocks=["inner$"])
    assert not np.array_equal(inner.kernel.numpy(), before)


def test_a_head_whose_group_stays_dense():
    reports = run(residual_net(blocks=1), head="auxiliary", exclude="logits")
    assert [each.weights > 0 for each in reports] == [True, False]


def test_an_error_leaves_the_model_as_the_last_group_left_it():
    class Fail(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            raise RuntimeError("out of luck")

    model = residual_net()
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(RuntimeError, match="luck"):
        run(model, callbacks=lambda: [Fail()])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list(ks.parametrized(model))
    assert all(layer.trainable for layer in model.layers)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="compiled model"):
        run(residual_net(compiled=False))
    with pytest.raises(ValueError, match="at least one sweep"):
        run(residual_net(), sweeps=0)
    with pytest.raises(ValueError, match="callbacks=lambda"):
        run(residual_net(), fit={"callbacks": []})
    with pytest.raises(ValueError, match="ends in '.npz'"):
        run(residual_net(), checkpoint=tmp_path / "a.keras")
    with pytest.raises(ValueError, match="gets a head"):
        run(residual_net(), blocks=["block"], head="auxiliary")
    sparse = ks.sparsify(residual_net(compiled=False), ks.Mask())
    with pytest.raises(ValueError, match="plain model"):
        run(sparse)


def test_batch_normalization_is_estimated_anew():
    model = residual_net()
    run(model, recalibration=(x := data()[0]))
    heard = keras.Model(model.input, model.get_layer("add1").output)
    norm = model.get_layer("block2_norm")
    mean = np.asarray(heard(x)).mean(0)
    np.testing.assert_allclose(norm.moving_mean, mean, atol=1e-4)
