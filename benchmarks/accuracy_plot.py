"""The plot of accuracy against sparsity."""

from __future__ import annotations

import pathlib
import statistics

import matplotlib.pyplot as plt
from recipes import EPOCHS, NETS

TARGETS = [0.9, 0.95, 0.98, 0.99]


def plot(rows, path):
    """Accuracy against sparsity, a panel for each net."""
    nets = [net for net in EPOCHS if any(row["net"] == net for row in rows)]
    figure, panels = plt.subplots(
        1, len(nets), squeeze=False, figsize=(7 * len(nets), 5)
    )
    methods = dict.fromkeys(row["method"] for row in rows)
    for net, axes in zip(nets, panels[0], strict=True):
        epochs = EPOCHS[net]
        here = [r for r in rows if (r["net"], r["epochs"]) == (net, epochs)]
        for number, method in enumerate(methods):
            runs = {}
            for row in here:
                if row["method"] == method:
                    runs.setdefault(row["target"], []).append(row["accuracy"])
            targets = sorted(runs)
            means = [statistics.mean(runs[each]) for each in targets]
            if method == "dense" and means:
                axes.axhline(means[0], color="k", ls=":", label="dense")
            elif means:
                axes.errorbar(
                    [TARGETS.index(each) for each in targets],
                    means,
                    yerr=[_deviation(runs[each]) for each in targets],
                    marker="osv^D"[number % 5],
                    ls="-" if number < 7 else "--",
                    label=method,
                )
        axes.set_xticks(range(len(TARGETS)), [f"{t:.0%}" for t in TARGETS])
        axes.set(title=net, xlabel="sparsity", ylabel="test accuracy, %")
        if net in NETS:
            axes.set_ylim(bottom=95)
        axes.legend(fontsize=8)
    figure.tight_layout()
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _deviation(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0
