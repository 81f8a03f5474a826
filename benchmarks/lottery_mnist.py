"""Question: does LeNet-300-100 on MNIST hold a winning ticket?

    python benchmarks/lottery_mnist.py --seeds 0 1 2
    python benchmarks/lottery_mnist.py --schedule cosine --controls \
        --rewind learning_rate --rewind-step 500
    python benchmarks/lottery_mnist.py --table

Settings of Frankle and Carbin (2019), table of section 2: Glorot normal,
Adam 1.2e-3, batches of 60, 20% of the weights left taken away in each round,
10% in the output layer, 5,000 training images for validation. Compared are the
ticket, its masks with fresh weights, and its first weights under random masks
of the same densities. The early-stop step is the one of the lowest validation
loss, looked at every `--every` steps. The paper trains for 50,000 steps.

`--rewind` is what each round goes back to at `--rewind-step` (Renda et al.,
2020): `weights` go back, and the learning rate with them; with
`learning_rate` alone the trained weights stay; with `finetune` they stay too
and learn over again at a tenth of the rate, for all steps. At a constant rate
nothing sets `learning_rate` apart from more training, so compare them with
`--schedule cosine`. `--controls` with nothing behind it trains no controls.

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
REWINDS = ("weights", "learning_rate", "finetune")
# Of rows that do not tell.
OLDEST = {"schedule": "constant", "rewind": "weights", "rewind_step": 0}


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


def search(name, controls, rounds, folder):
    """All rounds and controls of one setting and seed."""
    import keras
    import tensorflow as tf

    from keras_sparse import datasets, lottery

    steps, every, seed = (name[key] for key in ("steps", "every", "seed"))
    data = datasets.load("mnist", verbose=False)
    x = tf.constant(data.train.x[VALIDATION:])
    y = tf.constant(data.train.y[VALIDATION:])
    held_out = data.train.x[:VALIDATION], data.train.y[:VALIDATION]
    folder.mkdir(parents=True, exist_ok=True)
    file = "_".join(map(str, (BENCHMARK, *name.values())))
    rate = 1.2e-3
    if name["schedule"] == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    settings = {
        "fit": lambda: {
            "x": batches(x, y),
            "steps_per_epoch": every,
            "epochs": steps // every,
            "shuffle": False,
            "validation_data": held_out,
            "validation_batch_size": VALIDATION,
            "verbose": 0,
        },
        "rounds": max(rounds),
        "compile": {
            "optimizer": keras.optimizers.Adam(rate),
            "loss": keras.losses.SparseCategoricalCrossentropy(
                from_logits=True
            ),
            "metrics": ["accuracy"],
            "steps_per_execution": min(50, every),
        },
        "test_data": (data.test.x, data.test.y),
        "checkpoint": folder / f"{file}.npz",
        "seed": seed,
    }
    if name["rewind"] == "finetune":
        return finetune(seed, settings)
    return lottery.find_ticket(
        lambda: lenet300(keras),
        rate=0.2,
        output_rate=0.1,
        rewind=name["rewind"],
        rewind_step=name["rewind_step"],
        initializer="glorot_normal",
        controls=controls,
        control_rounds=[each for each in rounds if each],
        data_name=data.name,
        **settings,
    )


def finetune(seed, settings):
    """The same rounds and rates, from the weights of the last round on."""
    import keras

    from keras_sparse import lottery

    keras.utils.set_random_seed(seed)
    model = lenet300(keras)
    *hidden, output = [each for each in model.layers if each.weights]
    for layer in (*hidden, output):
        draw = keras.initializers.GlorotNormal()
        layer.kernel.assign(draw(layer.kernel.shape))
    return lottery.train_prune_finetune(
        model,
        rate={
            **{f"{layer.name}/kernel": 0.2 for layer in hidden},
            f"{output.name}/kernel": 0.1,
        },
        **settings,
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
        "| steps | rate | rewound | weights left | arm | accuracy at the end % "
        "| at early stop % | early-stop step | seeds |",
        "|---" * 9 + "|",
    ]

    def key(row):
        setting = [row[each] for each in ("steps", "schedule", "rewind_step")]
        rewind, arm = REWINDS.index(row["rewind"]), ARMS.index(row["arm"])
        return (*setting, rewind, -row["density"], arm)

    for _, members in itertools.groupby(sorted(rows, key=key), key=key):
        members = list(members)
        row = members[0]
        stops = statistics.mean(r["early_stop_step"] for r in members)
        rewound = row["rewind"].replace("_", " ")
        if row["rewind"] != "finetune":
            rewound += f" to {row['rewind_step']}"
        lines.append(
            f"| {row['steps']} | {row['schedule']} | {rewound} | "
            f"{row['density']:.1%} | {row['arm']} | "
            f"{spread([r['accuracy'] for r in members])} | "
            f"{spread([r['accuracy_at_early_stop'] for r in members])} | "
            f"{stops:.0f} | {len(members)} |"
        )
    return "\n".join(lines)


def rows():
    """Every row recorded, those of before there was a choice as well."""
    return [{**OLDEST, **row} for row in recorded(BENCHMARK)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=9000, help="a training")
    parser.add_argument("--every", type=int, default=100, help="validation")
    parser.add_argument("--rounds", nargs="+", type=int, default=ROUNDS)
    parser.add_argument(
        "--schedule", choices=("constant", "cosine"), default="constant"
    )
    parser.add_argument("--rewind", choices=REWINDS, default="weights")
    parser.add_argument("--rewind-step", type=int, default=0)
    parser.add_argument(
        "--controls", nargs="*", choices=ARMS[1:], default=list(ARMS[1:])
    )
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        default=RESULTS.parent / "logs",
        help="where unfinished searches are kept",
    )
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    finetuned = options.rewind == "finetune"
    if finetuned and (options.controls or options.rewind_step):
        parser.error("--rewind finetune has no controls and no step")
    for seed in [] if options.table else options.seeds:
        name = {
            "steps": options.steps,
            "every": options.every,
            "seed": seed,
            "schedule": options.schedule,
            "rewind": options.rewind,
            "rewind_step": options.rewind_step,
        }
        known = [row for row in rows() if name.items() <= row.items()]
        done = {(r["round"], r["arm"]) for r in known}
        arms = ("ticket", *options.controls)
        wanted = set(itertools.product(options.rounds, arms))
        if wanted - {(0, arm) for arm in ARMS[1:]} <= done:
            continue
        found = search(name, options.controls, options.rounds, options.folder)
        for each in found.rounds:
            for row in rows_of(each):
                if (each.number, row["arm"]) not in done:
                    row = {**name, "round": each.number, **row}
                    print(record(BENCHMARK, row), flush=True)
    print(table(rows()))


if __name__ == "__main__":
    main()
