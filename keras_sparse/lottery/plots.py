"""What one wants to see of a search for tickets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_sparse.lottery.rounds.round import Round
from keras_sparse.lottery.trainings.training import Training

_LABELS = {
    "ticket": "ticket",
    "reinitialized": "its masks, fresh weights",
    "random_mask": "random masks",
}


def plot_accuracy(rounds: Any, metric: str = "accuracy") -> Any:
    """A metric against the weights left, for tickets and their controls.

    Args:
        rounds: What `find_ticket` or `train_prune_finetune` returned, or a
            list of such, of several seeds: lines are means, bars from the
            lowest to the highest, at the mean of the weights left.
        metric: As in the logs; on test data where there was some, else on
            validation data.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig("tickets.png")`.

    Raises:
        ValueError: If the metric was not measured.
    """
    return _against_density(rounds, lambda each: each.value(metric), metric)


def plot_early_stop(rounds: Any) -> Any:
    """The step of the lowest validation loss against the weights left.

    Args:
        rounds: As in `plot_accuracy`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If the trainings had no validation data.
    """
    return _against_density(rounds, _best_step, "early-stop step")


def plot_densities(rounds: Any) -> Any:
    """The weights left of each layer after each round.

    Args:
        rounds: What `find_ticket` or `train_prune_finetune` returned.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If it is a list of several.
    """
    searches = _searches(rounds)
    if len(searches) != 1:
        raise ValueError(
            "Expected what one search returned. Received a list of "
            f"{len(searches)}. Make a figure for each."
        )
    (found,) = searches
    figure, axes = _figure()
    for path in found[0].densities:
        axes.plot(
            [each.number for each in found],
            [100 * each.densities[path] for each in found],
            marker=".",
            label=path,
        )
    axes.set(xlabel="round", ylabel="weights left, %", yscale="log")
    axes.legend(fontsize="small")
    return figure


def _against_density(
    rounds: Any, value: Callable[[Training], float], label: str
) -> Any:
    searches = _searches(rounds)
    figure, axes = _figure()
    for arm, title in _LABELS.items():
        points: dict[int, list[tuple[float, float]]] = {}
        for each in (each for found in searches for each in found):
            arms = {"ticket": each.training, **each.controls}
            if arm in arms:
                found = points.setdefault(each.number, [])
                found.append((each.density, value(arms[arm])))
        if points:
            densities, runs = [], []
            for found in points.values():
                left, values = zip(*found, strict=True)
                densities.append(100 * sum(left) / len(left))
                runs.append(values)
            means = [sum(each) / len(each) for each in runs]
            bars = [
                [m - min(each) for m, each in zip(means, runs, strict=True)],
                [max(each) - m for m, each in zip(means, runs, strict=True)],
            ]
            axes.errorbar(
                densities, means, bars, marker=".", capsize=2, label=title
            )
    axes.set(xlabel="weights left, %", ylabel=label, xscale="log")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend()
    return figure


def _searches(rounds: Any) -> list[Sequence[Round]]:
    searches: Iterable[Any] = [rounds] if hasattr(rounds, "rounds") else rounds
    return [each.rounds for each in searches]


def _best_step(training: Training) -> float:
    if training.best_step is None:
        raise ValueError(
            "Expected trainings with validation data. Received one without. "
            "Pass `validation_data` in `fit`."
        )
    return training.best_step


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.subplots()
