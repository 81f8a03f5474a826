"""The tables of what is timed in turns.

    python benchmarks/timing_tables.py step_time
    python benchmarks/timing_tables.py memory
    python benchmarks/timing_tables.py updates
    python benchmarks/timing_tables.py bayes_step_time
    python benchmarks/timing_tables.py bayes_memory
    python benchmarks/timing_tables.py method_step_time

All recorded runs count: medians, and the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics

from recipes import recorded


def steps(benchmark, net, variant):
    """Ratios to dense, by net and variant."""
    groups = {}
    for row in recorded(benchmark):
        if "ratio" in row:
            groups.setdefault((row[net], row[variant]), []).append(row)
    lines = [
        f"| {net} | {variant} | ms a step | x dense | of runs |",
        "|---|---|---|---|---|",
    ]
    nets = list(dict.fromkeys(first for first, _ in groups))
    for name in sorted(groups, key=lambda name: nets.index(name[0])):
        rows = groups[name]
        times = spread([row["ms"] for row in rows], ".1f")
        ratios = spread([row["ratio"] for row in rows], ".2f")
        lines.append(
            f"| {name[0]} | {name[1]} | {times} | {ratios} | {len(rows)} |"
        )
    return "\n".join(lines)


def spread(values, form):
    """The median, and between what it lies."""
    middle, low, high = (
        format(of(values), form) for of in (statistics.median, min, max)
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def memory(benchmark):
    """Peaks of the last run of each variant."""
    rows = {
        (row["net"], row["variant"]): row["peak_mib"]
        for row in recorded(benchmark)
        if "peak_mib" in row
    }
    lines = ["| net | variant | peak of a process that trains it, MiB |"]
    lines.append("|---|---|---|")
    for (net, variant), peak in rows.items():
        lines.append(f"| {net} | {variant} | {peak:.0f} |")
    return "\n".join(lines)


def updates():
    """What one mask update takes."""
    groups = {}
    for row in recorded("step_time"):
        if "update" in row:
            name = row["update"], row["weights"]
            groups.setdefault(name, []).append(row["ns_per_weight"])
    lines = ["| mask update | weights | ns a weight | of runs |"]
    lines.append("|---|---|---|---|")
    for (allocation, weights), each in groups.items():
        times = spread(each, ".2f")
        lines.append(f"| {allocation} | {weights:,} | {times} | {len(each)} |")
    return "\n".join(lines)


TABLES = {
    "step_time": lambda: steps("step_time", "net", "variant"),
    "memory": lambda: memory("step_time"),
    "updates": updates,
    "bayes_step_time": lambda: steps("bayes_step_time", "net", "variant"),
    "bayes_memory": lambda: memory("bayes_step_time"),
    "method_step_time": lambda: steps("method_step_time", "width", "method"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=TABLES)
    parser.add_argument("--table", action="store_true", help="as all do")
    print(TABLES[parser.parse_args().part]())


if __name__ == "__main__":
    main()
