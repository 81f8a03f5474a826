"""Question: does a training that prunes grow more than one of plain Keras?

    python benchmarks/memory_growth.py
    python benchmarks/memory_growth.py --table

Many short epochs of the training of `soak.py`, each with a backup and a
checkpoint, in a process that prunes and in one of Keras alone. The growth is
the slope of the memory after each epoch, a tenth of them left out as warm-up.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from recipes import record, recorded

BENCHMARK = "memory_growth"
TRAINING = pathlib.Path(__file__).with_name("soak_training.py")
WARM_UP = 0.1


def memory(epochs, images, plain):
    """MiB of the process after each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAINING), folder]
        command += ["--epochs", str(epochs), "--images", str(images)]
        done = subprocess.run(
            command + ["--plain"] * plain,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    events = map(json.loads, done.stdout.splitlines())
    return [event["mib"] for event in events if "ended" in event]


def table(rows):
    lines = [
        "| training | epochs | MiB after warm-up | MiB at the end "
        "| MiB in 100 epochs |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['training']} | {row['epochs']} | {row['warm']:.0f} "
        f"| {row['end']:.0f} | {row['growth']:+.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main():
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    for training in () if options.table else ("pruned", "plain Keras"):
        plain = training == "plain Keras"
        mib = memory(options.epochs, options.images, plain)
        mib = mib[int(WARM_UP * len(mib)) :]
        growth = 100 * np.polyfit(range(len(mib)), mib, 1)[0]
        row = {
            "training": training,
            "epochs": options.epochs,
            "images": options.images,
            "warm": mib[0],
            "end": mib[-1],
            "growth": round(float(growth), 2),
        }
        print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
