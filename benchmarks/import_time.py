"""Question: how long does the import take, beyond TensorFlow's and Keras' own?

    python benchmarks/import_time.py
    python benchmarks/import_time.py --table

Processes of their own that import TensorFlow and Keras, then time what comes
after; the first is not counted, as it may have to compile.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from recipes import record, recorded

BENCHMARK = "import_time"
CODE = (
    "import tensorflow, keras, time; begin = time.perf_counter(); "
    "import keras_sparse; print(time.perf_counter() - begin)"
)


def seconds():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def table(rows):
    """The last row."""
    lines = [
        "| processes | median s | fastest s | slowest s |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['processes']} | {row['median']:.3f} | {row['fastest']:.3f} "
        f"| {row['slowest']:.3f} |"
        for row in rows[-1:]
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=11)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table:
        seconds()
        times = [seconds() for _ in range(options.processes)]
        row = {
            "processes": options.processes,
            "median": round(statistics.median(times), 4),
            "fastest": round(min(times), 4),
            "slowest": round(max(times), 4),
        }
        record(BENCHMARK, row)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
