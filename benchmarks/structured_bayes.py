"""Question: which units do Bayesian gates leave, and at what error?

    python benchmarks/structured_bayes.py --net lenet500 --method log_normal
    python benchmarks/structured_bayes.py --net lenet5 --method hard_concrete \
        --weights 1 1 1 1 --epochs 60
    python benchmarks/structured_bayes.py --table

The gates stand at the same places for every method: on the inputs and behind
each hidden layer of LeNet-500-300; behind both convolutions, on the 800
flattened features and behind the dense layer of LeNet-5. Adam 1e-3 with cosine
to 0, batch 128; the penalty rises linearly from 5% to 50% of the steps.
`--weights` multiplies it, one factor for all gates or one for each.
`--rate` is how many times faster than the network the gates learn.
group_ard, normal_jeffreys and half_cauchy close groups by their noise: `--rate`
is that of the variances and of what the priors learn, and the log alpha from
which on a group is closed is chosen for each layer on 5,000 training images,
which are held out of training.
The closed units are then removed: error, parameters, file and latency are of
the smaller plain network, the latter two beside the whole one's, float32, on
one thread, in turns. Runs that are recorded already are not repeated.
"""

from __future__ import annotations

import argparse
import gzip
import pathlib
import tempfile
import time

import numpy as np
from noisy_groups import HELD_OUT, PRIORS, adam, close_groups
from recipes import BATCH, record, recorded
from structured_tables import UNITS, table

import keras_sparse as ks

BENCHMARK = "structured_bayes"
EPOCHS = {"lenet500": 15, "lenet5": 8}


def log_normal(weight, rate):
    return ks.layers.LogNormalDropout(kl_weight=weight, rate=rate)


def bottleneck(weight, rate):
    return ks.layers.InformationBottleneck(kl_weight=weight, rate=rate)


def hard_concrete(weight, rate, axis):
    return ks.HardConcrete(axis, weight=weight, rate=rate, drop_rate=0.5)


def gaussian(prior):
    """What makes a noisy kernel; its optimizer sees to the rate."""
    return lambda weight, rate, axis: ks.Gaussian(prior(axis), kl_weight=weight)


# Methods that are layers, and methods that are parametrizations of kernels.
LAYERS = {"log_normal": log_normal, "bottleneck": bottleneck}
NOISE = {method: gaussian(prior) for method, prior in PRIORS.items()}
KERNELS = {"hard_concrete": hard_concrete, **NOISE}
METHODS = ("dense", *LAYERS, *KERNELS)
# Where short trials closed units at a sensible error; a start, not an optimum.
WEIGHTS = {
    ("lenet500", "log_normal"): (3.0,),
    ("lenet500", "bottleneck"): (1.0,),
    ("lenet500", "hard_concrete"): (0.1, 0.1, 1.0),
    ("lenet500", "group_ard"): (1.0,),
    ("lenet500", "normal_jeffreys"): (1.0,),
    ("lenet500", "half_cauchy"): (1.0,),
    ("lenet5", "log_normal"): (3.0,),
    ("lenet5", "bottleneck"): (1.0,),
    ("lenet5", "hard_concrete"): (10.0, 0.5, 0.1, 10.0),
    ("lenet5", "group_ard"): (1.0,),
    ("lenet5", "normal_jeffreys"): (1.0,),
    ("lenet5", "half_cauchy"): (1.0,),
}


def network(net, gates):
    """The plain network with a list of layers at each gate."""
    import keras

    layers = keras.layers
    if net == "lenet500":
        body = [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            *gates[0],
            layers.Dense(500, "relu"),
            *gates[1],
            layers.Dense(300, "relu"),
            *gates[2],
        ]
    else:
        body = [
            layers.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            *gates[0],
            layers.Conv2D(50, 5, activation="relu"),
            layers.MaxPooling2D(),
            *gates[1],
            layers.Flatten(),
            *gates[2],
            layers.Dense(500, "relu"),
            *gates[3],
        ]
    return keras.Sequential([*body, layers.Dense(10)])


def gated(net, method, weights, rate):
    """A model, and a function that tells which units are open at each gate."""
    import keras

    empty = [[] for _ in UNITS[net]]
    if method in LAYERS:
        gates = [LAYERS[method](weight, rate) for weight in weights]
        model = network(net, [[gate] for gate in gates])
        return model, lambda: [gate.channel_scale() != 0 for gate in gates]
    model = network(net, empty)
    if method == "dense":
        return model, lambda: [np.ones(n, bool) for n in UNITS[net]]
    holders = [layer for layer in model.layers if hasattr(layer, "kernel")]
    if net == "lenet5":  # convolutions by output, dense layers by input
        axes = ["outputs", "outputs", "inputs", "inputs"]
    else:
        axes = ["inputs", "inputs", "inputs"]
    made = {
        holder.name: KERNELS[method](weight, rate, axis)
        for holder, weight, axis in zip(holders, weights, axes, strict=True)
    }
    ks.sparsify(model, lambda layer, slot: made[layer.name], verbose=False)

    def open_units():
        units = []
        for (layer, _, each), axis in zip(
            ks.parametrized(model), axes, strict=True
        ):
            kernel = keras.ops.convert_to_numpy(
                each.finalize(layer.kernel.value)
            )
            kernel = np.moveaxis(kernel, -1 if axis == "outputs" else -2, 0)
            units.append(kernel.reshape(len(kernel), -1).any(1))
        return units

    return model, open_units


def remaining(net, units):
    """Units at each gate that something reaches and that reach something."""
    if net == "lenet5":
        positions = units[2].reshape(-1, len(units[1]))  # channels are last
        positions = positions & units[1]
        units = [units[0], positions.any(0), positions.ravel(), units[3]]
    return [int(each.sum()) for each in units]


def removed(model, net):
    """The smaller plain model, and its file beside the whole network's."""
    import keras

    if any(ks.parametrized(model)):
        model = ks.strip(model)
    small = ks.structured.shrink(model)
    whole = network(net, [[] for _ in UNITS[net]])
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, f"{name}.tflite") for name in "ab"]
        for each, path in zip((whole, small), paths, strict=True):
            ks.export_tflite(each, path)
        packed = [len(gzip.compress(path.read_bytes())) for path in paths]
        timing = ks.benchmark_tflite(paths, runs=300)
    small.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return small, {
        "parameters": small.count_params(),
        "gzip": packed,
        "latency": round(timing.rows[1].ratio, 3),
    }


def train(net, method, weights, rate, seed, epochs):
    """Trains one network and removes what is closed; returns what is left."""
    import keras

    import keras_sparse.datasets

    data = keras_sparse.datasets.load("mnist")
    held_out = min(HELD_OUT, len(data.train.x) // 10) * (method in NOISE)
    x, y = data.train.x[held_out:], data.train.y[held_out:]
    keras.utils.set_random_seed(seed)
    model, open_units = gated(net, method, weights, rate)
    steps = epochs * -(-len(x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(
        adam(model, rate if method in NOISE else 1.0, schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=20,
    )
    anneal = ks.callbacks.Anneal(train_size=len(x))
    start = time.perf_counter()
    model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=[] if method == "dense" else [anneal],
    )
    seconds = time.perf_counter() - start
    left = {}
    if held_out:
        held_out = data.train.x[:held_out], data.train.y[:held_out]
        left["thresholds"] = close_groups(model, *held_out)
    units = remaining(net, open_units())
    model, small = removed(model, net)
    _, accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)
    return {
        "error": round(100 * (1 - accuracy), 3),
        "units": units,
        "seconds": round(seconds, 1),
        **left,
        **small,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--net", choices=UNITS, default="lenet500")
    parser.add_argument("--method", choices=METHODS, default="log_normal")
    parser.add_argument("--weights", nargs="+", type=float)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    places = len(UNITS[options.net])
    default = WEIGHTS.get((options.net, options.method), (0.0,))
    weights = options.weights or list(default)
    weights = weights * places if len(weights) == 1 else weights
    if len(weights) != places:
        parser.error(f"--weights takes 1 or {places} numbers for this net")
    for seed in [] if options.table else options.seeds:
        name = {
            "net": options.net,
            "method": options.method,
            "weights": weights,
            "rate": options.rate,
            "epochs": options.epochs or EPOCHS[options.net],
            "seed": seed,
        }
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        print(record(BENCHMARK, {**name, **train(**name)}), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
