"""Question: does LeNet-300-100 on MNIST hold a winning ticket?

    python benchmarks/lottery_mnist.py --seeds 0 1 2
    python benchmarks/lottery_mnist.py --table

Settings of Frankle and Carbin (2019), table of section 2: Glorot normal,
Adam 1.2e-3, batches of 60, 20% of the weights left taken away in each round,
10% in the output layer, 5,000 training images for validation. Compared are the
ticket, its masks with fresh weights, and its first weights under random masks
of the same densities. The early-stop step is the one of the lowest validation
loss, looked at every `--every` steps. The paper trains for 50,000 steps.

A search that was cut off goes on after its last finished round; rows that are
recorded already are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics

from recipes import RESULTS, lenet300, record, recorded, spread

BENCHMARK = "lottery_mnist"
BATCH = 60
VALIDATION = 5000
ARMS = ("ticket", "reinitialized", "random_mask")
# 100, 51.3, 21.1, 13.5, 7.0 and 3.6% of the weights.
ROUNDS = (0, 3, 7, 9, 12, 15)


def batches(x, y):
    """Shuffled batches without an end, in the order of the global seed.

    From tensors, not arrays: what each dataset would copy stays in memory.
    """
    import tensorflow as tf

    return (
        tf.data.Dataset.range(len(x))
        .shuffle(len(x))
        .repeat()
        .batch(BATCH, drop_remainder=True)
        .map(lambda i: (tf.gather(x, i), tf.gather(y, i)))
        .prefetch(4)
    )


def search(seed, steps, every, rounds, folder):
    """All rounds and controls of one seed."""
    import keras
    import tensorflow as tf

    from keras_sparse import datasets, lottery

    data = datasets.load("mnist", verbose=False)
    x = tf.constant(data.train.x[VALIDATION:])
    y = tf.constant(data.train.y[VALIDATION:])
    held_out = data.train.x[:VALIDATION], data.train.y[:VALIDATION]
    folder.mkdir(parents=True, exist_ok=True)
    return lottery.find_ticket(
        lambda: lenet300(keras),
        lambda: {
            "x": batches(x, y),
            "steps_per_epoch": every,
            "epochs": steps // every,
            "shuffle": False,
            "validation_data": held_out,
            "validation_batch_size": VALIDATION,
            "verbose": 0,
        },
        rounds=max(rounds),
        rate=0.2,
        output_rate=0.1,
        initializer="glorot_normal",
        compile={
            "optimizer": keras.optimizers.Adam(1.2e-3),
            "loss": keras.losses.SparseCategoricalCrossentropy(
                from_logits=True
            ),
            "metrics": ["accuracy"],
            "steps_per_execution": min(50, every),
        },
        test_data=(data.test.x, data.test.y),
        controls=ARMS[1:],
        control_rounds=rounds,
        data_name=data.name,
        checkpoint=folder / f"lottery_mnist_{steps}_{every}_{seed}.npz",
        seed=seed,
    )


def rows_of(each):
    """What is kept of a round, arm by arm."""
    arms = {"ticket": each.training, **each.controls}
    for arm, training in arms.items():
        yield {
            "arm": arm,
            "density": round(each.density, 5),
            "accuracy": round(100 * training.test["accuracy"], 3),
            "accuracy_at_early_stop": round(
                100 * training.best_test["accuracy"], 3
            ),
            "early_stop_step": training.best_step,
            "validation_loss": round(training.best_logs["val_loss"], 5),
            "seconds": round(training.seconds, 1),
        }


def table(rows):
    """Mean and deviation over seeds, a line for each density and arm."""
    lines = [
        "| steps | weights left | arm | accuracy at the end % | "
        "at early stop % | early-stop step | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    key = lambda r: (r["steps"], -r["density"], ARMS.index(r["arm"]))  # noqa
    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        members = list(members)
        steps, density, arm = group
        stops = statistics.mean(r["early_stop_step"] for r in members)
        lines.append(
            f"| {steps} | {-density:.1%} | {ARMS[arm]} | "
            f"{spread([r['accuracy'] for r in members])} | "
            f"{spread([r['accuracy_at_early_stop'] for r in members])} | "
            f"{stops:.0f} | {len(members)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=9000, help="a training")
    parser.add_argument("--every", type=int, default=100, help="validation")
    parser.add_argument("--rounds", nargs="+", type=int, default=ROUNDS)
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        default=RESULTS.parent / "logs",
        help="where unfinished searches are kept",
    )
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        name = {
            "steps": options.steps,
            "every": options.every,
            "seed": seed,
        }
        known = [r for r in recorded(BENCHMARK) if name.items() <= r.items()]
        done = {(r["round"], r["arm"]) for r in known}
        wanted = set(itertools.product(options.rounds, ARMS))
        if wanted - {(0, arm) for arm in ARMS[1:]} <= done:
            continue
        found = search(
            seed, options.steps, options.every, options.rounds, options.folder
        )
        for each in found.rounds:
            for row in rows_of(each):
                if (each.number, row["arm"]) not in done:
                    row = {**name, "round": each.number, **row}
                    print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
