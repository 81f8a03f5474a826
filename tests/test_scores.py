"""Scores by hand, and the gradients they need."""

import functools
import pickle

import numpy as np
import pytest

from keras_sparse import scores

W = np.array([[-0.5, 0.25], [2.0, 0.0]], np.float32)
GRAD = np.array([[4.0, -8.0], [0.5, 3.0]], np.float32)


def test_magnitude():
    assert scores.magnitude(W).tolist() == [[0.5, 0.25], [2.0, 0.0]]


@pytest.mark.parametrize("score", [scores.saliency, scores.snip])
def test_saliency(score):
    assert score(W, GRAD).tolist() == [[2.0, 2.0], [1.0, 0.0]]


def test_movement():
    # -.5 with gradient 4 moves down, away from zero; 2 with .5 towards it.
    assert scores.movement(W, GRAD).tolist() == [[2.0, 2.0], [-1.0, -np.inf]]


def test_random_depends_on_shape_and_seed_only():
    first = scores.random(W)
    assert first.shape == W.shape and first.dtype == np.float32
    np.testing.assert_array_equal(first, scores.random(GRAD, grad=W))
    other = functools.partial(scores.random, seed=1)
    assert not np.array_equal(first, other(W))
    large = scores.random(np.zeros(10_000))
    assert 0 <= large.min() and large.max() < 1
    assert large.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "score", [scores.magnitude, scores.saliency, scores.snip, scores.movement]
)
def test_float32_stays_float32(score):
    assert score(W, GRAD).dtype == np.float32
    assert pickle.loads(pickle.dumps(score)) is score


def test_needs_gradient():
    with_gradient = [scores.saliency, scores.snip, scores.movement]
    assert all(scores.needs_gradient(score) for score in with_gradient)
    assert not scores.needs_gradient(scores.magnitude)
    assert not scores.needs_gradient(scores.random)
    assert not scores.needs_gradient(lambda w, grad=None: w)
    nested = functools.partial(functools.partial(scores.saliency), grad=GRAD)
    assert scores.needs_gradient(nested)


def test_own_score_with_gradient_and_options():
    @scores.uses_gradient
    def blend(w, grad, share=0.5):
        return share * np.abs(w) + (1 - share) * np.abs(grad)

    assert scores.needs_gradient(blend)
    assert blend(W, GRAD, share=0.0).tolist() == np.abs(GRAD).tolist()


@pytest.mark.parametrize(
    "score", [scores.saliency, scores.snip, scores.movement]
)
def test_gradient_is_asked_for(score):
    with pytest.raises(
        ValueError, match=f"{score.__name__}.*grad=None.*scores.magnitude"
    ):
        score(W)
    with pytest.raises(ValueError, match=r"\(2, 2\).*Received: shape \(2,\)"):
        score(W, GRAD[0])
