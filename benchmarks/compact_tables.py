"""The tables of `compact_mnist.py`, with what was published."""

from __future__ import annotations

from recipes import spread

REMOVED = (0, 100, 150, 200, 250, 300, 350, 400, 420, 440, 450, 460, 470, 480)
# Published accuracy in %: naive, random, with surgery.
PUBLISHED = {
    150: (99.05, 98.63, 99.09),
    300: (98.63, 97.81, 98.98),
    400: (97.60, 92.07, 98.47),
    420: (96.50, 91.37, 98.35),
    440: (94.32, 89.25, 97.99),
    450: (None, None, 97.55),
    470: (None, None, 94.18),
}
# Published error in % and units.
PUBLISHED_UNITS = {
    "sal": {
        "SAL, beta / alpha = 1": (0.69, (18, 50, 296, 10)),
        "SAL, beta / alpha = 10": (0.84, (11, 33, 38, 10)),
        "SAL, beta / alpha = 100": (1.14, (7, 13, 16, 10)),
    },
    "tri_state": {
        "AL1": (0.93, (16, 26, 10)),
        "AL2": (0.93, (20, 50, 20, 10)),
        "AL3": (0.78, (16, 40, 10)),
        "AL4": (0.81, (20, 50, 70, 10)),
    },
}
DISTANCES = {"merge": "euclidean", "relative": "relative"}


def units_table(rows, part, names):
    """One line for each run, and the published ones."""
    lines = [
        f"| {part} | seed | error % | units | parameters | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, (error, units) in PUBLISHED_UNITS[part].items():
        found = "-".join(map(str, units))
        lines.append(f"| {name} (published) | | {error} | {found} | | |")
    for row in rows:
        units = "-".join(map(str, row["units"]))
        settings = "; ".join(f"{name} {_listed(row[name])}" for name in names)
        lines.append(
            f"| {settings} | {row['seed']} | {row['error']:.2f} | {units} | "
            f"{row['parameters']} | {row['seconds']} |"
        )
    return "\n".join(lines)


def _listed(value):
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join(f"{each:g}" for each in values)


def merge_table(rows):
    """Accuracy by neurons removed; what was published beside it."""
    methods = ("naive", "random", *DISTANCES)
    lines = [
        f"| removed of 500 | {' | '.join(methods)} | published: naive, random, "
        "merge | seeds |",
        "|" + "---|" * (len(methods) + 3),
    ]
    for removed in REMOVED:
        cells = []
        for method in methods:
            found = [
                row["accuracy"]
                for row in rows
                if row["method"] == method and row["removed"] == removed
            ]
            cells.append(spread(found) if found else "-")
        published = [f"{a or '-'}" for a in PUBLISHED.get(removed, ())]
        lines.append(
            f"| {removed} | {' | '.join(cells)} | {', '.join(published)} | "
            f"{len(found)} |"
        )
    lines += [
        "",
        "| rule | removed | accuracy % | seeds |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(r["method"] for r in rows):
        found = [row for row in rows if row["method"] == name]
        if ", " in name:
            removed = ", ".join(str(row["removed"]) for row in found)
            cell = spread([row["accuracy"] for row in found])
            lines.append(f"| {name} | {removed} | {cell} | {len(found)} |")
    return "\n".join(lines)
