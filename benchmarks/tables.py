"""Prints the tables of README.md anew, from what is recorded in `results`.

    python benchmarks/tables.py
    python benchmarks/tables.py --only accuracy_vs_sparsity

A table stands between `<!-- table: SCRIPT ARGUMENTS -->` and `<!-- end -->`:
it is what `python benchmarks/SCRIPT.py ARGUMENTS --table` prints. The rest of
the page is not touched.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
MARKED = re.compile(r"<!-- table: (.+?) -->\n(.*?)<!-- end -->", re.S)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="SCRIPT")
    options = parser.parse_args()
    page = HERE / "README.md"

    def renewed(match):
        script = shlex.split(match[1])[0]
        if options.only and script not in options.only:
            return match[0]
        text = table(match[1])
        same = text.split() == match[2].split()
        print(f"{'as before' if same else 'NEW':10}{match[1]}", flush=True)
        return f"<!-- table: {match[1]} -->\n{text}\n<!-- end -->"

    page.write_text(MARKED.sub(renewed, page.read_text()))


def table(line):
    """What a script prints as its table."""
    script, *arguments = shlex.split(line)
    command = [sys.executable, str(HERE / f"{script}.py"), *arguments]
    done = subprocess.run(
        [*command, "--table"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
