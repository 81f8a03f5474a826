"""The plot of accuracy against sparsity."""

from __future__ import annotations

import statistics

import matplotlib.pyplot as plt
from recipes import EPOCHS, NETS

TARGETS = [0.9, 0.95, 0.98, 0.99]


def plot(rows):
    """A panel for each net; a method looks the same in all of them.

    A net that was pruned to one sparsity only has no line to draw.
    """
    targets = {net: set() for net in EPOCHS}
    for row in rows:
        targets[row["net"]].add(row["target"])
    nets = [net for net in EPOCHS if len(targets[net] - {0.0}) > 1]
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
                    runs.setdefault(row["target"], []).append(row)
            means = {target: _mean(runs[target]) for target in sorted(runs)}
            if method == "dense" and means:
                (height,) = (accuracy for _, accuracy in means.values())
                axes.axhline(height, color="k", ls=":", label="dense")
                if net in NETS:  # on MNIST, where less is a failure
                    axes.set_ylim(95, height + 0.4)
            elif means:
                axes.errorbar(
                    *zip(*means.values(), strict=True),
                    yerr=[_deviation(runs[target]) for target in means],
                    color=plt.get_cmap("tab20")(number),
                    marker="osv^D"[number % 5],
                    ls="-" if number < 7 else "--",
                    label=method,
                )
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.minorticks_off()
        axes.set_xticks([1 - t for t in TARGETS], [f"{t:.0%}" for t in TARGETS])
        axes.set(title=net, xlabel="sparsity", ylabel="test accuracy, %")
        axes.legend(fontsize=8)
    return figure


def _mean(rows):
    """The density that was reached, and the accuracy."""
    density = statistics.mean(1 - row["sparsity"] for row in rows)
    return density, statistics.mean(row["accuracy"] for row in rows)


def _deviation(rows):
    if len(rows) == 1:
        return 0.0
    return statistics.stdev(row["accuracy"] for row in rows)
