import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse._selection.reconstruction import reconstruct
from keras_sparse.sparse_gpt import _hessian, _weights

L = keras.layers


def test_the_second_weight_takes_over_for_the_first():
    """Two inputs: dropping w0 moves w1 by w0 h01 / h11 (least squares)."""
    hessian = np.array([[2.0, 1.0], [1.0, 4.0]])
    w = reconstruct(np.array([[1.0], [3.0]]), hessian, 0.5, damping=0.0)
    np.testing.assert_allclose(w, [[0.0], [3.25]])


def test_a_diagonal_hessian_leaves_the_others_as_they_are():
    w = np.array([[0.1, -2.0], [3.0, 0.2], [-1.0, 0.3], [0.4, 5.0]])
    found = reconstruct(w, np.eye(4), 0.5)
    np.testing.assert_allclose(found, np.where(np.abs(w) > 0.45, w, 0.0))
    # An input that is four times as strong counts four times as much.
    strong = np.diag([400.0, 1.0, 1.0, 1.0])
    assert (reconstruct(w, strong, 0.5, damping=0.0)[0] != 0).all()


def test_weights_of_silent_inputs_go_first_and_the_number_stays_exact():
    w = np.arange(1.0, 7.0).reshape(3, 2)
    hessian = np.diag([1.0, 0.0, 2.0])
    for share, zeros in ((0.0, 0), (0.2, 1), (1 / 3, 2), (0.5, 3)):
        found = reconstruct(w, hessian, share)
        assert np.count_nonzero(found == 0) == zeros
        assert np.count_nonzero(found[1] == 0) == min(zeros, 2)


@pytest.mark.parametrize(
    "make, shape, rows",
    [
        (
            lambda: L.Conv2D(4, 2, data_format="channels_first"),
            (3, 5, 5),
            lambda x: np.lib.stride_tricks.sliding_window_view(
                x, (2, 2), axis=(2, 3)
            ).transpose(0, 2, 3, 4, 5, 1),
        ),
        (lambda: L.EinsumDense("abc,cd->adb", (6, 3)), (3, 5), lambda x: x),
        (
            lambda: L.EinsumDense("abc,cde->adbe", (2, 3, 4)),
            (3, 5),
            lambda x: x,
        ),
    ],
)
def test_the_hessian_is_that_of_the_inputs(make, shape, rows):
    x = np.random.default_rng(0).normal(size=(7, *shape)).astype("float32")
    model = keras.Sequential([keras.Input(shape), make()])
    (weight,) = _weights(model, None, None)
    try:
        found = _hessian(model, weight, [x])
    except Exception as error:  # noqa: BLE001
        if "NCHW" in str(error) or "NHWC" in str(error):
            pytest.skip("TensorFlow has no such convolution on CPUs")
        raise
    wanted = rows(x).reshape(-1, len(found))
    np.testing.assert_allclose(found, wanted.T @ wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("block", [4, 7, 128])
def test_zeros_are_exact_in_blocks_of_any_size(block):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 30)) @ rng.normal(size=(30, 30))
    w = rng.normal(size=(30, 11))
    found = reconstruct(w, x.T @ x, 0.7, block=block)
    assert np.count_nonzero(found == 0) == 231
    by_magnitude = np.where(ks.patterns.unstructured(np.abs(w), 0.7), w, 0.0)
    assert (
        np.square(x @ (found - w)).sum()
        < 0.8 * np.square(x @ (by_magnitude - w)).sum()
    )


def convolutional():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.DepthwiseConv2D(3),
            L.Flatten(),
            L.Dense(5),
        ]
    )


def error_after(pruned, x, wanted):
    return np.square(pruned(x) - wanted).mean()


@pytest.mark.parametrize(
    "sparsity, pattern",
    [(0.6, ks.patterns.unstructured), (0.5, ks.patterns.n_m(2, 4))],
)
def test_outputs_move_less_than_by_magnitude(sparsity, pattern):
    x = np.random.default_rng(1).normal(size=(200, 8, 8, 4)).cumsum(-1)
    x = x.astype("float32")
    wanted = np.asarray(convolutional()(x))
    magnitude = ks.prune(
        convolutional(), sparsity, pattern=pattern, exclude="depthwise"
    )
    model = ks.sparse_gpt(
        convolutional(), sparsity, x, pattern=pattern, verbose=False
    )
    assert error_after(model, x, wanted) < 0.7 * error_after(
        magnitude, x, wanted
    )
    for number in (0, 4):
        kernel = model.layers[number].get_weights()[0]
        assert (kernel == 0).mean() == pytest.approx(sparsity, abs=0.001)
    depthwise = model.layers[2].get_weights()[0]
    assert np.array_equal(depthwise, convolutional().layers[2].get_weights()[0])
    if sparsity == 0.5:
        groups = model.layers[0].get_weights()[0].reshape(-1, 4, 8)
        assert ((groups != 0).sum(1) == 2).all()


def test_the_identity_returns_what_a_contraction_multiplies():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    heads = L.EinsumDense("abc,cde->abde", (6, 2, 3), bias_axes="de")(inputs)
    outputs = L.EinsumDense("abde,def->abf", (6, 5))(heads)
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(50, 6, 4)).astype("float32")
    wanted = np.asarray(model(x))
    ks.sparse_gpt(model, 0.5, x, verbose=False)
    assert [(w == 0).mean() for w in model.get_weights() if w.ndim == 3] == [
        0.5,
        0.5,
    ]
    assert np.square(model(x) - wanted).mean() < np.square(wanted).mean() / 2


def test_zeros_follow_the_allocation():
    x = np.random.default_rng(0).normal(size=(50, 8, 8, 4)).astype("float32")
    model = ks.sparse_gpt(
        convolutional(),
        0.8,
        x,
        allocation=ks.allocations.global_,
        verbose=False,
    )
    wanted = ks.prune(
        convolutional(),
        0.8,
        allocation=ks.allocations.global_,
        exclude="depthwise",
    )
    for number in (0, 4):
        kernels = [m.layers[number].get_weights()[0] for m in (model, wanted)]
        assert np.count_nonzero(kernels[0]) == np.count_nonzero(kernels[1])


def test_errors_leave_the_model_as_it_was():
    model = convolutional()
    before = model.get_weights()
    x = np.ones((4, 8, 8, 4), "float32")
    bad = x.copy()
    bad[0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        ks.sparse_gpt(model, 0.5, bad, verbose=False)
    with pytest.raises(ValueError, match="n_m"):
        ks.sparse_gpt(model, 0.5, x, pattern=ks.patterns.channel())
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        ks.sparse_gpt(model, 1.0, x)
    with pytest.raises(ValueError, match="calibrate on.*at least one batch"):
        ks.sparse_gpt(model, 0.5, x[:0])
    with pytest.raises(ValueError, match="damping above 0"):
        ks.sparse_gpt(model, 0.5, x, damping=0.0)
    with pytest.raises(ValueError, match="with none among those chosen"):
        ks.sparse_gpt(model, 0.5, x, where="depthwise")
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(ValueError, match="Call `strip` first"):
        ks.sparse_gpt(ks.sparsify(model, ks.Mask(), verbose=False), 0.5, x)


def test_batches_calibrate_as_one_array_does():
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(40, 8, 8, 4)).astype("float32")
    one, other = convolutional(), convolutional()
    ks.sparse_gpt(one, 0.5, x, verbose=False)
    data = tf.data.Dataset.from_tensor_slices((x, x[:, 0, 0, 0])).batch(16)
    ks.sparse_gpt(other, 0.5, data, verbose=False)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.fixture
def interactive():
    before = keras.config.is_interactive_logging_enabled()
    keras.config.enable_interactive_logging()
    yield
    if not before:
        keras.config.disable_interactive_logging()


def test_the_progress_bar_ends_its_line_after_an_error(interactive, capsys):
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), L.Dense(4), L.Dense(4)])
    ks.sparse_gpt(model, 0.5, x)
    shown = capsys.readouterr().out
    assert "2/2" in shown and shown.endswith("\n")
    model.layers[1].kernel.assign(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="finite"):
        ks.sparse_gpt(model, 0.5, x)
    shown = capsys.readouterr().out
    assert "1/2" in shown and shown.endswith("\n")
