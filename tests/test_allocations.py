"""Allocations by hand, and budgets that are met exactly."""

import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_sparse import allocations, patterns

SPARSITY = st.floats(0, 1, exclude_max=True)
WEIGHTS = st.dictionaries(
    st.text(min_size=1, max_size=3),
    hnp.arrays(
        "float32",
        hnp.array_shapes(max_dims=3, max_side=6),
        elements=st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, 2.0]),
    ),
    min_size=1,
    max_size=5,
)


def shaped(**shapes):
    return {path: SimpleNamespace(shape=s) for path, s in shapes.items()}


def total_zeros(weights, found):
    return sum(round(found[path] * w.size) for path, w in weights.items())


def test_uniform():
    found = allocations.uniform(shaped(a=(2, 3), b=(4,)), 0.75)
    assert found == {"a": 0.75, "b": 0.75}


def test_global_by_hand():
    weights = {
        "a": np.float32([0.1, 0.9, -0.2, 0.5]),
        "b": np.float32([0.7, 0.8]),
    }
    found = allocations.global_(weights, 0.5)
    assert found == {"a": 0.75, "b": 0.0}
    masks = {
        path: patterns.unstructured(np.abs(w), found[path]).tolist()
        for path, w in weights.items()
    }
    assert masks == {"a": [False, True, False, False], "b": [True, True]}


def test_global_uses_the_scores_it_is_given():
    weights = {"a": np.float32([9, 9]), "b": np.float32([1, 1])}
    scores = {"b": np.float32([5, 4]), "a": np.float32([-3, 6])}
    found = allocations.global_(weights, 0.25, scores=scores)
    assert found == {"a": 0.5, "b": 0.0}


def test_global_shares_ties_out():
    weights = {"a": np.ones(4), "b": np.ones((4, 2))}
    assert allocations.global_(weights, 0.5) == {"a": 0.5, "b": 0.5}
    # 5 of 12: the first 4 get 5 * 4 // 12 = 1 of them, the others 4.
    assert allocations.global_(weights, 5 / 12) == {"a": 0.25, "b": 0.5}


def test_global_empties_no_weight():
    weights = {"a": np.float32([1, 2, 3]), "b": np.float32([4, 5, 6, 7, 8])}
    # Three of eight would be all of a: it keeps its 3, and b loses its 4.
    found = allocations.global_(weights, 3 / 8)
    assert found == pytest.approx({"a": 2 / 3, "b": 1 / 5})
    # No more than six of eight can go.
    found = allocations.global_(weights, 0.99)
    assert found == pytest.approx({"a": 2 / 3, "b": 4 / 5})


def test_global_empties_no_weight_after_the_second_threshold():
    weights = {
        "a": np.float32([1, 2]),
        "b": np.float32([3, 4]),
        "c": np.float32([5, 6, 7, 8]),
    }
    # 3 of 8: a would lose both, b then too; so c loses one.
    found = allocations.global_(weights, 3 / 8)
    assert found == {"a": 0.5, "b": 0.5, "c": 0.25}


def test_global_compares_dtypes_exactly():
    # float32 .1 is above float64 .1, so the float64 one goes first.
    weights = {"a": np.float32([0.1, 9]), "b": np.array([0.1, 9])}
    assert allocations.global_(weights, 0.25) == {"a": 0.0, "b": 0.5}


def test_global_by_hand_at_scale():
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.normal(0, 1, (200, 300)).astype("float32"),
        "b": rng.normal(0, 3, (3, 3, 64, 32)).astype("float32"),
    }
    found = allocations.global_(weights, 0.9)
    pooled = np.sort(
        np.abs(np.concatenate([w.ravel() for w in weights.values()]))
    )
    threshold = pooled[round(0.9 * pooled.size)]
    for path, w in weights.items():
        assert found[path] == np.mean(np.abs(w) < threshold)


@given(WEIGHTS, SPARSITY)
@settings(max_examples=100, deadline=None)
def test_global_meets_the_budget(weights, sparsity):
    found = allocations.global_(weights, sparsity)
    assert list(found) == list(weights)
    assert all(0 <= s < 1 for s in found.values())
    size = sum(w.size for w in weights.values())
    expected = min(round(sparsity * size), size - len(weights))
    assert total_zeros(weights, found) == expected
    kept, gone = [], []
    for path, w in weights.items():
        mask = patterns.unstructured(np.abs(w), found[path])
        assert mask.any()
        kept.extend(np.sort(np.abs(w[mask]))[:-1])  # All but the largest.
        gone.extend(np.abs(w[~mask]))
    assert not kept or not gone or max(gone) <= min(kept)


def test_erdos_renyi_by_hand():
    # Densities are e * 8/16 and e * 16/64; .25 * 80 = e * (8 + 16).
    found = allocations.erdos_renyi(shaped(a=(4, 4), b=(8, 8)), 0.75)
    epsilon = 20 / 24
    expected = {"a": 1 - epsilon / 2, "b": 1 - epsilon / 4}
    assert found == pytest.approx(expected)


def test_erdos_renyi_kernel_counts_every_axis():
    # 3x3x4x8: 18 over 288. 10x10: 20 over 100. .1 * 388 = e * 38.
    found = allocations.erdos_renyi(shaped(a=(3, 3, 4, 8), b=(10, 10)), 0.9)
    epsilon = 38.8 / 38
    expected = {"a": 1 - epsilon * 18 / 288, "b": 1 - epsilon * 0.2}
    assert found == pytest.approx(expected)


def test_erdos_renyi_overfull_becomes_dense():
    # .5 * 106 = e * (5 + 20) gives a 53 / 25 * 5 / 6 > 1, so it is dense and
    # b gets 53 - 6 = 47 of its 100.
    found = allocations.erdos_renyi(shaped(a=(2, 3), b=(10, 10)), 0.5)
    assert found == {"a": 0.0, "b": pytest.approx(0.53)}


def test_erdos_renyi_lenet():
    # A tenth of 266 200 weights: e * (1084 + 400 + 110) = 26 620.
    found = allocations.erdos_renyi(
        shaped(a=(784, 300), b=(300, 100), c=(100, 10)), 0.9
    )
    # The 1000 of c would get e * 110 = 1837: dense, and e becomes
    # (26 620 - 1000) / 1484 = 17.264.
    epsilon = 25_620 / 1484
    assert found["c"] == 0.0
    assert found["a"] == pytest.approx(1 - epsilon * 1084 / 235_200)
    assert found["b"] == pytest.approx(1 - epsilon * 400 / 30_000)


@example(
    {"a": np.ones((3, 3, 3))} | {b: np.ones((1, 1, 1)) for b in "bcde"},
    1 - 2**-53,
)
@given(WEIGHTS, SPARSITY)
@settings(max_examples=100, deadline=None)
def test_erdos_renyi_sums_to_the_budget(weights, sparsity):
    found = allocations.erdos_renyi(weights, sparsity)
    assert list(found) == list(weights)
    assert all(0 <= s < 1 for s in found.values())
    size = sum(w.size for w in weights.values())
    kept = sum((1 - found[path]) * w.size for path, w in weights.items())
    assert kept == pytest.approx((1 - sparsity) * size, rel=1e-6)


@given(WEIGHTS)
@settings(deadline=None)
def test_nothing_asked_is_exactly_nothing(weights):
    for allocation in (
        allocations.uniform,
        allocations.global_,
        allocations.erdos_renyi,
        allocations.explicit({}),
    ):
        assert set(allocation(weights, 0.0).values()) == {0.0}


def test_std_threshold_by_hand():
    a = np.float32([-3, -1, 1, 3])  # Deviation sqrt(5) = 2.24.
    b = np.float32([2, 2, 2, 10])  # Deviation sqrt(12) = 3.46.
    weights = {"a": a, "b": b}
    found = allocations.std_threshold(1.0)(weights, 0.1)
    assert found == {"a": 0.5, "b": 0.75}
    # 1.5 deviations of a are 3.35, all of it: the largest stays.
    found = allocations.std_threshold({"a": 1.5})(weights, 0.1)
    assert found == {"a": 0.75, "b": 0.0}


def test_std_threshold_of_equal_weights():
    weights = {"a": np.zeros(4), "b": np.ones(4)}
    found = allocations.std_threshold(1.0)(weights, 0.5)
    assert found == {"a": 0.0, "b": 0.0}


@given(WEIGHTS, st.floats(0, 10))
@settings(max_examples=50, deadline=None)
def test_std_threshold_counts(weights, q):
    found = allocations.std_threshold(q)(weights, 0.5)
    assert all(0 <= s < 1 for s in found.values())
    for path, w in weights.items():
        below = np.sum(np.abs(w) < np.float32(q * np.std(w.astype("float64"))))
        assert round(found[path] * w.size) == min(below, w.size - 1)


def test_explicit():
    allocation = allocations.explicit({"b": 0.3})
    weights = shaped(a=(2, 3), b=(4,))
    assert allocation(weights, 0.2) == {"a": 0.2, "b": 0.2}
    assert allocation(weights, 0.9) == {"a": 0.9, "b": 0.3}


def test_get():
    assert allocations.get({"a": 0.5}) == allocations.explicit({"a": 0.5})
    assert allocations.get(allocations.uniform) is allocations.uniform
    threshold = allocations.std_threshold(1.0)
    assert allocations.get(threshold) is threshold

    def everything(**given):
        return dict.fromkeys(given["weights"], given["sparsity"])

    assert allocations.get(everything) is everything


def halved(weights, sparsity):
    return dict.fromkeys(weights, sparsity / 2)


def test_get_of_a_function_without_scores():
    found = allocations.get(halved)
    weights = shaped(a=(2, 3))
    assert found(weights, 0.5, scores={"a": np.ones((2, 3))}) == {"a": 0.25}
    assert found(weights, 0.5) == {"a": 0.25}
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: allocations.uniform(w, 1.0), r"\[0, 1\)"),
        (lambda w: allocations.global_(w, -0.1), r"\[0, 1\)"),
        (lambda w: allocations.erdos_renyi(w, 90), "pass 0.9"),
        (lambda w: allocations.explicit({})(w, 1.0), r"\[0, 1\)"),
        (lambda w: allocations.explicit({"a": 1}), "sparsity of 'a'"),
        (lambda w: allocations.explicit({"x": 0.5})(w, 0.5), r"\['a', 'b'\]"),
        (lambda w: allocations.std_threshold({"x": 1})(w, 0), r": \['x'\]"),
        (lambda w: allocations.std_threshold(-1), "0 or more.*q=-1"),
        (lambda w: allocations.std_threshold(math.nan), "0 or more"),
        (lambda w: allocations.global_(w, 0.5, {"a": w["a"]}), "one score"),
        (lambda w: allocations.get("uniform"), "Received: 'uniform'"),
        (lambda w: allocations.get(allocations.std_threshold), "object such"),
        (lambda w: allocations.get(0.5), "Expected an allocation"),
    ],
)
def test_bad_input(make, message):
    weights = {"a": np.ones(3), "b": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        make(weights)


def test_nan_is_named_by_path():
    weights = {"a": np.ones(3), "conv/kernel": np.float32([1, np.nan])}
    for allocation in (allocations.global_, allocations.std_threshold(1.0)):
        with pytest.raises(ValueError, match="'conv/kernel' without NaN"):
            allocation(weights, 0.5)


def test_no_weights():
    for allocation in (
        allocations.uniform,
        allocations.global_,
        allocations.erdos_renyi,
        allocations.std_threshold(1.0),
    ):
        assert allocation({}, 0.5) == {}
