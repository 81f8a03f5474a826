"""Question: what does a Bayesian training step cost, in time and memory?

    python benchmarks/bayes_step_time.py            # interleaved
    python benchmarks/bayes_step_time.py --memory   # a process each

Batch 100, 50 steps in one execution; each round times every variant in turn,
and the ratio is the median over rounds of variant / dense.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

from recipes import NETS, record

BENCHMARK = "bayes_step_time"
BATCH, STEPS = 100, 50
VARIANTS = {
    "lenet300": ("dense", "ard local", "ard weight", "svdo local"),
    "lenet5": ("dense", "ard weight", "ard local", "svdo weight"),
}


def prepare(net, variant):
    """Returns a function that trains one execution and gives ms a step."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_sparse as ks

    model = NETS[net](keras)
    if variant != "dense":
        name, sampling = variant.split()
        prior = {"ard": ks.priors.ARD, "svdo": ks.priors.LogUniform}[name]()
        if (net, sampling) == ("lenet5", "weight"):
            sampling = "auto"  # local in the dense layers
        gaussian = ks.Gaussian(prior, sampling=sampling, train_size=60000)
        ks.sparsify(model, gaussian, verbose=False)
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=STEPS,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 28, 28, 1)).astype("float32")
    y = rng.integers(0, 10, BATCH)
    data = tf.data.Dataset.from_tensors((x, y)).repeat()

    def train(executions):
        begin = time.perf_counter()
        model.fit(
            data,
            steps_per_epoch=executions * STEPS,
            verbose=0,
            shuffle=False,
        )
        return 1e3 * (time.perf_counter() - begin) / (executions * STEPS)

    return train


def time_steps(net, rounds):
    """Prints and records milliseconds a step and the ratio to dense."""
    trains = {variant: prepare(net, variant) for variant in VARIANTS[net]}
    for train in trains.values():
        train(1)
    times = {variant: [] for variant in trains}
    for _ in range(rounds):
        for variant, train in trains.items():
            times[variant].append(train(4 if net == "lenet300" else 1))
    for variant in trains:
        ratios = [
            a / b for a, b in zip(times[variant], times["dense"], strict=True)
        ]
        row = {
            "net": net,
            "variant": variant,
            "ms": round(statistics.median(times[variant]), 3),
            "ratio": round(statistics.median(ratios), 3),
            "rounds": rounds,
        }
        record(BENCHMARK, row)
        print(
            f"{net:10}{variant:14}{row['ms']:9.2f} ms "
            f"{row['ratio']:6.2f} x dense",
            flush=True,
        )


def memory(net):
    """Prints the peak memory of a process that trains one variant."""
    for variant in VARIANTS[net]:
        command = [sys.executable, __file__, "--nets", net, "--only", variant]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True
        )
        peak = float(done.stdout.split()[-1])
        record(BENCHMARK, {"net": net, "variant": variant, "peak_mib": peak})
        print(f"{net:10}{variant:14}{peak:9.1f} MiB peak")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for net in options.nets or VARIANTS:
        if options.only:
            prepare(net, options.only)(1)
            usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(usage / 1024)
        elif options.memory:
            memory(net)
        else:
            time_steps(net, options.rounds)


if __name__ == "__main__":
    main()
