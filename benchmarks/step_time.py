"""Question: what does pruning cost a training step, in time and memory?

    python benchmarks/step_time.py            # every variant, interleaved
    python benchmarks/step_time.py --memory   # peak memory, a process each
    python benchmarks/step_time.py --net mlp2048 --variants dense masked \\
        --steps 8 --rounds 40                 # finely interleaved
    python benchmarks/step_time.py --jit      # compiled by XLA as well
    python benchmarks/step_time.py --updates  # one mask update alone

Each round times some steps of every variant in turn, inside one `fit`; the
ratio is the median over rounds of variant / dense of the same round, with its
quartiles. Few steps in each of many rounds meet the same load of the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from recipes import BATCH, record

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for tfmot
BENCHMARK = "step_time"
SHAPES = {"mlp2048": (784,), "convnet": (28, 28, 1)}
# Steps that are timed in each round.
STEPS = {
    "dense": 30,
    "masked": 30,
    "gradient masked": 30,
    "every 100 steps": 100,
    "every step": 15,
    "tfmot dense": 30,
    "tfmot every 100 steps": 100,
    "tfmot every step": 5,
}
VARIANTS = tuple(STEPS)
# What `jit_compile` is given, and how that is named beside the net.
AS_KERAS_DOES = {"auto": ""}
BOTH_WAYS = {**AS_KERAS_DOES, True: ", jit_compile=True"}


def network(keras, net):
    layers = keras.layers
    if net == "mlp2048":
        body = [layers.Dense(2048, "relu"), layers.Dense(2048, "relu")]
    else:
        body = [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
    return keras.Sequential(
        [layers.Input(SHAPES[net]), *body, layers.Dense(10)]
    )


def prepare(net, variant, batch=BATCH, jit="auto"):
    """Returns a function that trains some steps and gives seconds a step."""
    import numpy as np
    import tensorflow as tf

    if variant.startswith("tfmot"):
        import tf_keras as keras
    else:
        import keras
    model, callbacks = network(keras, net), []
    every = 1 if variant.endswith("every step") else 100
    if variant.startswith("tfmot every"):
        from tensorflow_model_optimization.sparsity import keras as tfmot

        schedule = tfmot.PolynomialDecay(0.0, 0.9, 0, 10**6, frequency=every)
        model = tfmot.prune_low_magnitude(model, schedule)
        callbacks = [tfmot.UpdatePruningStep()]
    elif not variant.endswith("dense"):
        import keras_sparse as ks

        only = variant == "gradient masked"
        ks.sparsify(model, ks.Mask(gradient_only=only), verbose=False)
        if not variant.endswith("masked"):
            # Without an end that is never reached, which `fit` would tell of.
            callbacks = [
                ks.callbacks.Prune(
                    lambda step: min(0.9, step / 1000), every=every
                )
            ]
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *SHAPES[net])).astype("float32")
    y = rng.integers(0, 10, batch)
    data = tf.data.Dataset.from_tensors((x, y)).repeat()

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            begins.append(time.perf_counter())

    begins = []

    def train(steps):
        begins.clear()
        model.fit(
            data,
            steps_per_epoch=steps + 2,
            verbose=0,
            callbacks=[Clock(), *callbacks],
            shuffle=False,
        )
        # Without the first step, which starts things up, and the last.
        return (begins[-1] - begins[1]) / steps

    return train


def reference_of(variant):
    """The dense model that a variant is compared with."""
    return "tfmot dense" if "tfmot" in variant else "dense"


def time_steps(net, batch, rounds, variants, steps, jits):
    """Prints and records milliseconds a step and the ratio to dense."""
    trains = {
        (net + suffix, variant): prepare(net, variant, batch, jit)
        for jit, suffix in jits.items()
        for variant in variants
    }
    for train in trains.values():
        train(2)
    seconds = {name: [] for name in trains}
    for _ in range(rounds):
        for name, train in trains.items():
            seconds[name].append(train(steps or STEPS[name[1]]))
    for name in trains:
        label, variant = name
        dense = seconds[label, reference_of(variant)]
        ratios = [a / b for a, b in zip(seconds[name], dense, strict=True)]
        quartiles = [ratios[0]] * 3
        if rounds > 1:
            quartiles = statistics.quantiles(ratios, method="inclusive")
        low, middle, high = (round(ratio, 3) for ratio in quartiles)
        row = {
            "net": label,
            "batch": batch,
            "variant": variant,
            "ms": round(1e3 * statistics.median(seconds[name]), 3),
            "ratio": middle,
            "quartiles": [low, high],
            "rounds": rounds,
            "steps": steps or STEPS[variant],
        }
        record(BENCHMARK, row)
        print(
            f"{label:8} batch {batch:4} {variant:22} {row['ms']:9.2f} ms "
            f"{middle:6.3f} x dense ({low:.3f} to {high:.3f})",
            flush=True,
        )


def time_update():
    """Prints the cost of one exact mask update, for each weight."""
    import keras
    import numpy as np

    import keras_sparse as ks
    from keras_sparse.pruning import masked_weights, update_masks

    for name, allocation in (
        ("uniform", ks.allocations.uniform),
        ("global", ks.allocations.global_),
    ):
        model = network(keras, "mlp2048")
        ks.sparsify(model, ks.Mask(), verbose=False)
        model.compile("adam", "mse")
        model.fit(np.ones((8, 784)), np.ones((8, 10)), verbose=0)
        weights = masked_weights(model)
        size = sum(int(np.prod(w.each.raw.shape)) for w in weights.values())
        times = []
        for sparsity in np.linspace(0.1, 0.9, 17):
            begin = time.perf_counter()
            update_masks(model, weights, sparsity, allocation=allocation)
            times.append(time.perf_counter() - begin)
        nanoseconds = 1e9 * statistics.median(times) / size
        record(
            BENCHMARK,
            {"update": name, "ns_per_weight": nanoseconds, "weights": size},
        )
        print(f"update, {name}: {nanoseconds:.2f} ns a weight ({size:,})")


def memory(net, variants):
    """Prints the peak memory of a process that trains one variant."""
    for variant in variants:
        command = [sys.executable, __file__, "--net", net, "--only", variant]
        peak = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        record(
            BENCHMARK, {"net": net, "variant": variant, "peak_mib": float(peak)}
        )
        print(f"{net:10} {variant:24} {float(peak):9.1f} MiB peak")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--net", choices=SHAPES, nargs="*", default=[*SHAPES])
    parser.add_argument(
        "--variants", choices=VARIANTS, nargs="+", default=[*VARIANTS]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="in each round")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--updates", action="store_true")
    parser.add_argument("--only", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        prepare(options.net[0], options.only)(20)
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(usage / 1024)
        return
    if options.jit and options.memory:
        parser.error("--memory is of steps as Keras runs them, without --jit")
    if options.memory:
        for net in options.net:
            memory(net, options.variants)
        return
    missing = {reference_of(v) for v in options.variants}.difference(
        options.variants
    )
    if missing:
        parser.error(f"compared with {missing}, which --variants leaves out")
    if not options.updates:
        for net in options.net:
            time_steps(
                net,
                options.batch,
                options.rounds,
                options.variants,
                options.steps,
                BOTH_WAYS if options.jit else AS_KERAS_DOES,
            )
    if options.updates or options.variants == [*VARIANTS]:
        time_update()


if __name__ == "__main__":
    main()
