"""Which searches a checkpoint is of, and which it is not."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import lottery
from keras_sparse.lottery.rounds.identity import describe_layers

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
COMPILE = {"optimizer": "sgd", "loss": "mse", "run_eagerly": True}


def net(activation="relu"):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation), layers.Dense(2)]
    )


def fit(**more):
    return {"x": X, "y": X[:, :2], "verbose": 0, **more}


def search(path, model=None, **arguments):
    given = {"fit": fit(), "rounds": 0, "compile": COMPILE, **arguments}
    return lottery.find_ticket(
        model or net(), checkpoint=path, verbose=False, **given
    )


def test_another_search_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    search(path, data_name="noise", test_data=(X, X[:, :2]))
    same = {"data_name": "noise", "test_data": (X, X[:, :2])}
    search(path, **same)
    tested = (X, X[:, 1:3])
    for name, other in {
        "layers": {"model": net("tanh")},
        "fit": {"fit": fit(x=X * 100)},
        "class_weight": {"fit": fit(class_weight={0: 1.0, 1: 2.0})},
        "data": {"data_name": "signal"},
        "test_data": {"test_data": tested},
        "control_rounds": {"control_rounds": [1]},
    }.items():
        with pytest.raises(ValueError, match=f"another one: here .*{name}"):
            search(path, **{**same, **other})


def test_the_same_search_is_not_refused(tmp_path):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X[:8], X[:8, :2]

    def run(verbose, rounds, seed):
        return lottery.train_prune_finetune(
            net(),
            fit(),
            finetune={"x": Batches(), "y": None, "verbose": verbose},
            rounds=rounds,
            compile=COMPILE,
            checkpoint=tmp_path / "a.npz",
            seed=seed,
            verbose=False,
        )

    run(0, 0, np.int64(3))
    assert len(run(2, 1, 3).rounds) == 2
    assert len(run(0, 2, np.int64(3)).rounds) == 3


def graph(skip=True, first="relu"):
    inputs = keras.Input((4,))
    inner = net(first)
    a = inner(inputs)
    b = layers.Dense(2, "softmax")(inputs)
    c = layers.Softmax()(keras.ops.add(a, b if skip else a))
    return keras.Model(inputs, [b, c])


def test_layers_are_known_by_configs_and_wiring_not_by_names():
    assert describe_layers(graph()) == describe_layers(graph())
    assert describe_layers(graph()) != describe_layers(graph(skip=False))
    assert describe_layers(graph()) != describe_layers(graph(first="tanh"))
    lambdas = [
        keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2)])
        for _ in range(2)
    ]
    assert len({describe_layers(each) for each in lambdas}) == 1
    model = net()
    model.layers[0].trainable = False
    assert describe_layers(model) != describe_layers(net())
    halved = keras.Sequential(
        [keras.Input((4,)), layers.Dense(2, dtype="mixed_bfloat16")]
    )
    whole = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    assert describe_layers(halved) != describe_layers(whole)
