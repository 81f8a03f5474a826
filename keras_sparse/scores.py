"""Scores: how much each weight matters, as `(w, grad=None) -> array`.

The higher the score, the sooner a weight is kept. A score is any function of
the weight and, if it is marked with `uses_gradient`, of the gradient of the
loss with respect to the weight. The result has the shape of the weight.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Score = Callable[..., NDArray]


def uses_gradient(score: Score, signal: str = "gradient") -> Score:
    """Mark a score as one that needs a gradient, and check that it gets one.

    Args:
        score: Function `(w, grad) -> array`.
        signal: What it gets as `grad`: `"gradient"` (default) of the loss,
            `"hessian_gradient"`, `"synaptic_flow"` or `"input_norm"`.

    Returns:
        The function, which raises a `ValueError` when `grad` is missing or
        its shape is not that of `w`.

    Example:

    >>> @uses_gradient
    ... def steepness(w, grad):
    ...     return np.abs(grad)
    >>> needs_gradient(steepness)
    True
    """

    @functools.wraps(score)
    def checked(w: Any, grad: Any = None, **options: Any) -> NDArray:
        if grad is None:
            raise ValueError(
                f"Expected a gradient for the score `{score.__name__}`. "
                "Received: grad=None. Pass the gradient of the loss with "
                "respect to `w`, or use `scores.magnitude`, which needs none."
            )
        w, grad = np.asarray(w), np.asarray(grad)
        if w.shape != grad.shape:
            raise ValueError(
                f"Expected a gradient of the weight's shape {w.shape}. "
                f"Received: shape {grad.shape}. Pass the gradient of the "
                "loss with respect to this very weight."
            )
        return score(w, grad, **options)

    checked.needs_gradient = True  # type: ignore[attr-defined]
    checked.signal = signal  # type: ignore[attr-defined]
    return checked


def needs_gradient(score: Score) -> bool:
    """Whether a score must be called with a gradient.

    Args:
        score: A score, or a `functools.partial` of one.

    Example:

    >>> needs_gradient(magnitude), needs_gradient(saliency)
    (False, True)
    """
    return getattr(_function(score), "needs_gradient", False)


def needs_data(score: Score) -> bool:
    """Whether that gradient depends on a batch.

    Args:
        score: A score, or a `functools.partial` of one.

    Example:

    >>> needs_data(saliency), needs_data(synflow)
    (True, False)
    """
    return needs_gradient(score) and signal_of(score) != "synaptic_flow"


def signal_of(score: Score) -> str:
    """What a score gets as `grad`, see `uses_gradient`."""
    return getattr(_function(score), "signal", "gradient")


def _function(score: Score) -> Score:
    while isinstance(score, functools.partial):
        score = score.func
    return score


def magnitude(w: Any, grad: Any = None) -> NDArray:
    """Absolute value of the weight.

    Args:
        w: Array of any shape.
        grad: Not used.

    Example:

    >>> magnitude([-0.5, 0.25])
    array([0.5 , 0.25])

    Reference:
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 3.
    """
    return np.abs(np.asarray(w))


@uses_gradient
def saliency(w: Any, grad: Any = None) -> NDArray:
    """First-order estimate `|w * grad|` of what removing a weight changes.

    Args:
        w: Array of any shape.
        grad: Gradient of the loss with respect to `w`, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> saliency([-0.5, 0.25], grad=[2.0, -8.0])
    array([1., 2.])

    Reference:
        [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771), equation
        8, whose square root this is.
    """
    return np.abs(w * grad)


@uses_gradient
def snip(w: Any, grad: Any = None) -> NDArray:
    """Connection sensitivity: `saliency` of the weights at initialisation.

    The paper divides by the sum over all weights, which changes no order.

    Args:
        w: Array of any shape, before training.
        grad: Gradient of the loss with respect to `w`, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> snip([-0.5, 0.25], grad=[2.0, -8.0])
    array([1., 2.])

    Reference:
        [Lee et al., 2019](https://arxiv.org/abs/1810.02340), equation 5.
    """
    return saliency(w, grad)


@uses_gradient
def movement(w: Any, grad: Any = None) -> NDArray:
    """How fast gradient descent moves a weight away from zero: `-w * grad`.

    Negative for a weight that shrinks; weights that are zero, as under a mask,
    come last. The paper sums this over the steps of training; a gradient
    averaged over several batches comes nearer to that.

    Args:
        w: Array of any shape.
        grad: Gradient of the loss with respect to `w`, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> movement([-0.5, 0.25], grad=[2.0, 8.0])
    array([ 1., -2.])

    Reference:
        [Sanh et al., 2020](https://arxiv.org/abs/2005.07683), section 4.
    """
    return np.where(w == 0, -np.inf, -w * grad)


@functools.partial(uses_gradient, signal="hessian_gradient")
def grasp(w: Any, grad: Any = None) -> NDArray:
    """Gradient flow that a weight carries at initialisation: `w * (H g)`.

    The paper removes the weights with the largest `-w (H g)`; those that are
    zero go first here. It divides the logits by 200, which this does not.

    Args:
        w: Array of any shape, before training.
        grad: The Hessian of the loss times its gradient, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> grasp([-0.5, 0.25], grad=[2.0, 8.0])
    array([-1.,  2.])

    Reference:
        [Wang et al., 2020](https://arxiv.org/abs/2002.07376), equation 8.
    """
    return np.where(w == 0, -np.inf, w * grad)


@functools.partial(uses_gradient, signal="synaptic_flow")
def synflow(w: Any, grad: Any = None) -> NDArray:
    """Synaptic flow through a weight, without data: `|w| * dR/d|w|`.

    R is the sum of the outputs for inputs of ones, with all weights replaced
    by their magnitudes. Use it with `keras_sparse.prune(..., rounds=100)`,
    and on a model that ends in logits.

    Args:
        w: Array of any shape, before training.
        grad: Gradient of R with respect to `|w|`, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> synflow([-0.5, 0.25], grad=[2.0, 8.0])
    array([1., 2.])

    Reference:
        [Tanaka et al., 2020](https://arxiv.org/abs/2006.05467), equation 2.
    """
    return np.abs(w) * grad


@functools.partial(uses_gradient, signal="input_norm")
def wanda(w: Any, grad: Any = None) -> NDArray:
    """Magnitude times the norm of what the weight multiplies, `|w| * |x|`.

    For trained models, with a few hundred examples. The paper ranks within
    each output: pass `pattern=patterns.per_output`.

    Args:
        w: Array of any shape.
        grad: L2 norms of the inputs over a batch, of the same shape.

    Raises:
        ValueError: If `grad` is missing or has another shape.

    Example:

    >>> wanda([-0.5, 0.25], grad=[2.0, 8.0])
    array([1., 2.])

    Reference:
        [Sun et al., 2024](https://arxiv.org/abs/2306.11695), equation 1.
    """
    return np.abs(w) * grad


def random(w: Any, grad: Any = None, seed: int = 0) -> NDArray[np.float32]:
    """Uniform random score, the baseline that every other score must beat.

    The score depends on the shape and the seed only: it stays the same while
    the sparsity grows, so that masks are nested, and weights of equal shape
    get equal masks. Use `functools.partial(scores.random, seed=1)` for
    another draw.

    Args:
        w: Array of any shape.
        grad: Not used.
        seed: Integer. Defaults to 0.

    Example:

    >>> score = random(np.zeros((2, 3)))
    >>> score.shape, bool(np.all((0 <= score) & (score < 1)))
    ((2, 3), True)
    """
    return np.random.default_rng(seed).random(np.shape(w), np.float32)
