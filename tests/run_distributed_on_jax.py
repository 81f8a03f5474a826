"""keras.distribution over four virtual devices; in a process of its own."""

import sys
import warnings

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests import distributed_page

jax = pytest.importorskip("jax")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6, 6, 2)).astype("float32")
Y = RNG.integers(0, 4, 64)
MESH = keras.distribution.DeviceMesh(
    (2, 2), ("batch", "model"), [f"cpu:{i}" for i in range(4)]
)


def data_parallel(devices):
    return keras.distribution.DataParallel(
        devices=[f"cpu:{i}" for i in range(devices)]
    )


def model_parallel(pattern):
    layout = keras.distribution.LayoutMap(MESH)
    layout[pattern] = (None, "model")
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch"
    )


def network(parametrization=None, where=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, name="hidden"),
            keras.layers.Dense(4),
        ]
    )
    if parametrization is not None:
        ks.sparsify(model, parametrization, where=where, verbose=False)
    return model


def fit(model, *callbacks):
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model.fit(
        X,
        Y,
        batch_size=16,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    ).history


def schedule():
    return ks.schedules.Polynomial(0.8, 0, 8)


def gaussian():
    return ks.Gaussian(log_sigma2=-4.0)


# Parametrization, callback, and which layers.
METHODS = {
    "mask": (ks.Mask, lambda: ks.callbacks.Prune(schedule(), every=2), None),
    "feather": (ks.Feather, lambda: ks.callbacks.Threshold(schedule()), None),
    "gates": (ks.HardConcrete, ks.callbacks.Anneal, "hidden"),
    "gaussian": (gaussian, ks.callbacks.Anneal, "hidden"),  # by itself
}


def weights_do_not_depend_on_devices(method):
    make, callback, where = METHODS[method]
    results = {}
    for name, distribution in {
        "one device": None,
        "two devices": data_parallel(2),
        # The map matches scalars as well, which have no axis to shard.
        "a sharded kernel": model_parallel(".*hidden/kernel.*"),
    }.items():
        keras.distribution.set_distribution(distribution)
        model = network(make(), where)
        logs = fit(model, callback())
        results[name] = [logs["loss"], *model.get_weights()]
        if distribution is not None:
            copies_are_the_same(model)
        if name == "a sharded kernel":
            the_kernel_stays_sharded(model)
    expected = results.pop("one device")
    for name, found in results.items():
        for one, several in zip(expected, found, strict=True):
            np.testing.assert_allclose(
                several, one, atol=1e-5, err_msg=f"{method} {name}"
            )


def a_checkpoint_loads_on_other_devices(folder):
    for before, after in (
        (model_parallel(".*hidden/kernel"), None),
        (None, data_parallel(4)),
    ):
        keras.distribution.set_distribution(before)
        model = network(ks.Mask())
        prune = ks.callbacks.Prune(schedule(), every=2)
        logs = fit(model, prune, ks.callbacks.SparsityLogger())
        assert abs(logs["sparsity"][-1] - 0.8) < 0.01, logs
        ks.save(model, f"{folder}/model.keras")
        ks.strip(model)

        keras.distribution.set_distribution(after)
        loaded = keras.saving.load_model(f"{folder}/model.keras")
        assert int(loaded.optimizer.iterations.value) == 12
        for was, now in zip(
            model.get_weights(), ks.strip(loaded).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(now, was)
        fit(loaded)


def copies_are_the_same(model):
    """Shards of one place, such as replicas of a mask, hold the same."""
    for variable in model.variables:
        seen = {}
        for shard in variable.value.addressable_shards:
            first = seen.setdefault(str(shard.index), np.asarray(shard.data))
            np.testing.assert_array_equal(np.asarray(shard.data), first)
            assert len(variable.value.sharding.device_set) > 1, variable.path


def the_kernel_stays_sharded(model):
    """And so do all that have its shape: masks, variances, momentum."""
    shape = (64, 8)
    variables = model.variables + model.optimizer.variables
    found = [v for v in variables if v.shape == shape]
    assert len(found) >= 3  # and two momenta
    for variable in found:
        spec = variable.value.sharding.spec
        assert spec == jax.sharding.PartitionSpec(None, "model"), variable.path
        [data] = {s.data.shape for s in variable.value.addressable_shards}
        assert data == (64, 4)


def sparsify_outside_of_the_scope():
    keras.distribution.set_distribution(None)
    distribution = data_parallel(2)
    with distribution.scope():
        model = network()
    ks.sparsify(model, ks.HardConcrete(), where="hidden", verbose=False)
    assert keras.distribution.distribution() is None
    with distribution.scope():
        fit(model, ks.callbacks.Anneal())
    copies_are_the_same(model)


def a_distribution_set_too_late_is_named():
    """By Keras itself, for a plain model as for a sparse one."""
    keras.distribution.set_distribution(None)
    built = [network(), network(ks.Mask())]
    keras.distribution.set_distribution(data_parallel(2))
    built.append(ks.sparsify(network_of(None), ks.Mask(), verbose=False))
    for model in built:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fit(model)
            except ValueError as error:
                assert "incompatible devices" in str(error), error
            else:
                raise AssertionError("expected an error")
        told = any("set_distribution() before" in str(w) for w in caught)
        assert told or keras.__version__.startswith("3.13.")


def network_of(distribution):
    now = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    model = network()
    keras.distribution.set_distribution(now)
    return model


def each_example_has_noise_of_its_own():
    """On whichever device it is, and the same as on one device."""
    x = np.ones((8, 1), "float32")
    found = []
    for distribution in (None, data_parallel(4)):
        keras.distribution.set_distribution(distribution)
        keras.utils.set_random_seed(0)
        noise = ks.layers.InformationBottleneck(train_size=8)
        model = keras.Sequential([keras.Input((1,)), noise])
        batch = x
        if distribution is not None:
            batch = keras.distribution.distribute_tensor(
                x, distribution.get_data_layout(x.shape)
            )
            assert len(batch.sharding.device_set) == 4
        call = jax.jit(model.stateless_call, static_argnames="training")
        outputs, _ = call(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            batch,
            training=True,
        )
        found.append(np.asarray(outputs).ravel())
    assert len(np.unique(found[1])) == 8, found
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def the_page():
    """The blocks of the documentation, on whatever devices there are."""

    def build():
        return keras.Sequential([keras.Input((20,)), keras.layers.Dense(4)])

    model = distributed_page.run(
        "model = build()",
        keras=keras,
        ks=ks,
        build=build,
        x=np.ones((64, 20)),
        y=np.ones((64, 4)),
        prune=ks.callbacks.Prune(schedule()),
    )["model"]
    copies_are_the_same(model)
    [kernel, _] = ks.strip(model).get_weights()
    assert (kernel == 0).sum() == round(0.8 * 80)
    distributed_page.run("LayoutMap(", keras=keras)
    spec = build().layers[0].kernel.value.sharding.spec
    assert spec == jax.sharding.PartitionSpec(None, "model")


def gaussian_by_itself():
    try:
        gaussian()
    except ImportError as error:  # a JAX for which TFP has no build
        print("gaussian: skipped,", str(error).splitlines()[0])
        return
    weights_do_not_depend_on_devices("gaussian")
    print("gaussian: held on", len(jax.devices()), "devices")


def main(folder):
    each_example_has_noise_of_its_own()
    for each in METHODS:
        if each != "gaussian":
            weights_do_not_depend_on_devices(each)
    a_checkpoint_loads_on_other_devices(folder)
    sparsify_outside_of_the_scope()
    a_distribution_set_too_late_is_named()
    the_page()
    print("held on", len(jax.devices()), "devices")


if __name__ == "__main__":
    assert len(jax.devices()) == 4
    if sys.argv[1] == "gaussian":
        gaussian_by_itself()
    else:
        main(sys.argv[1])
