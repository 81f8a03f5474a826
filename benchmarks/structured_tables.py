"""The table of structured_bayes.py, published figures beside ours."""

from __future__ import annotations

# Units at each gate before training.
UNITS = {"lenet500": (784, 500, 300), "lenet5": (20, 50, 800, 500)}
# Published: error in %, remaining units.
PUBLISHED = {
    "lenet500": {"SBP 2017": (1.55, (245, 160, 55))},
    "lenet5": {
        "SBP 2017": (0.86, (3, 18, 284, 283)),
        "BC-GNJ 2017": (1.0, (8, 13, 88, 13)),
        "BC-GHS 2017": (1.0, (5, 10, 76, 16)),
        "L0-sep 2018": (1.0, (9, 18, 65, 25)),
    },
}


def parameters(net, units):
    """Parameters, biases included, of a network of so many units."""
    *widths, last = units
    if net == "lenet500":
        pixels, hidden = widths
        body = (pixels + 1) * hidden + (hidden + 1) * last
    else:
        first, second, flat = widths
        body = 26 * first + (25 * first + 1) * second + (flat + 1) * last
    return body + (last + 1) * 10


def table(rows):
    """One line for each run, and the published ones beside them."""
    lines = [
        "| net | method | weights | rate | epochs | seed | error % | units | "
        "parameters | file, gzip KiB | latency | seconds |",
        "|---" * 12 + "|",
    ]
    for net in UNITS:
        whole = parameters(net, UNITS[net])
        for name, (error, units) in PUBLISHED[net].items():
            left = parameters(net, units)
            lines.append(
                f"| {net} | {name} | | | | | {error:.2f} | "
                f"{'-'.join(map(str, units))} | "
                f"{left:,} ({whole / left:.1f}x) | | | |"
            )
        for row in rows:
            if row["net"] == net:
                weights = " ".join(f"{weight:g}" for weight in row["weights"])
                units = row["units"]
                left = row.get("parameters") or parameters(net, units)
                file = latency = ""  # of the first trials
                if "gzip" in row:
                    dense, small = (size / 1024 for size in row["gzip"])
                    file = f"{small:.0f} of {dense:.0f}"
                    latency = f"{row['latency']:.2f}x"
                lines.append(
                    f"| {net} | {row['method']} | {weights} | {row['rate']:g} "
                    f"| {row['epochs']} | {row['seed']} | {row['error']:.2f} "
                    f"| {'-'.join(map(str, units))} | "
                    f"{left:,} ({whole / left:.1f}x) | {file} | {latency} | "
                    f"{row['seconds']} |"
                )
    return "\n".join(lines)
