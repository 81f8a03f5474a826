"""The verbs: what they take, refuse and leave behind."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks


def make():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(6, name="hidden"),
            layers.Dense(3, name="logits"),
        ]
    )


def sparse_names(model):
    return [layer.name for layer, _, _ in ks.parametrized(model)]


def state(model):
    return (
        [type(layer) for layer in model._flatten_layers()],
        [w.copy() for w in model.get_weights()],
        model.get_config(),
    )


def assert_unchanged(model, before):
    kinds, weights, config = before
    assert [type(layer) for layer in model._flatten_layers()] == kinds
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.get_config() == config


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({}, ["conv", "hidden", "logits"]),
        ({"where": "conv|hid"}, ["conv", "hidden"]),
        ({"where": ["conv", "logits"]}, ["conv", "logits"]),
        (
            {"where": lambda layer: isinstance(layer, layers.Dense)},
            ["hidden", "logits"],
        ),
        ({"exclude": "logits"}, ["conv", "hidden"]),
        ({"exclude": ["conv", "logits$"]}, ["hidden"]),
        ({"where": "conv|logits", "exclude": "conv"}, ["logits"]),
    ],
)
def test_which_layers_are_taken(rules, names):
    model = ks.sparsify(make(), ks.Mask(), verbose=False, **rules)
    assert sparse_names(model) == names


def test_a_callable_chooses_for_each_weight():
    def choose(layer, slot):
        assert slot == "kernel"
        return ks.Mask(straight_through=True) if layer.name == "conv" else None

    model = ks.sparsify(make(), choose, verbose=False)
    ((layer, _, mask),) = ks.parametrized(model)
    assert layer.name == "conv" and mask.straight_through


def test_two_kinds_on_two_parts_of_a_model():
    model = ks.sparsify(make(), ks.Mask(), where="conv", verbose=False)
    soft = ks.Mask(straight_through=True)
    ks.sparsify(model, soft, where="hidden", verbose=False)
    assert sparse_names(model) == ["conv", "hidden"]
    assert type(ks.strip(model).layers[0]) is layers.Conv2D


def test_one_line_says_what_was_taken_and_left(capsys):
    keras.utils.enable_interactive_logging()
    ks.sparsify(make(), ks.Mask(), exclude="logits")
    said = capsys.readouterr().out
    assert "Mask on 2 weights of 2 layers (936 parameters)" in said
    assert "left as they are: Dense, BatchNormalization" in said


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((ks.Mask(), {"where": "nowhere"}), ValueError, "matches none of"),
        ((ks.Mask(), {"exclude": "logit_"}), ValueError, "matches none of"),
        ((ks.Mask(), {"where": ["conv", "x"]}), ValueError, "'x'"),
        ((ks.Mask(), {"where": "conv("}), ValueError, "regular expression"),
        ((ks.Mask(), {"where": 5}), TypeError, "Received: 5"),
        ((ks.Mask(), {"where": layers.Dense}), TypeError, "isinstance"),
        ((ks.Mask(), {"exclude": ["conv", None]}), TypeError, "None"),
        ((ks.Mask(), {"where": []}), ValueError, "none was chosen"),
        ((ks.Mask(), {"exclude": "."}), ValueError, "none was chosen"),
        ((lambda layer, slot: None, {}), ValueError, "none was chosen"),
        ((lambda layer, slot: 3, {}), TypeError, "Received: 3"),
        ((ks.Mask, {}), TypeError, "ks|keras_sparse.Mask"),
        ((0.5, {}), TypeError, "Received: 0.5"),
        ((ks.schedules.Constant(0.5), {}), TypeError, r"Prune\(schedule\)"),
    ],
)
def test_a_refused_call_changes_nothing(arguments, error, message):
    (parametrization, rules), model = arguments, make()
    before = state(model)
    with pytest.raises(error, match=message):
        ks.sparsify(model, parametrization, verbose=False, **rules)
    assert_unchanged(model, before)


def test_a_wrong_shape_is_refused_before_anything_changes():
    class Flat(ks.Parametrization):
        def call(self, w, training=None):
            return keras.ops.reshape(w, (-1,))

    model = make()
    before = state(model)
    with pytest.raises(ValueError, match="keep the shape"):
        ks.sparsify(model, Flat(), verbose=False)
    assert_unchanged(model, before)


def test_twice_is_an_error():
    model = ks.sparsify(make(), ks.Mask(), verbose=False)
    with pytest.raises(ValueError, match="strip"):
        ks.sparsify(model, ks.Mask(), verbose=False)
    assert sparse_names(model) == ["conv", "hidden", "logits"]


def test_strip_of_a_plain_model_is_an_error():
    model = make()
    before = state(model)
    with pytest.raises(ValueError, match="no weight is parametrized"):
        ks.strip(model)
    assert_unchanged(model, before)


def test_an_unbuilt_model_is_an_error():
    with pytest.raises(ValueError, match="built model"):
        ks.sparsify(keras.Sequential([layers.Dense(3)]), ks.Mask())


def test_one_parametrization_for_two_weights_is_refused():
    mask, model = ks.Mask(), make()
    before = state(model)
    with pytest.raises(ValueError, match="of its own for each weight"):
        ks.sparsify(model, lambda layer, slot: mask, verbose=False)
    assert_unchanged(model, before)


def test_a_callable_that_fails_changes_nothing():
    def choose(layer, slot):
        if layer.name == "logits":
            raise RuntimeError("mine")
        return ks.Mask()

    model = make()
    before = state(model)
    with pytest.raises(RuntimeError, match="mine"):
        ks.sparsify(model, choose, verbose=False)
    assert_unchanged(model, before)


def test_something_else_is_an_error():
    with pytest.raises(TypeError, match="keras.Model or keras.layers.Layer"):
        ks.sparsify("model", ks.Mask())


def test_an_unbuilt_layer_comes_back_sparse_and_is_built_later():
    layer = ks.sparsify(layers.Dense(3, name="mine"), ks.Mask())
    model = keras.Sequential([keras.Input((4,)), layer])
    ((_, slot, mask),) = ks.parametrized(model)
    assert slot == "kernel" and tuple(mask.mask.shape) == (4, 3)
    assert type(ks.strip(model).layers[0]) is layers.Dense


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.LSTM(2), (3, 4)),
        (layers.Bidirectional(layers.LSTM(2)), (3, 4)),
        (layers.EinsumDense("ab,bc->ac", 3), (4,)),
        (layers.SeparableConv2D(3, 2), (4, 4, 2)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_unbuilt_layers_of_all_kinds(layer, shape, tmp_path):
    sparse = ks.sparsify(layer, ks.Mask())
    model = keras.Sequential([keras.Input(shape), sparse])
    found = [slot for _, slot, _ in ks.parametrized(model)]
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert [slot for _, slot, _ in ks.parametrized(loaded)] == found != []
    assert type(ks.strip(model).layers[0]) is type(layer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((layers.Dense(3), lambda layer, slot: ks.Mask()), "Build the layer"),
        ((layers.ReLU(), ks.Mask()), "register_adapter"),
        ((ks.layers.SparseDense(3), ks.Mask()), "SparseDense already"),
    ],
)
def test_unbuilt_layers_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ks.sparsify(*arguments)


@pytest.mark.parametrize(
    ("rules", "message"),
    [({"where": "mine"}, "matches none"), ({"exclude": "dense"}, "chosen")],
)
def test_rules_hold_for_an_unbuilt_layer_too(rules, message):
    with pytest.raises(ValueError, match=message):
        ks.sparsify(layers.Dense(3, name="dense"), ks.Mask(), **rules)


def test_strip_of_an_unbuilt_sparse_layer_is_an_error():
    model = keras.Sequential([ks.sparsify(layers.Dense(3), ks.Mask())])
    with pytest.raises(ValueError, match="unbuilt layers"):
        ks.strip(model)


def test_a_parametrization_for_an_unbuilt_layer_keeps_the_shape_too():
    class Flat(ks.Parametrization):
        def call(self, w, training=None):
            return keras.ops.reshape(w, (-1,))

    layer = ks.sparsify(layers.Dense(3), Flat())
    with pytest.raises(ValueError, match="keep the shape"):
        layer(np.ones((1, 4)))


def test_a_sparse_layer_can_be_written_out():
    layer = ks.layers.SparseDense(3, parametrizations={"kernel": ks.Mask()})
    model = keras.Sequential([keras.Input((4,)), layer])
    assert sparse_names(model) == [layer.name]
    with pytest.raises(ValueError, match="kernels"):
        ks.layers.SparseDense(3, parametrizations={"kernels": ks.Mask()})(
            np.ones((1, 4))
        )


def test_stripping_keeps_the_objects_and_exact_zeros():
    model = make()
    conv, kernel = model.layers[0], model.layers[0].kernel
    ks.sparsify(model, ks.Mask(), verbose=False)
    mask = dict((la.name, m) for la, _, m in ks.parametrized(model))["conv"]
    chosen = np.random.rand(*mask.mask.shape) > 0.5
    mask.set_mask(chosen)
    ks.strip(model)
    assert model.layers[0] is conv and conv.kernel is kernel
    np.testing.assert_array_equal(kernel.numpy() != 0, chosen)
    # No negative zeros either, which a compressor would see as other bytes.
    assert not np.signbit(kernel.numpy()[~chosen]).any()


def test_a_mask_of_another_shape_is_refused():
    mask = ks.Mask()
    mask.build((2, 3))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        mask.set_mask(np.ones((3, 2)))
