"""Masks on models: exact counts, scores with gradients, `prune`."""

import tracemalloc

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse.pruning import masked_weights, update_masks


def one_layer(kernel):
    kernel = np.asarray(kernel, "float32")
    model = keras.Sequential(
        [
            keras.Input((kernel.shape[0],)),
            keras.layers.Dense(kernel.shape[1], use_bias=False),
        ]
    )
    model.set_weights([kernel])
    return model


def zeros_of(model):
    return [int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1]


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.5, 50), (0.9999, 99)])
def test_exact_count_of_distinct_weights(sparsity, zeros):
    model = one_layer(np.arange(1, 101).reshape(10, 10))
    assert zeros_of(ks.prune(model, sparsity)) == [zeros]


def test_exact_count_of_equal_weights():
    model = one_layer(np.full((10, 10), 0.3))
    assert zeros_of(ks.prune(model, 0.37)) == [37]


def test_global_allocation_over_two_layers():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(1, use_bias=False),
            keras.layers.Dense(2, use_bias=False),
        ]
    )
    model.set_weights(
        [np.array([[0.1], [0.9], [-0.2], [0.5]]), np.array([[0.7, 0.8]])]
    )
    ks.prune(model, 0.5, allocation=ks.allocations.global_)
    first, second = model.get_weights()
    assert (first[:, 0] != 0).tolist() == [False, True, False, False]
    assert (second[0] != 0).tolist() == [True, True]


def test_saliency_is_weight_times_dense_gradient():
    # loss = mean over one example of (x @ w - y)^2 with x = [1, 2], y = 0 and
    # w = [3, 1]: dL/dw = 2 (x @ w) x = [10, 20], so |w g| = [30, 20].
    model = one_layer([[3.0], [1.0]])
    model.compile("sgd", "mse")
    data = (np.array([[1.0, 2.0]]), np.array([[0.0]]))
    ks.prune(model, 0.5, score=ks.scores.saliency, data=data)
    assert (model.get_weights()[0][:, 0] != 0).tolist() == [True, False]


def test_a_data_set_is_no_batch():
    model = one_layer([[3.0], [1.0]])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: range"):
        ks.prune(model, 0.5, score=ks.scores.saliency, data=range(3))


def test_gradients_of_masked_weights_are_seen():
    from keras_sparse._selection.gradients import weight_gradients
    from keras_sparse.pruning import masked_weights

    model = one_layer([[3.0], [1.0]])
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile("sgd", "mse")
    weights = masked_weights(model)
    weight = next(iter(weights.values()))
    weight.mask.set_mask([[1], [0]])
    batch = (np.array([[1.0, 2.0]]), np.array([[0.0]]))
    # x @ (w * mask) = 3, so the gradient is 2 * 3 * x, also where masked.
    (gradient,) = weight_gradients(model, [weight], batch)
    np.testing.assert_allclose(gradient, [[6.0], [12.0]])


def test_a_step_commits_nothing_to_batch_normalization():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
        ]
    )
    model.compile("sgd", "mse")
    before = [w.copy() for w in model.layers[1].get_weights()]
    data = (np.random.rand(8, 4), np.random.rand(8, 3))
    ks.prune(model, 0.5, score=ks.scores.saliency, data=data)
    for a, b in zip(before, model.layers[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "1.0"),
        ({"sparsity": -0.1}, "-0.1"),
        ({"sparsity": 0.5, "where": "nothing"}, "matches none of"),
        ({"sparsity": 0.5, "score": ks.scores.saliency}, "data"),
        ({"sparsity": 0.5, "allocation": {"nowhere": 0.5}}, "nowhere"),
        (
            {"sparsity": 0.5, "allocation": lambda w, s, scores: {}},
            "none for .*kernel",
        ),
        ({"sparsity": 0.5, "score": "magnitude"}, "'magnitude'"),
        ({"sparsity": 0.5, "pattern": ks.patterns.n_m}, "must be called"),
        ({"sparsity": 0.5, "score": lambda w, grad: w[0]}, r"\(10,\)"),
        (
            {"sparsity": 0.5, "pattern": lambda score, s: score[:1] > 0},
            r"\(1, 10\)",
        ),
    ],
)
def test_a_refused_call_leaves_the_model_as_it_was(arguments, message):
    model = one_layer(np.arange(1, 101).reshape(10, 10))
    before, config = model.get_weights(), model.get_config()
    with pytest.raises(ValueError, match=message):
        ks.prune(model, **arguments)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert model.get_config() == config


def test_nan_is_refused_where_nothing_is_pruned():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(2)]
    )
    first, second = model.layers
    second.kernel.assign(np.full((2, 2), np.nan))
    shares = {f"{first.path}/kernel": 0.5, f"{second.path}/kernel": 0.0}
    with pytest.raises(ValueError, match="NaN in 4 of 4"):
        ks.prune(model, 0.25, allocation=shares)
    assert np.count_nonzero(first.kernel) == 4


def test_nan_weights_are_refused():
    model = one_layer(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        ks.prune(model, 0.5)
    assert np.isnan(model.get_weights()[0]).all()


def test_a_sparsified_model_is_refused():
    model = ks.sparsify(one_layer(np.eye(3)), ks.Mask(), verbose=False)
    with pytest.raises(ValueError, match="strip"):
        ks.prune(model, 0.5)


def test_han_thresholds_follow_each_layers_deviation():
    # Deviation of [-3, -1, 1, 3] is sqrt(5) = 2.236: below it lie two of four.
    model = one_layer([[-3.0], [-1.0], [1.0], [3.0]])
    ks.prune(model, 0.0, allocation=ks.allocations.std_threshold(1.0))
    assert model.get_weights()[0][:, 0].tolist() == [-3.0, 0.0, 0.0, 3.0]


def test_weights_that_moved_while_masked_are_let_in_at_zero():
    from keras_sparse.pruning import masked_weights, update_masks

    model = ks.sparsify(
        one_layer([[4.0], [3.0], [2.0], [1.0]]), ks.Mask(), verbose=False
    )
    weights = masked_weights(model)
    (weight,) = weights.values()
    update_masks(model, weights, 0.75)
    weight.each.raw.assign([[4.0], [9.0], [9.0], [9.0]])  # as Muon might
    # Their score is still 0, and of equal ones the last are let in.
    assert weight.value().ravel().tolist() == [4.0, 0.0, 0.0, 0.0]
    update_masks(model, weights, 0.5)
    assert weight.kept().ravel().tolist() == [True, False, False, True]
    assert model.get_weights()[0].ravel().tolist() == [4.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "allocation", [ks.allocations.uniform, ks.allocations.global_]
)
def test_an_update_holds_all_masks_but_the_scores_of_one_weight(allocation):
    from keras_sparse.pruning import masked_weights, update_masks

    model = keras.Sequential(
        [keras.Input((400,)), *(keras.layers.Dense(400) for _ in range(8))]
    )
    ks.sparsify(model, ks.Mask(), verbose=False)
    weights = masked_weights(model)
    update_masks(model, weights, 0.5, allocation=allocation)
    tracemalloc.start()
    update_masks(model, weights, 0.75, allocation=allocation)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    masks, one_weight = 8 * 400 * 400, 4 * 400 * 400
    assert peak < masks + 2.5 * one_weight  # All weights would be 8.


def test_an_error_in_a_later_round_leaves_the_model_as_it_was():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 10)), np.ones((8, 10)), verbose=0)
    before = [np.array(v) for v in (*model.weights, *model.optimizer.variables)]
    calls = []

    def failing(w, grad=None):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")
        return np.abs(w)

    with pytest.raises(RuntimeError, match="no more"):
        ks.prune(model, 0.5, score=failing, rounds=4)
    after = [np.array(v) for v in (*model.weights, *model.optimizer.variables)]
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_array_equal(expected, found)


def test_a_score_may_be_of_keras_ops():
    model = one_layer(np.arange(1, 101).reshape(10, 10))
    ks.prune(model, 0.5, score=lambda w, grad: -keras.ops.abs(w))
    kernel = model.get_weights()[0]
    assert np.all(kernel.ravel()[:50] > 0) and np.all(kernel.ravel()[50:] == 0)


def test_a_sparsity_beyond_the_pattern_is_told():
    model = one_layer(np.arange(1, 101).reshape(10, 10))
    with pytest.warns(UserWarning, match="no more than 0.5 of the weights"):
        ks.prune(model, 0.8, pattern=ks.patterns.n_m(2, 4))


@pytest.mark.parametrize("rounds", [1, 3])
def test_several_rounds_end_at_the_count_of_one(rounds):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    ks.prune(model, 0.3, rounds=rounds)
    # .3 of 15 is 4.5, which rounds to 4.
    assert np.sum(model.layers[0].get_weights()[0] == 0) == 4


def test_weights_that_are_gone_do_not_come_back_for_what_shrinks():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(2, 16, 10)).astype("float32")
    weights = masked_weights(model)
    [weight] = weights.values()
    for sparsity in (0.5, 0.6):
        before = weight.kept()
        update_masks(
            model, weights, sparsity, score=ks.scores.movement, batch=(*batch,)
        )
        assert np.all(weight.kept() <= before)
