"""Exact selection, with and without histograms."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_sparse import selection
from keras_sparse._arithmetic import histogram

SCORES = {
    "plain": [3.0, 1.0, 2.0, 5.0, 4.0],
    "negative": [-3.0, 1.0, -2.0, 0.0, 4.0],
    "ties": [1.0, 1.0, 1.0, -1.0, -1.0],
    "zeros of both signs": [0.0, -0.0, 1e-45, -1e-45, -0.0],
    "infinite": [np.inf, -np.inf, 0.0, np.inf, 3e38],
}


def by_histogram(arrays, k):
    dtype = np.result_type(np.float32, *arrays)
    return histogram.select_by_histogram(arrays, k, dtype)


@pytest.mark.parametrize("select", [selection.kth_smallest, by_histogram])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", SCORES)
def test_every_rank(name, dtype, select):
    with np.errstate(over="ignore"):  # 3e38 is infinite in float16.
        score = np.array(SCORES[name], dtype)
    pooled = [score[:2], score[2:].reshape(3, 1)]
    found = [select(pooled, k) for k in range(1, 6)]
    assert found == sorted(score.tolist())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_histograms_find_what_sorting_finds(dtype, data):
    score = data.draw(
        hnp.arrays(
            dtype,
            st.integers(1, 60),
            elements=st.floats(
                allow_nan=False, width=8 * np.dtype(dtype).itemsize
            ),
        )
    )
    k = data.draw(st.integers(1, score.size))
    cut = data.draw(st.integers(0, score.size))
    found = by_histogram([score[:cut], score[cut:]], k)
    assert found == np.sort(score)[k - 1]


def test_pooled_large_arrays_need_no_copy():
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(shape, np.float32)
        for shape in [(1000, 1001), (2000, 500), (7,)]
    ]
    expected = np.sort(np.concatenate([a.ravel() for a in arrays]))
    tracemalloc.start()
    found = selection.kth_smallest(arrays, 1_234_567)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == expected[1_234_566]
    assert peak < 2**21  # A quarter of the 8 MB that the scores take.


@pytest.mark.parametrize("kind", ["normal", "sparse", "infinite", "equal"])
def test_large_arrays_are_split_where_sorting_says(kind):
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(shape, np.float32)
        for shape in [(900, 1000), (1, 1), (3, 333_333)]
    ]
    if kind == "equal":
        arrays = [np.full_like(array, -0.5) for array in arrays]
    elif kind != "normal":
        arrays[0][arrays[0] < 1] = {"sparse": 0, "infinite": np.inf}[kind]
    pooled = np.sort(np.concatenate([array.ravel() for array in arrays]))
    for k in (1, 2, 5000, 951_000, pooled.size - 1, pooled.size):
        threshold, below, until = selection.split_at(arrays, k)
        assert threshold == pooled[k - 1]
        assert below == [np.sum(array < threshold) for array in arrays]
        assert until == [np.sum(array <= threshold) for array in arrays]
        mask = selection.smallest_mask(arrays[2], k // 2)
        assert np.sum(~mask) == k // 2


@pytest.mark.parametrize("size", [100, 300_000])
def test_keys_are_compared_instead_of_entries(size):
    score = np.random.default_rng(0).standard_normal(size, np.float32)
    k = size // 3
    plain = selection.split_at([np.abs(score)], k)
    assert selection.split_at([score], k, np.abs) == plain
    found = histogram.select_by_histogram([score], k, score.dtype, np.abs)
    assert found == plain.threshold


def test_nan_is_found_in_the_last_piece():
    score = np.ones(1_500_000, np.float32)
    score[-1] = np.nan
    with pytest.raises(ValueError, match="NaN in 1 of 1500000"):
        selection.smallest_mask(score, 1_000_000)


def test_arrays_of_several_dtypes_are_compared_exactly():
    # 0.1 is larger in float32 than in float64.
    pooled = [np.float32([0.1]), np.float64([0.1]), np.array([0])]
    assert selection.kth_smallest(pooled, 1) == 0
    assert selection.kth_smallest(pooled, 2) == 0.1
    assert selection.kth_smallest(pooled, 3) == float(np.float32(0.1))


def test_layout_in_memory_does_not_matter():
    score = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    assert selection.kth_smallest([score.T[:, ::2]], 1) == 0
    mask = selection.smallest_mask(score.T, 5_000)
    np.testing.assert_array_equal(mask, score.T >= 5_000)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_rank_out_of_range(k):
    with pytest.raises(ValueError, match=f"from 1 to .* 3. Received: k={k}"):
        selection.kth_smallest([np.ones(3)], k)


@pytest.mark.parametrize("size", [5, 5_000])
def test_nan_is_refused(size):
    score = np.ones(size, np.float32)
    score[3] = np.nan
    message = f"NaN in 1 of {size} entries.* lower the learning rate"
    for zeros in (0, 2):
        with pytest.raises(ValueError, match=message):
            selection.smallest_mask(score, zeros)
    with pytest.raises(ValueError, match=message):
        selection.kth_smallest([score], 1)


def test_ties_are_dropped_from_the_front():
    score = np.array([[2.0, 1.0, 2.0], [2.0, 0.0, 2.0]])
    mask = selection.smallest_mask(score, 4)
    assert mask.tolist() == [[False, False, False], [True, False, True]]


@pytest.mark.parametrize("size", [1, 10, 5_000, 200_000])
def test_equal_scores_still_give_the_exact_count(size):
    score = np.full(size, 0.5, np.float32)
    for zeros in {0, size // 3, size - 1, size}:
        mask = selection.smallest_mask(score, zeros)
        np.testing.assert_array_equal(mask, np.arange(size) >= zeros)


def test_scalar_and_integer_scores():
    assert selection.smallest_mask(np.float32(3), 1).shape == ()
    assert selection.smallest_mask([3, 1, 2], 1).tolist() == [True, False, True]


@pytest.mark.parametrize("zeros", [-1, 4])
def test_number_of_zeros_out_of_range(zeros):
    with pytest.raises(ValueError, match=f"from 0 to .* 3. .*zeros={zeros}"):
        selection.smallest_mask(np.ones(3), zeros)


@given(
    score=hnp.arrays(
        "float32",
        hnp.array_shapes(max_dims=3, max_side=8),
        elements=st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 1.0]),
    ),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_mask_is_that_of_a_stable_sort(score, data):
    zeros = data.draw(st.integers(0, score.size))
    expected = np.ones(score.size, bool)
    expected[np.argsort(score, axis=None, kind="stable")[:zeros]] = False
    mask = selection.smallest_mask(score, zeros)
    np.testing.assert_array_equal(mask, expected.reshape(score.shape))


def test_zero_count_rounds_and_keeps_one():
    assert selection.zero_count(100, 0.5) == 50
    assert selection.zero_count(100, 0.9999) == 99
    assert selection.zero_count(7, 0.2) == 1
    assert selection.zero_count(1, 0.9) == 0


@pytest.mark.parametrize("value", [1.0, -0.1, 90, np.nan, "0.5", None, 1j])
def test_sparsity_out_of_range(value):
    with pytest.raises(ValueError, match=r"in \[0, 1\).*pass 0.9"):
        selection.check_sparsity(value)
