"""Patterns by hand, and exact on every shape."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_sparse import patterns

PATTERNS = [
    patterns.unstructured,
    patterns.block((1, 4)),
    patterns.block((3, 2)),
    patterns.n_m(2, 4),
    patterns.channel(),
    patterns.channel(0),
]
SCORE = hnp.arrays(
    "float32",
    hnp.array_shapes(max_dims=4, max_side=7),
    elements=st.floats(-2, 2, width=16),
)
SPARSITY = st.floats(0, 1, exclude_max=True)


def distinct(shape, seed=0):
    size = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(size)
    return order.reshape(shape).astype(np.float32)


def test_unstructured_counts():
    score = distinct((10, 10))
    assert patterns.unstructured(score, 0.5).sum() == 50
    np.testing.assert_array_equal(
        patterns.unstructured(score, 0.9999), score == 99
    )
    assert patterns.unstructured(np.ones((10, 10)), 0.5).sum() == 50
    assert patterns.unstructured(score, 0.0).all()


def test_block_by_hand():
    # Means over (1, 4) blocks, the last ones of two: 2.5 and 9; 1 and 8.
    score = [[1, 2, 3, 4, 9, 9], [1, 1, 1, 1, 8, 8]]
    mask = patterns.block((1, 4))(np.float32(score), 0.5)
    assert mask.tolist() == [[False] * 4 + [True] * 2] * 2
    mask = patterns.block((1, 4))(np.float32(score), 0.25)
    assert mask.tolist() == [[True] * 6, [False] * 4 + [True] * 2]


def test_block_across_rows_with_partial_edges():
    # Blocks (2, 2) over 3x3, means: 1 (four), 4 (two), 3 (two), 2 (one).
    score = [[1, 1, 4], [1, 1, 4], [3, 3, 2]]
    mask = patterns.block((2, 2))(np.float32(score), 0.5)
    expected = [[False, False, True], [False, False, True], [True, True, False]]
    assert mask.tolist() == expected


def test_block_takes_the_inputs_of_a_kernel_in_c_order():
    # Kernel 2x1x2x1: inputs (0,0,0), (0,0,1) | (1,0,0), (1,0,1).
    score = np.float32([1, 1, 2, 2]).reshape(2, 1, 2, 1)
    mask = patterns.block((2, 1))(score, 0.5)
    assert mask.ravel().tolist() == [False, False, True, True]
    assert mask.shape == score.shape


def test_n_m_by_hand():
    score = np.float32([[4, 1], [1, 2], [3, 3], [2, 4]])
    mask = patterns.n_m(2, 4)(score, 0.5)
    assert mask.T.tolist() == [
        [True, False, True, False],
        [False, False, True, True],
    ]
    one = patterns.n_m(1, 4)(score, 0.75)
    assert one.T.tolist() == [[True] + [False] * 3, [False] * 3 + [True]]


def test_n_m_ramps_up_to_the_pattern():
    score = distinct((8, 3))
    kept = [
        patterns.n_m(2, 4)(score, sparsity).sum() / 6
        for sparsity in (0.0, 0.2, 0.25, 0.49, 0.5, 0.9)
    ]
    assert kept == [4, 4, 3, 3, 2, 2]
    # 10 * (1 - .7) is above 3 in floating point.
    assert patterns.n_m(1, 10)(distinct((10, 1)), 0.7).sum() == 3


def test_n_m_of_a_first_convolution_keeps_2_2_1():
    mask = patterns.n_m(2, 4)(distinct((3, 3, 1, 6)), 0.5).reshape(9, 6)
    assert np.all(mask[:4].sum(axis=0) == 2)
    assert np.all(mask[4:8].sum(axis=0) == 2)
    assert np.all(mask[8:].sum(axis=0) == 1)


def test_n_m_of_a_last_group_longer_than_n():
    mask = patterns.n_m(2, 4)(distinct((7, 5)), 0.5)
    assert np.all(mask[4:].sum(axis=0) == 2)


def test_n_m_groups_run_along_the_input_channels():
    kernel = distinct((3, 3, 8, 5))
    groups = patterns.n_m(2, 4)(kernel, 0.5).reshape(3, 3, 2, 4, 5)
    assert np.all(groups.sum(axis=3) == 2)


def test_channel_by_hand():
    score = np.float32([[1, 5, 2], [1, 0, 2]])  # Sums 2, 5, 4 and 8, 3.
    mask = patterns.channel()(score, 0.34)
    assert mask.tolist() == [[False, True, True]] * 2
    mask = patterns.channel(axis=0)(score, 0.5)
    assert mask.tolist() == [[True] * 3, [False] * 3]
    assert patterns.channel()(score, 0.99).sum() == 2  # One column is kept.
    assert patterns.channel()(score[0], 0.5).tolist() == [False, True, False]


def named(pattern):
    return getattr(pattern, "__name__", str(pattern))


@pytest.mark.parametrize("pattern", PATTERNS, ids=named)
@given(SCORE, SPARSITY, SPARSITY)
@settings(max_examples=40, deadline=None)
def test_masks_are_nested_and_never_empty(pattern, score, a, b):
    before = score.copy()
    loose, tight = (pattern(score, s) for s in sorted((a, b)))
    assert loose.dtype == bool and loose.shape == score.shape
    assert loose.flags.writeable and tight.any()
    assert not np.any(tight & ~loose)
    assert pattern(score, 0.0).all()
    np.testing.assert_array_equal(score, before)


@given(SCORE, SPARSITY)
@settings(max_examples=60, deadline=None)
def test_unstructured_count_is_exact(score, sparsity):
    mask = patterns.unstructured(score, sparsity)
    zeros = min(round(sparsity * score.size), score.size - 1)
    assert np.count_nonzero(~mask) == zeros
    if zeros:
        assert score[~mask].max() <= score[mask].min()


@given(SCORE, SPARSITY, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_block_count_is_exact(score, sparsity, rows, columns):
    mask = patterns.block((rows, columns))(score, sparsity)
    mask = mask.reshape(-1, score.shape[-1])
    blocks = [
        mask[i : i + rows, j : j + columns]
        for i in range(0, mask.shape[0], rows)
        for j in range(0, mask.shape[1], columns)
    ]
    assert all(block.all() or not block.any() for block in blocks)
    dropped = sum(not block.any() for block in blocks)
    assert dropped == min(round(sparsity * len(blocks)), len(blocks) - 1)


@given(SCORE, SPARSITY, st.integers(1, 6), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_n_m_holds_in_every_group(score, sparsity, n, more):
    m = n + more
    mask = patterns.n_m(n, m)(score, sparsity)
    columns = mask.reshape(-1, score.shape[-1]).T
    scores = score.reshape(-1, score.shape[-1]).T
    keep = max(n, int(np.ceil(np.round(m * (1 - sparsity), 6))))
    for column, values in zip(columns, scores, strict=True):
        for start in range(0, column.size, m):
            group = column[start : start + m]
            assert group.sum() == min(keep, group.size)
            value = values[start : start + m]
            if not group.all():
                assert value[~group].max() <= value[group].min()


@given(SCORE, SPARSITY, st.data())
@settings(max_examples=60, deadline=None)
def test_channel_count_is_exact(score, sparsity, data):
    axis = data.draw(st.integers(-score.ndim, score.ndim - 1))
    mask = patterns.channel(axis)(score, sparsity)
    slices = np.moveaxis(mask, axis, 0).reshape(score.shape[axis], -1)
    assert all(one.all() or not one.any() for one in slices)
    dropped = sum(not one.any() for one in slices)
    assert dropped == min(round(sparsity * len(slices)), len(slices) - 1)


@pytest.mark.parametrize("pattern", PATTERNS, ids=named)
def test_bad_scores(pattern):
    score = distinct((4, 8))
    for sparsity in (1.0, -0.1, 90):
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            pattern(score, sparsity)
    score[2, 3] = np.nan
    for sparsity in (0.0, 0.5):
        with pytest.raises(ValueError, match="without NaN"):
            pattern(score, sparsity)


@pytest.mark.parametrize(
    "make",
    [
        lambda: patterns.n_m(3, 2),
        lambda: patterns.n_m(0, 4),
        lambda: patterns.n_m(2.0, 4),
        lambda: patterns.block((1, 0)),
        lambda: patterns.block(4),
        lambda: patterns.block((1, 4, 1)),
        lambda: patterns.block((1, 1.5)),
        lambda: patterns.channel(2)(np.ones((2, 2)), 0.5),
        lambda: patterns.channel()(np.float32(1), 0.5),
        lambda: patterns.n_m(2, 4)(np.float32(1), 0.5),
        lambda: patterns.block()(np.ones((0, 3)), 0.5),
        lambda: patterns.unstructured(np.ones(0), 0.5),
    ],
)
def test_bad_settings(make):
    with pytest.raises(ValueError, match="Expected .* Received: "):
        make()


def test_settings_are_readable_and_picklable():
    assert repr(patterns.n_m(2, 4)) == "n_m(n=2, m=4)"
    assert repr(patterns.block([4, 1])) == "block(shape=(4, 1))"
    assert repr(patterns.channel()) == "channel(axis=-1)"
    for pattern in PATTERNS:
        assert pickle.loads(pickle.dumps(pattern)) == pattern
