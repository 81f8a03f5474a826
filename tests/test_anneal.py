"""The ramp of the penalty, and the number of training examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sparse as ks


def bayesian(**kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    ks.sparsify(model, ks.Gaussian(**kwargs), verbose=False)
    model.compile("sgd", "mse")
    return model


def only(model):
    [(_, _, parametrization)] = ks.parametrized(model)
    return parametrization


def arrays(n=20):
    return np.ones((n, 4), "float32"), np.ones((n, 3), "float32")


class Betas(keras.callbacks.Callback):
    """Notes beta and N as the batches see them."""

    def __init__(self):
        super().__init__()
        self.beta, self.size = [], []

    def on_train_batch_begin(self, batch, logs=None):
        gaussian = only(self.model)
        self.beta.append(float(gaussian.beta.numpy()))
        per_example = float(gaussian.per_example.numpy())
        self.size.append(1 / per_example if per_example else None)


def fit(model, anneal, epochs=2, batch_size=4, n=20, **kwargs):
    watch = Betas()
    history = model.fit(
        *arrays(n),
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[anneal, watch],
        **kwargs,
    )
    return watch, history.history


def test_a_linear_ramp():
    watch, logs = fit(bayesian(), ks.callbacks.Anneal(begin=2, end=6))
    expected = [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert watch.beta == pytest.approx(expected)
    assert logs["beta"] == pytest.approx([0.5, 1.0])


def test_the_weight_is_where_the_ramp_ends():
    watch, _ = fit(bayesian(), ks.callbacks.Anneal(0, 4, weight=0.2))
    assert watch.beta[:5] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_by_default_half_of_the_steps():
    # 2 epochs of 20 steps: from 5%, step 2, to half, step 20.
    watch, _ = fit(bayesian(), ks.callbacks.Anneal(), batch_size=1)
    assert watch.beta[2] == 0.0
    assert watch.beta[3] == pytest.approx(1 / 18, abs=0.005)
    assert watch.beta[19] == pytest.approx(17 / 18, abs=0.005)
    assert watch.beta[20] == 1.0


def test_the_number_of_examples_is_counted():
    watch, _ = fit(bayesian(), ks.callbacks.Anneal(0, 0), batch_size=8)
    # 20 examples are 3 batches of 8, 8 and 4: 24 until the epoch is over.
    assert watch.size[0] is None
    assert watch.size[1:] == pytest.approx([24, 24, 20, 20, 20])


def test_a_data_set_is_counted_too():
    model, watch = bayesian(), Betas()
    data = tf.data.Dataset.from_tensor_slices(arrays()).batch(5)
    anneal = ks.callbacks.Anneal(0, 0)
    model.fit(
        data, epochs=2, verbose=0, shuffle=False, callbacks=[anneal, watch]
    )
    assert watch.size[-1] == pytest.approx(20)


def test_validation_does_not_count():
    model = bayesian()
    watch, logs = fit(
        model, ks.callbacks.Anneal(0, 0), validation_data=arrays(50)
    )
    assert watch.size[-1] == pytest.approx(20)
    assert logs["kl"][-1] == pytest.approx(float(only(model).nats()))


def test_a_given_number_of_examples_wins():
    watch, _ = fit(bayesian(), ks.callbacks.Anneal(0, 0, train_size=77))
    assert watch.size == pytest.approx([77] * 10)
    watch, _ = fit(bayesian(train_size=55), ks.callbacks.Anneal(0, 0))
    assert watch.size == pytest.approx([55] * 10)


def test_several_steps_in_one_execution():
    model = bayesian()
    model.compile("sgd", "mse", steps_per_execution=5)
    watch, _ = fit(model, ks.callbacks.Anneal(begin=0, end=10))
    assert watch.beta == pytest.approx([0.0, 0.5])


def test_accumulated_gradients_count_as_one_step():
    model = bayesian()
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    model.compile(optimizer, "mse")
    watch, _ = fit(model, ks.callbacks.Anneal(begin=0, end=4))
    assert watch.beta[:9] == pytest.approx(
        [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]
    )


def test_a_resumed_run_takes_up_the_ramp(tmp_path):
    def train(model, epochs, stop=None):
        callbacks = [
            ks.callbacks.SeedEachEpoch(3),
            ks.callbacks.Anneal(begin=0, end=15),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ]
        if stop is not None:

            class Stop(keras.callbacks.Callback):
                def on_epoch_end(self, epoch, logs=None):
                    if epoch == stop:
                        raise KeyboardInterrupt

            callbacks.append(Stop())
        model.fit(
            *arrays(18),
            batch_size=4,
            epochs=epochs,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
        )
        return model.get_weights()

    expected = train(bayesian(log_sigma2=-3.0), 4)
    with pytest.raises(KeyboardInterrupt):
        train(bayesian(log_sigma2=-3.0), 4, stop=1)
    found = train(bayesian(log_sigma2=-3.0), 4)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_penalty_that_nobody_set_is_told_of(tmp_path):
    model = bayesian()
    with pytest.warns(UserWarning, match="counts nothing.*Anneal"):
        model.fit(*arrays(), verbose=0)
    model.fit(*arrays(), verbose=0)  # once is enough
    ks.save(model, tmp_path / "m.keras")
    keras.saving.load_model(tmp_path / "m.keras").evaluate(*arrays(), verbose=0)


def test_a_penalty_that_nobody_set_is_told_of_without_tracing():
    model = bayesian()
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.warns(UserWarning, match="counts nothing.*Anneal"):
        model.fit(*arrays(), verbose=0)


def test_a_model_built_for_training_is_not_told_of():
    x = keras.Input((4,))
    y = ks.layers.LogNormalDropout()(x, training=True)
    model = keras.Model(x, y)
    assert float(sum(model.losses)) == 0.0


def test_after_an_anneal_that_failed_one_is_told():
    model = bayesian()
    with pytest.raises(ValueError, match="Received a stream"):
        model.fit(
            (arrays(4) for _ in range(3)),
            shuffle=False,
            verbose=0,
            callbacks=[ks.callbacks.Anneal()],
        )
    with pytest.warns(UserWarning, match="counts nothing"):
        model.fit(*arrays(), verbose=0)


def test_labels_for_positions_ask_for_the_number_of_terms():
    model = keras.Sequential([keras.Input((10, 4)), layers.Dense(3)])
    ks.sparsify(model, ks.Gaussian(), verbose=False)
    model.compile("sgd", "mse")
    data = np.ones((8, 10, 4)), np.ones((8, 10, 3))
    with pytest.warns(UserWarning, match="examples times positions"):
        model.fit(*data, verbose=0, callbacks=[ks.callbacks.Anneal(0, 0)])
    anneal = ks.callbacks.Anneal(0, 0, train_size=80)
    model.fit(*data, verbose=0, callbacks=[anneal])


def test_beta_before_fit():
    anneal = ks.callbacks.Anneal(begin=100, end=200, weight=2.0)
    assert [anneal.beta(step) for step in (0, 150, 200)] == [0.0, 1.0, 2.0]
    for arguments in ({}, {"begin": 5}, {"end": 5}):
        with pytest.raises(ValueError, match="Pass both"):
            ks.callbacks.Anneal(**arguments).beta(0)


def test_the_default_ramp_is_of_this_fit():
    model = bayesian(train_size=20)
    model.fit(*arrays(), batch_size=1, epochs=1, verbose=0)
    watch, _ = fit(model, ks.callbacks.Anneal(), batch_size=1)
    assert watch.beta[2] == 0.0
    assert watch.beta[20] == 1.0
    watch, _ = fit(bayesian(), ks.callbacks.Anneal(end=1), batch_size=1)
    assert watch.beta[3] == 1.0


def test_a_layer_keeps_its_own_number_of_examples():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(3)]
    )
    sizes = iter([1000, None])
    ks.sparsify(
        model,
        lambda layer, slot: ks.Gaussian(train_size=next(sizes)),
        verbose=False,
    )
    model.compile("sgd", "mse")
    model.fit(*arrays(), verbose=0, callbacks=[ks.callbacks.Anneal(0, 0)])
    found = [1 / p.per_example.numpy() for _, _, p in ks.parametrized(model)]
    assert found == pytest.approx([1000, 20])


def test_a_model_that_is_not_built():
    model = keras.Sequential([ks.layers.LogNormalDropout(), layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="built model"):
        model.fit(*arrays(), verbose=0, callbacks=[ks.callbacks.Anneal()])


def test_errors():
    with pytest.raises(ValueError, match="not negative"):
        ks.callbacks.Anneal(weight=-1)
    with pytest.raises(ValueError, match="train_size"):
        ks.callbacks.Anneal(train_size=0)
    for begin, end in ((5, 4), (-1, None), (None, -1), (-2, 3)):
        with pytest.raises(ValueError, match="begin <= end"):
            ks.callbacks.Anneal(begin, end)
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Gaussian"):
        fit(plain, ks.callbacks.Anneal())

    def stream():
        while True:
            yield arrays(4)

    with pytest.raises(ValueError, match="train_size"):
        bayesian().fit(
            stream(),
            shuffle=False,
            verbose=0,
            callbacks=[ks.callbacks.Anneal()],
        )
