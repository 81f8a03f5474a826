"""Draws the plots of README.md anew, from what is recorded in `results`.

python benchmarks/draw_plots.py
python benchmarks/draw_plots.py --only edge_popup --folder /tmp
"""

from __future__ import annotations

import argparse
import pathlib
import statistics

import matplotlib.pyplot as plt
from accuracy_plot import plot as plot_accuracy
from lottery_mnist import OLDEST
from recipes import recorded

FOLDER = pathlib.Path(__file__).parent / "plots"
ARMS = {
    "ticket": "ticket",
    "reinitialized": "its masks, fresh weights",
    "random_mask": "random masks",
}


def plot_tickets(rows):
    """Accuracy and early-stop step against the weights that are left."""
    rows = [r for r in rows if {**OLDEST, **r}["schedule"] == "constant"]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4))
    for axes, what, label in (
        (panels[0], "accuracy", "test accuracy at the end, %"),
        (panels[1], "early_stop_step", "step of the lowest validation loss"),
    ):
        for arm, name in ARMS.items():
            groups = {}
            for row in rows:
                if row["arm"] == arm:
                    left = round(100 * row["density"], 1)
                    groups.setdefault(left, []).append(row[what])
            _curve(axes, groups, name)
        dense = [r[what] for r in rows if r["density"] == 1]
        axes.axhline(statistics.mean(dense), color="k", ls=":", label="dense")
        axes.set_xscale("log")
        axes.invert_xaxis()
        ticks = [100, 51.3, 21.1, 13.5, 7.0, 3.6]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="weights left, %", ylabel=label)
        axes.legend()
    return figure


def plot_edge_popup(rows):
    """Accuracy against the share of random weights that is kept."""
    longest = {}
    for row in rows:
        seen = row["epochs"] * row["examples"]
        longest[row["net"]] = max(seen, longest.get(row["net"], 0))
    figure, panels = plt.subplots(
        1, len(longest), squeeze=False, figsize=(5.5 * len(longest), 4)
    )
    for axes, net in zip(panels[0], sorted(longest, reverse=True), strict=True):
        here = [
            row
            for row in rows
            if row["net"] == net
            and row["epochs"] * row["examples"] == longest[net]
        ]
        for method in ("edge-popup", "edge-popup scaled"):
            groups = {}
            for row in here:
                if row["method"] == method:
                    kept = round(100 * row["keep"])
                    groups.setdefault(kept, []).append(row["accuracy"])
            if groups:
                _curve(axes, groups, method)
        dense = [r["accuracy"] for r in here if r["method"] == "dense"]
        if dense:
            label = "weights trained"
            height = statistics.mean(dense)
            axes.axhline(height, color="k", ls=":", label=label)
        axes.margins(y=0.1)
        axes.set(title=net, xlabel="weights kept, %", ylabel="test accuracy, %")
        axes.legend()
    return figure


def plot_compression(rows):
    """Error against compression of Bayesian nets, the published ones named."""
    published = {"lenet300": (68, 1.92), "lenet5": (280, 0.75)}
    figure, panels = plt.subplots(1, 2, figsize=(11, 5))
    for axes, (net, point) in zip(panels, published.items(), strict=True):
        groups = {}
        for row in rows:
            if row["net"] == net and "labels" not in row:
                rule = row["rule"].split(",")[0].split(" drop")[0]
                name = f"{row['prior']}, {row['epochs']} epochs, {rule}"
                if row["weight"] != 1:
                    name += f", KL weight {row['weight']:g}"
                groups.setdefault(name, []).append(row)
        for number, (name, found) in enumerate(sorted(groups.items())):
            axes.scatter(
                [row["compression"] for row in found],
                [row["error"] for row in found],
                marker="osv^D<>"[number % 7],
                label=name,
            )
        axes.scatter(*point, color="k", marker="*", s=90, label="published")
        axes.set(title=net, xlabel="weights / weights left", ylabel="error, %")
        axes.legend(
            fontsize=7,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.15),
        )
    return figure


def _curve(axes, groups, label):
    """Means of groups by x, with deviations where there are several."""
    places = sorted(groups)
    axes.errorbar(
        places,
        [statistics.mean(groups[x]) for x in places],
        yerr=[
            statistics.stdev(groups[x]) if len(groups[x]) > 1 else 0
            for x in places
        ],
        marker="o",
        label=label,
    )


PLOTS = {
    "accuracy_vs_sparsity": plot_accuracy,
    "lottery_mnist": plot_tickets,
    "edge_popup": plot_edge_popup,
    "bayes_mnist": plot_compression,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PLOTS, default=[*PLOTS])
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        figure = PLOTS[name](recorded(name))
        figure.tight_layout()
        path = options.folder / f"{name}.png"
        figure.savefig(path, dpi=100)
        print(path)


if __name__ == "__main__":
    main()
