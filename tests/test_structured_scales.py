"""Gates that end as a multiplication are folded away."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.structured import shrink


@keras.saving.register_keras_serializable("test_structured_scales")
class Gate(layers.Layer):
    """Multiplies each channel by a number of its own."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.values = [float(each) for each in scale]

    def call(self, inputs):
        return inputs * keras.ops.convert_to_tensor(self.values)

    def channel_scale(self):
        return np.array(self.values)

    def get_config(self):
        return {**super().get_config(), "scale": self.values}


def functional(shape, body):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, body(inputs))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = rng.normal(0, 0.3, weight.shape)
        weight.assign(
            np.abs(weight.numpy() + noise)
            if "var" in weight.path
            else weight.numpy() + noise
        )
    return model


def same(model, small):
    x = np.random.default_rng(1).normal(size=(4, *model.input_shape[1:]))
    before = keras.ops.convert_to_numpy(model(x))
    assert np.ptp(before) > 1e-3
    after = keras.ops.convert_to_numpy(small(x))
    np.testing.assert_allclose(after, before, atol=1e-5)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers[1:]]


OPEN, CLOSED = [2.0, 0.5, 1.5, 1.0], [2.0, 0.0, 1.5, 0.0]
NEGATIVE = [2.0, -1.0, 0.0, 1.0]


@pytest.mark.parametrize("scale, units", [(OPEN, 4), (CLOSED, 2)])
def test_behind_relu_it_goes_into_the_kernel_before(scale, units):
    model = functional(
        (3,),
        lambda x: layers.Dense(2)(Gate(scale)(layers.Dense(4, "relu")(x))),
    )
    small = shrink(model)
    assert kinds(small) == ["Dense", "Dense"]
    assert small.layers[1].units == units
    kept = np.array(scale) > 0
    np.testing.assert_allclose(
        small.layers[1].get_weights()[0],
        (model.layers[1].get_weights()[0] * np.array(scale))[:, kept],
        rtol=1e-6,
    )
    same(model, small)


@pytest.mark.parametrize("activation, first", [(None, True), ("tanh", False)])
def test_the_side_follows_from_what_commutes(activation, first):
    model = functional(
        (3,),
        lambda x: layers.Dense(2)(
            Gate(NEGATIVE)(layers.Dense(4, activation)(x))
        ),
    )
    small = shrink(model)
    assert kinds(small) == ["Dense", "Dense"]
    assert small.layers[1].units == 3
    unchanged = small.layers[2 if first else 1].get_weights()[0]
    old = model.layers[3 if first else 1].get_weights()[0]
    kept = np.array(NEGATIVE) != 0
    np.testing.assert_array_equal(
        unchanged, old[kept] if first else old[:, kept]
    )
    same(model, small)


def test_through_batch_normalization_relu_and_pooling():
    def body(x):
        x = layers.Conv2D(4, 3)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = Gate(CLOSED)(layers.MaxPooling2D()(x))
        return layers.Dense(2)(layers.Flatten()(x))

    model = functional((8, 8, 2), body)
    small = shrink(model)
    assert "Gate" not in kinds(small) and "Rescaling" not in kinds(small)
    assert small.layers[1].filters == 2
    same(model, small)


def test_into_every_reader_through_flatten():
    def body(x):
        x = Gate(NEGATIVE)(layers.Conv2D(4, 3, activation="sigmoid")(x))
        return layers.Add()(
            [
                layers.Dense(2)(layers.Flatten()(x)),
                layers.Dense(2)(layers.GlobalAveragePooling2D()(x)),
            ]
        )

    model = functional((5, 5, 2), body)
    small = shrink(model)
    assert "Gate" not in kinds(small) and "Rescaling" not in kinds(small)
    assert small.layers[1].filters == 3
    same(model, small)


def test_where_no_side_is_exact_a_plain_rescaling_stays():
    def body(x):
        x = layers.Dense(4, "tanh")(x)
        y = Gate(CLOSED, name="gate")(x)
        return layers.Dense(2)(layers.Activation("tanh")(y))

    model = functional((3,), body)
    small = shrink(model)
    assert kinds(small) == ["Dense", "Rescaling", "Activation", "Dense"]
    assert small.get_layer("gate").scale == [2.0, 1.5]
    same(model, small)
    # The plain layer is followed like any other.
    assert len(shrink(small, 0.3).get_layer("gate").scale) == 1


def test_a_signal_that_others_read_is_not_scaled_for_them():
    def body(x):
        x = layers.Dense(4)(x)
        return layers.Dense(2)(
            layers.Concatenate()([x, layers.ReLU(3.0)(Gate(OPEN)(x))])
        )

    model = functional((3,), body)
    small = shrink(model)
    assert "Rescaling" in kinds(small)
    same(model, small)


def test_at_the_output_and_in_sequential_models():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, "relu"), Gate(CLOSED)]
    )
    small = shrink(model)
    assert isinstance(small, keras.Sequential)
    assert [type(x).__name__ for x in small.layers] == ["Dense"]
    assert small.output_shape == (None, 4)
    same(model, small)


def test_a_scale_of_another_size_is_refused():
    class Wrong(Gate):
        def channel_scale(self):
            return np.ones(3)

    model = functional((3,), lambda x: Wrong(OPEN)(layers.Dense(4)(x)))
    with pytest.raises(ValueError, match="each of its 4 channels"):
        shrink(model)


def test_a_scale_along_another_axis():
    class First(Gate):
        axis = 1

        def call(self, inputs):
            return inputs * np.array(self.values, "float32")[:, None]

    def body(x):
        x = layers.Permute((2, 1))(layers.Conv1D(4, 2)(x))
        x = layers.Softmax()(First(OPEN, name="gate")(x))
        return layers.Dense(2)(layers.Flatten()(layers.Permute((2, 1))(x)))

    model = functional((5, 3), body)
    small = shrink(model)
    assert small.get_layer("gate").scale == [[each] for each in OPEN]
    same(model, small)


@pytest.mark.parametrize(
    "kind", [ks.layers.InformationBottleneck, ks.layers.LogNormalDropout]
)
def test_the_layers_of_this_package_are_folded(kind):
    model = functional(
        (6, 6, 2),
        lambda x: layers.Dense(2)(
            kind()(layers.Flatten()(kind()(layers.Conv2D(4, 3)(x))))
        ),
    )
    small = shrink(model)
    assert kinds(small) == ["Conv2D", "Flatten", "Dense"]
    same(model, small)
