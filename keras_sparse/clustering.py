"""A few shared values for many weights, after training."""

from __future__ import annotations

import keras

from keras_sparse import _surgery
from keras_sparse._traversal import Filter
from keras_sparse.parametrizations.clustered import Clustered
from keras_sparse.selection import check_no_nan
from keras_sparse.sparsify import parametrized, sparsify, strip


def cluster(
    model: keras.Model,
    clusters: int = 16,
    *,
    per_channel: bool = False,
    where: Filter | None = None,
    exclude: Filter | None = None,
) -> keras.Model:
    """Rounds the weights of a plain, trained model to shared values, in place.

    In each layer, every weight that is not zero becomes the nearest of at
    most `clusters` values, which k-means finds; zeros stay zeros. A file of
    such weights is as large as before, and smaller after gzip, as an app
    store or a flash image holds it. To train the shared values further, take
    `sparsify(model, keras_sparse.Clustered(...))` instead, `fit`, and `strip`.

    Args:
        model: A built, plain model.
        clusters: How many values that are not zero a layer may have, from 2
            to 65535.
        per_channel: Whether the values are in units of the largest weight of
            the output channel. That is for `export_tflite` with int8 weights:
            each layer then has at most so many different bytes. The default
            is for float32 and float16.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.

    Returns:
        The same model.

    Raises:
        ValueError: If the number of clusters is out of range, the model is
            sparsified, or a weight is NaN. The model is then unchanged.

    Reference:
        Han, Mao and Dally, "Deep compression", ICLR 2016, section 3.

    Example:

    >>> import keras, numpy as np, keras_sparse as ks
    >>> model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(20)])
    >>> model = ks.cluster(ks.prune(model, 0.5), clusters=8)
    >>> kernel = model.layers[0].get_weights()[0]
    >>> int((kernel == 0).sum()), len(np.unique(kernel[kernel != 0]))
    (500, 8)
    """
    if any(True for _ in parametrized(model)):
        raise ValueError(
            "Expected a plain model. Received one that is sparsified already. "
            "Call `strip` first."
        )
    for variable in model.trainable_variables:
        check_no_nan(_surgery.to_numpy(_surgery.read(variable)), "weights")
    made = Clustered(clusters, per_channel=per_channel, trainable=False)
    return strip(
        sparsify(model, made, where=where, exclude=exclude, verbose=False)
    )
