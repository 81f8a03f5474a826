"""Which axes are inputs and outputs, and that patterns follow them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.adapters import slots_of
from keras_sparse.pruning import compute_masks
from tests.contract import LAYERS


def slot(layer, *shape):
    layer.build(shape)
    return slots_of(layer)[0]


@pytest.mark.parametrize(
    ("layer", "shape", "inputs", "outputs"),
    [
        (layers.Dense(3), (None, 4), (-2,), (-1,)),
        (layers.Conv2D(3, 3), (None, 8, 8, 4), (-2,), (-1,)),
        (layers.Conv2DTranspose(3, 3), (None, 8, 8, 4), (-1,), (-2,)),
        (layers.DepthwiseConv2D(3), (None, 8, 8, 4), (-4, -3), (-2, -1)),
        (layers.DepthwiseConv1D(3), (None, 8, 4), (-3,), (-2, -1)),
        (
            layers.EinsumDense("abc,cde->abde", (None, 2, 3)),
            (None, 5, 4),
            (-3,),
            (-2, -1),
        ),
        (
            layers.EinsumDense("...cd,cde->...e", (5, 3)),
            (None, 5, 2, 4),
            (-3, -2),
            (-1,),
        ),
    ],
)
def test_axes_of_a_kernel(layer, shape, inputs, outputs):
    found = slot(layer, *shape)
    assert (found.inputs, found.outputs) == (inputs, outputs)


def test_two_of_four_along_the_inputs_of_a_transposed_convolution():
    found = slot(layers.Conv2DTranspose(3, 1), None, 8, 8, 4)
    # Kernel (1, 1, outputs 3, inputs 4): of each output's four inputs, two.
    kernel = np.arange(12.0).reshape(1, 1, 3, 4)
    masks = compute_masks(
        {"k": kernel}, {"k": found}, 0.5, pattern=ks.patterns.n_m(2, 4)
    )
    assert masks["k"][0, 0].tolist() == [[False, False, True, True]] * 3


def test_channel_of_a_depthwise_convolution_is_a_whole_window():
    found = slot(layers.DepthwiseConv2D(2), None, 8, 8, 2)
    kernel = np.ones((2, 2, 2, 1)) * np.array([1.0, 5.0])[:, None]
    masks = compute_masks(
        {"k": kernel}, {"k": found}, 0.5, pattern=ks.patterns.channel()
    )
    assert masks["k"][..., 0].all(axis=(0, 1)).tolist() == [False, True]
    assert masks["k"].sum() == 4


@pytest.mark.parametrize("name", LAYERS)
def test_n_m_holds_in_every_group_of_every_kernel(name):
    model = LAYERS[name]()
    # Channel counts here are no multiples of four, so groups run across them.
    ks.prune(model, 0.5, pattern=ks.patterns.n_m(2, 4))
    for layer in model._flatten_layers():
        for found in slots_of(layer):
            owner, attribute = found.locate(layer)
            kernel = getattr(owner, attribute).numpy()
            rank = kernel.ndim
            outputs = [axis % rank for axis in found.outputs]
            inputs = [axis for axis in range(rank) if axis not in outputs]
            columns = kernel.transpose(inputs + outputs).reshape(
                -1, int(np.prod([kernel.shape[axis] for axis in outputs]))
            )
            columns = np.pad(columns, ((0, -len(columns) % 4), (0, 0)))
            groups = columns.reshape(-1, 4, columns.shape[-1])
            assert (np.count_nonzero(groups, axis=1) <= 2).all(), found


def test_layers_of_ones_own():
    @keras.saving.register_keras_serializable(package="tests")
    class Gain(layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.gain

    ks.register_adapter(Gain, slots={"gain": "gain"})
    model = keras.Sequential([keras.Input((4,)), Gain()])
    ks.prune(model, 0.5)
    assert model.layers[0].gain.numpy().tolist() == [0, 0, 1, 1]


def test_an_adapter_needs_a_layer_class_and_slots():
    with pytest.raises(TypeError, match="subclass of keras.layers.Layer"):
        ks.register_adapter(layers.Dense(3))
    with pytest.raises(ValueError, match="Pass for instance"):
        ks.register_adapter(layers.BatchNormalization)
