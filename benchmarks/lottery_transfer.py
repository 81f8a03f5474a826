"""Question: does a winning ticket move to other data, or another optimizer?

    python benchmarks/lottery_transfer.py --width 16 --steps 2000 --seeds 0 1 2
    python benchmarks/lottery_transfer.py --table

Conv-2 or Conv-4 of Frankle and Carbin (2019) on CIFAR-10 (64 filters; fewer
by `--width`, where the machine is small), Glorot normal, Adam 2e-4 or 3e-4,
batches of 60; each round takes 10% of the convolutions' weights
left, 20% of the dense layers', 10% of the output layer's. Tickets are found
once for each seed and source, and then trained

- on all ten classes where they were found ("same");
- on classes 5 to 9, found on classes 0 to 4, with a fresh output layer, which
  is not pruned ("classes");
- with SGD of momentum .9, found with Adam ("optimizer");

each beside its masks with fresh weights, random masks of the same densities
over its first weights, and the dense net from those. Searches that were cut
off go on; rows that are recorded already are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics

from recipes import RESULTS, record, recorded, spread

BENCHMARK = "lottery_transfer"
BATCH = 60
VALIDATION = 5000
WIDTHS = {"conv2": (1,), "conv4": (1, 2)}
RATES = {"conv2": 2e-4, "conv4": 3e-4}
SOURCES = {"same": "all", "classes": "first", "optimizer": "all"}
ARMS = ("dense", "ticket", "reinitialized", "random_mask")


def conv(keras, options, classes):
    """Conv-2 or Conv-4, with an output layer for so many classes."""
    layers = keras.layers
    stack = [layers.Input((32, 32, 3))]
    for factor in WIDTHS[options.net]:
        width = factor * options.width
        stack += [
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        ]
    stack += [
        layers.Flatten(),
        layers.Dense(256, "relu"),
        layers.Dense(256, "relu"),
        layers.Dense(classes, name=f"output_{classes}"),
    ]
    return keras.Sequential(stack)


def compiled(keras, optimizer):
    """Arguments of `compile`."""
    return {
        "optimizer": optimizer,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "steps_per_execution": 20,
    }


def classes_of(data, chosen):
    """Training, validation and test images of some classes, from 0 on."""
    if chosen == "all":
        low, high = 0, 10
    else:
        low, high = (0, 5) if chosen == "first" else (5, 10)

    def of(x, y):
        kept = (y >= low) & (y < high)
        return x[kept], y[kept] - low

    x, y = data.train.x, data.train.y
    return (
        of(x[VALIDATION:], y[VALIDATION:]),
        of(x[:VALIDATION], y[:VALIDATION]),
        of(data.test.x, data.test.y),
    )


def fitting(train, held_out, steps, every):
    """What makes the arguments of `fit`, with a validation every few steps."""

    import tensorflow as tf

    # Once: what each dataset would copy stays in memory.
    x, y = tf.constant(train[0]), tf.constant(train[1])

    def arguments():
        batches = (
            tf.data.Dataset.range(len(x))
            .shuffle(len(x))
            .repeat()
            .batch(BATCH, drop_remainder=True)
            .map(lambda i: (tf.gather(x, i), tf.gather(y, i)))
            .prefetch(4)
        )
        return {
            "x": batches,
            "steps_per_epoch": every,
            "epochs": steps // every,
            "shuffle": False,
            "validation_data": held_out,
            "validation_batch_size": 500,
            "verbose": 0,
        }

    return arguments


def find(data, source, options, seed):
    """The search on a source's classes; goes on where it was cut off."""
    import keras

    from keras_sparse import lottery

    train, held_out, test = classes_of(data, source)
    classes = 10 if source == "all" else 5
    options.folder.mkdir(parents=True, exist_ok=True)
    size = f"{options.net}_{options.width}_{source}_{options.steps}"
    name = f"{BENCHMARK}_{size}_{options.every}_{seed}.npz"
    return lottery.find_ticket(
        lambda: conv(keras, options, classes),
        fitting(train, held_out, options.steps, options.every),
        rounds=options.rounds,
        rate=0.2,
        rates={"conv": 0.1},
        initializer="glorot_normal",
        compile=compiled(keras, keras.optimizers.Adam(RATES[options.net])),
        test_data=test,
        data_name=f"{data.name}, {source} classes",
        checkpoint=options.folder / name,
        seed=seed,
    )


def train(ticket, data, setting, arm, options, seed):
    """One arm of one setting, from the ticket on; returns its row."""
    import keras

    from keras_sparse import lottery

    target = "second" if setting == "classes" else "all"
    classes = 5 if setting == "classes" else 10
    train_data, held_out, test = classes_of(data, target)
    optimizer = keras.optimizers.Adam(RATES[options.net])
    if setting == "optimizer":
        optimizer = keras.optimizers.SGD(options.sgd_rate, momentum=0.9)
    keras.utils.set_random_seed(1000 + seed)
    model = conv(keras, options, classes)
    if arm == "reinitialized":
        source = conv(keras, options, ticket.weights[-1].size)
        ticket = lottery.reinitialize(
            ticket, source, initializer="glorot_normal", seed=1000 + seed
        )
    elif arm == "random_mask":
        ticket = lottery.randomize_masks(ticket, seed=1000 + seed)
    new_head = f"output_{classes}" if setting == "classes" else None
    ticket.apply(model, exclude=new_head)
    model.compile(**compiled(keras, optimizer))
    fit = fitting(train_data, held_out, options.steps, options.every)()
    best = {"loss": float("inf")}

    class Best(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            if logs["val_loss"] < best["loss"]:
                best["loss"] = logs["val_loss"]
                best["step"] = (epoch + 1) * options.every
                best["weights"] = self.model.get_weights()

    model.fit(**fit, callbacks=[Best()])
    last = model.evaluate(*test, batch_size=500, verbose=0)[1]
    model.set_weights(best["weights"])
    early = model.evaluate(*test, batch_size=500, verbose=0)[1]
    return {
        "density": round(ticket.density, 4),
        "accuracy": round(100 * last, 3),
        "accuracy_at_early_stop": round(100 * early, 3),
        "early_stop_step": best["step"],
    }


def table(rows):
    """Mean and deviation over seeds."""
    lines = [
        "| net | width | steps | setting | weights left | arm | "
        "accuracy at the end % | at early stop % | early-stop step | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def key(r):
        arm = ARMS.index(r["arm"])
        size = r["net"], r["width"], r["steps"]
        return *size, r["setting"], -r["density"], arm

    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        members = list(members)
        net, width, steps, setting, density, arm = group
        stops = statistics.mean(r["early_stop_step"] for r in members)
        lines.append(
            f"| {net} | {width} | {steps} | {setting} | {-density:.1%} | "
            f"{ARMS[arm]} | "
            f"{spread([r['accuracy'] for r in members])} | "
            f"{spread([r['accuracy_at_early_stop'] for r in members])} | "
            f"{stops:.0f} | {len(members)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=WIDTHS, default="conv2")
    parser.add_argument(
        "--width", type=int, default=64, help="filters of the first layers"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--settings", nargs="+", default=list(SOURCES))
    parser.add_argument("--steps", type=int, default=4000, help="a training")
    parser.add_argument("--every", type=int, default=200, help="validation")
    parser.add_argument("--rounds", type=int, default=9, help="of the search")
    parser.add_argument(
        "--compare", nargs="+", type=int, default=[4, 7, 9], help="rounds"
    )
    parser.add_argument("--sgd-rate", type=float, default=0.01)
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        default=RESULTS.parent / "logs",
        help="where searches are kept",
    )
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if options.table:
        print(table(recorded(BENCHMARK)))
        return

    from keras_sparse import datasets

    data = datasets.load("cifar10", verbose=False)
    for seed, setting in itertools.product(options.seeds, options.settings):
        runs = [
            {
                "net": options.net,
                "width": options.width,
                "steps": options.steps,
                "every": options.every,
                "setting": setting,
                "round": number,
                "arm": arm,
                "seed": seed,
            }
            for number in [0, *options.compare]
            for arm in (ARMS[:1] if number == 0 else ARMS[1:])
        ]
        known = recorded(BENCHMARK)
        runs = [
            run
            for run in runs
            if not any(run.items() <= r.items() for r in known)
        ]
        if not runs:
            continue
        found = find(data, SOURCES[setting], options, seed)
        for run in runs:
            ticket = found.ticket(run["round"])
            row = train(ticket, data, setting, run["arm"], options, seed)
            print(record(BENCHMARK, {**run, **row}), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
